"""`tailwise adjust` as a user types it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

import tailwise as tw
from tailwise.cli import run
from tailwise.posthoc import adjust_logits

DOCS = (Path(__file__).parents[2] / "docs/formats.md").read_text(encoding="utf-8")
COUNTS = [200, 50, 2]
LOGITS = np.array([[9.0, 0.0, 0.0], [4.0, 0.0, 0.0], [1.0, 0.0, -4.0]])


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    np.save("logits.npy", LOGITS.astype(np.float32))
    Path("counts.json").write_text(json.dumps(COUNTS))
    return tmp_path


def adjust(*words: object, logits: str = "logits.npy", counts: str = "counts.json", out: str = "adjusted.npy") -> int:
    return run(["adjust", logits, "--counts", counts, "--out", out, *map(str, words)])


def refused(capsys: pytest.CaptureFixture, *words: object, **files: str) -> str:
    before = {path.name for path in Path().iterdir()}
    assert adjust(*words, **files) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("tailwise: ")
    assert said.err.strip().count("\n") == 0
    assert {path.name for path in Path().iterdir()} == before  # nothing half-written
    return said.err


def test_corrected_logits_are_written_and_said(capsys):
    assert adjust("--tau", 1) == 0
    said = capsys.readouterr().out
    assert "3 rows, 3 classes, tau 1: 2 rows (66.67 %) changed their class." in said
    rows = {line.split()[0]: line.split()[1:] for line in said.splitlines() if line.split()[0] in ("many", "medium", "few")}
    assert rows == {"many": ["1", "3", "1", "0"], "medium": ["1", "0", "1", "1"], "few": ["1", "0", "1", "1"]}
    assert "many > 100, medium 20..100, few < 20" in said
    assert "written: adjusted.npy (float32)" in said
    written = np.load("adjusted.npy", allow_pickle=False)
    assert written.dtype == np.float32
    np.testing.assert_allclose(written, LOGITS - [math.log(n / 252) for n in COUNTS], rtol=1e-6)


def test_json_says_the_same(capsys):
    assert adjust("--tau", 0.5, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "tailwise.adjustment/1"
    assert (found["images"], found["classes"], found["tau"], found["out"]) == (3, 3, 0.5, "adjusted.npy")
    assert (found["dtype"], found["took_log"], found["scheme"]) == ("float32", False, "counts")
    section = DOCS.split("## Corrections after training")[1].split("\n## ")[0]
    assert {key for record in (found, found["groups"]["few"]) for key in record if key != "schema" and f"`{key}`" not in section} == set()


def test_another_prior_at_test_is_said_and_written(capsys):
    Path("q.json").write_text('{"0": 1, "2": 0, "1": 3.5}')
    np.save("q.npy", [1, 3.5, 0])
    for file in ("q.json", "q.npy"):
        assert adjust("--test-prior", file, "--json", out=f"{file}.out.npy") == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["test_prior"], found["temperature"], found["val_images"]) == (file, 1.0, 0)
        assert found["expected"] == pytest.approx([1 / 4.5, 3.5 / 4.5, 0])
        written = np.load(f"{file}.out.npy")
        assert (written.argmax(1) != 2).all()
        np.testing.assert_allclose(written[:, 1] - written[:, 0], LOGITS[:, 1] - LOGITS[:, 0] + math.log(200 / 50 * 3.5), rtol=1e-6)
    assert adjust("--test-prior", "train") == 0
    said = capsys.readouterr().out
    assert "0 rows (0.00 %) changed" in said
    assert "Test prior train; scores, the softmax of what is written: temperature 1, not calibrated: no validation images." in said


def test_python_takes_the_same_words():
    Path("q.json").write_text("[1, 3.5, 0]")
    assert adjust("--test-prior", "q.json") == 0
    for expected in ("q.json", Path("q.json"), [1, 3.5, 0], np.array([1, 3.5, 0])):
        found = tw.adjust(np.load("logits.npy"), COUNTS, test_prior=expected)
        np.testing.assert_array_equal(found.logits, np.load("adjusted.npy"))
    np.testing.assert_array_equal(tw.adjust(LOGITS, COUNTS).logits, adjust_logits(LOGITS, COUNTS))


def test_val_rows_make_scores_calibrated(capsys):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, size=400)
    np.save("val.npy", (2 * np.eye(3)[labels] + rng.normal(size=(400, 3))).astype(np.float16))
    np.savez("labels.npz", ids=np.arange(400), labels=labels)
    words = ["--val-logits", "val.npy", "--val-labels", "labels.npz"]
    assert adjust(*words) == 0
    said = capsys.readouterr().out
    assert "fitted on val (n = 400)" in said
    assert adjust(*words, "--json", out="again.npy") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["val_images"] == 400
    expected = LOGITS / found["temperature"] - [math.log(n / 252) for n in COUNTS]
    np.testing.assert_allclose(np.load("again.npy"), expected, rtol=1e-5)
    np.save("short.npy", labels[:3])
    assert "labels must have shape (400,)" in refused(capsys, "--val-logits", "val.npy", "--val-labels", "short.npy")


def test_probabilities_are_recognised_and_said(capsys):
    shares = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    np.savez("both.npz", labels=[0, 1, 2], logits=shares)
    np.savez("one.npz", anything=shares)
    for file in ("both.npz", "one.npz"):
        assert adjust(logits=file, out=f"{file}.npy") == 0
        said = capsys.readouterr().out
        assert "probabilities" in said
        assert "2 rows (66.67 %) changed" in said


@pytest.mark.real
def test_counts_of_mini_imagenet_lt_are_read(capsys):
    file = Path(__file__).parents[2] / "../shared/data/mini-imagenet-lt/cls_label.json"
    np.save("hundred.npy", np.zeros((2, 100), np.float16))
    assert adjust("--json", logits="hundred.npy", counts=str(file)) == 0
    found = json.loads(capsys.readouterr().out)
    assert {name: group["classes"] for name, group in found["groups"].items()} == {"many": 79, "medium": 17, "few": 4}
    assert found["groups"]["few"]["after"] == 2  # all equal before: now the rarest class wins
    assert np.load("adjusted.npy").argmax(1).tolist() == [55, 55]  # the first of the two with 12 images
    assert np.load("adjusted.npy").dtype == np.float16


def test_the_same_command_again_is_already_done_and_another_is_refused_or_forced(capsys):
    assert adjust() == 0
    first = Path("adjusted.npy").stat().st_mtime_ns
    assert adjust() == 0
    assert "already done: adjusted.npy" in capsys.readouterr().out
    assert Path("adjusted.npy").stat().st_mtime_ns == first
    assert "replace it with --force" in refused(capsys, "--tau", 2)
    assert adjust("--tau", 2, "--force") == 0
    np.testing.assert_allclose(np.load("adjusted.npy"), LOGITS - [2 * math.log(n / 252) for n in COUNTS], rtol=1e-6)


def test_what_is_no_array_is_never_replaced(capsys):
    Path("mine.npy").write_text("a letter")
    Path("folder.npy").mkdir()
    for out in ("mine.npy", "folder.npy"):
        for force in ([], ["--force"]):
            assert "never replaced" in refused(capsys, *force, out=out)
    assert Path("mine.npy").read_text() == "a letter"


def test_the_input_is_never_replaced(capsys):
    Path("link.npy").symlink_to("logits.npy")
    for out in ("logits.npy", "./logits.npy", "link.npy"):
        assert "correct twice" in refused(capsys, "--force", out=out)
    np.testing.assert_array_equal(np.load("logits.npy"), LOGITS.astype(np.float32))


def test_files_that_are_read_are_never_replaced(capsys):
    np.save("q.npy", [1.0, 2.0, 3.0])
    np.save("labels.npy", [0, 1, 2])
    np.save("val.npy", LOGITS)
    words = ["--force", "--test-prior", "q.npy", "--val-logits", "val.npy", "--val-labels", "labels.npy"]
    for out, name in (("q.npy", "test prior"), ("val.npy", "val logits"), ("labels.npy", "val labels")):
        assert f"holds the {name}" in refused(capsys, *words, out=out)


@pytest.mark.parametrize("prior", ["[1, 2]", "[1, 2, -3]", "[0, 0, 0]", '{"a": 1, "b": 2, "c": 3}', '{"0": 1, "1": 2}', "3", "[1, 2"])
def test_bad_priors_get_one_line(capsys, prior):
    Path("q.json").write_text(prior)
    said = refused(capsys, "--test-prior", "q.json")
    assert "q.json" in said or "2 classes where there are 3" in said


def test_classes_without_images_are_said(capsys):
    Path("counts.json").write_text('{"0": 200, "1": 50, "2": 0}')
    assert adjust() == 0
    assert "1 class has no training images and gained nothing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.zeros(3), "shape (3,)"),
        (np.zeros((2, 4)), "3 counts for logits of 4 classes"),
        (np.full((2, 3), np.nan), "NaN or infinite values in 2 rows"),
        (np.full((2, 3), np.inf), "NaN or infinite values in 2 rows"),
        (np.array([["a", "b", "c"]]), "expected numbers"),
        (np.array([[None, 1, 2]]), "never unpickled"),
    ],
)
def test_bad_logits_get_one_line(capsys, array, expected):
    np.save("bad.npy", array, allow_pickle=True)
    assert expected in refused(capsys, logits="bad.npy")


def test_files_that_cannot_be_read_get_one_line(capsys):
    whole = Path("logits.npy").read_bytes()
    Path("short.npy").write_bytes(whole[:-5])
    Path("empty.npy").write_bytes(b"")
    Path("text.npy").write_text("1,2,3\n")
    np.savez("two.npz", a=LOGITS, b=LOGITS)
    np.savez("none.npz")
    Path("cut.npz").write_bytes(Path("two.npz").read_bytes()[:-40])
    Path("folder").mkdir()
    for name in ("short.npy", "empty.npy", "text.npy", "two.npz", "none.npz", "cut.npz", "folder", "nosuch.npy"):
        assert name in refused(capsys, logits=name)
    assert "the key logits" in refused(capsys, logits="two.npz")
    assert "counts.txt" in refused(capsys, counts="counts.txt")


@pytest.mark.parametrize(
    ("words", "files", "expected"),
    [
        (["--tau", "-1"], {}, "tau is a number from 0"),
        (["--tau", "nan"], {}, "tau is a number from 0"),
        (["--tau", "big"], {}, "--tau"),
        (["--test-prior", "unifrm"], {}, "'unifrm' is no word and no file. Did you mean 'uniform'?"),
        (["--test-prior", "nosuch.json"], {}, "no word and no file. Give train, uniform, reversed, estimated, or a file"),
        (["--test-prior", "logits.npy"], {}, "logits.npy: expected an array of shape (classes,)"),
        (["--val-logits", "logits.npy"], {}, "--val-logits comes without --val-labels"),
        (["--val-labels", "logits.npy"], {}, "--val-labels comes without --val-logits"),
        (["--val-logits", "logits.npy", "--val-labels", "logits.npy"], {}, "labels must"),
        (["--val-logits", "logits.npy", "--val-labels", "nosuch.npy"], {}, "nosuch.npy: no such file"),
        (["--force", "--test-prior", "logits.npy"], {"out": "logits.npy"}, "is the input"),
        ([], {"out": "adjusted.npz"}, "end in .npy"),
        ([], {"out": "/proc/nowhere/a.npy"}, "cannot be written"),
    ],
)
def test_bad_words_get_one_line(capsys, words, files, expected):
    assert expected in refused(capsys, *words, **files)


@pytest.mark.parametrize("counts", ["[200, -5, 2]", "[0, 0, 0]", '["200", "50", "2"]', "[200, 50]", '{"a": 200, "b": 50, "c": 2}', "[200"])
def test_bad_counts_get_one_line(capsys, counts):
    Path("counts.json").write_text(counts)
    assert "count" in refused(capsys)
