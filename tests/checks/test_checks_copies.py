"""Copies: which of them stays, what contradicts what, and pictures that share a hash and nothing else."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from PIL import Image

from tailwise.checks.findings.near_duplicates import Pictures, _same_pictures
from tailwise.checks.run import check, checks, repair
from tailwise.data import Manifest
from tailwise.errors import BadData
from tailwise.registry import entries, load


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("TAILWISE_STORE", str(tmp_path / "store"))


NOISE = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)


def of(pictures: list[int], splits: list[str], **columns) -> Manifest:
    """A set whose rows a, b, c ... show these pictures."""
    ids = [chr(ord("a") + place) for place in range(len(pictures))]
    rows = pl.DataFrame({"id": ids, "container": "images", "row": pictures, "split": splits, "label": [0] * len(ids)} | columns)
    return Manifest(rows, ("ant", "bee"), arrays={"images": NOISE})


def kinds(manifest: Manifest) -> dict[str, tuple[str, ...]]:
    return {found.kind: found.ids for found in check(manifest).findings if "duplicate" in found.kind}


def left(manifest: Manifest) -> list[str]:
    return sorted(repair(manifest, check(manifest)).rows["id"])


def test_of_copies_that_of_test_stays_then_val_then_train_then_the_first():
    manifest = of([0, 0, 0, 1, 1, 2, 2], ["train", "val", "test", "train", "val", "train", "train"])
    assert kinds(manifest) == {"duplicate-across-splits": ("b", "a", "d"), "duplicate": ("g",)}
    assert left(manifest) == ["c", "e", "f"]


def test_of_copies_with_two_classes_none_stays():
    manifest = of([0, 0, 1, 1, 2], ["train", "train", "train", "test", "train"], label=[0, 1, 1, 0, 1])
    assert kinds(manifest) == {"duplicate-across-splits": ("c",), "duplicate-across-classes": ("b", "c")}
    assert left(manifest) == ["e"]


def test_a_copy_without_a_label_contradicts_nothing():
    leak = of([0, 0, 1], ["train", "test", "train"], label=[0, None, 1])
    assert list(kinds(leak)) == ["duplicate-across-splits"]
    assert left(leak) == ["b", "c"]
    same_split = of([0, 0, 1], ["train", "train", "train"], label=[None, 0, 1])
    assert left(same_split) == ["b", "c"]  # the one whose label is known


@pytest.mark.parametrize(
    ("column", "same", "other"),
    [("targets", [[0, 1], [1, 0], [0]], [[0, 1], [1], [0]]), ("value", [3.0, 3.0, 1.0], [3.0, 4.0, 1.0])],
)
def test_sets_of_labels_and_values_contradict_each_other_too(column, same, other):
    labels = [None] * 3 if column == "targets" else [0, 0, 1]
    splits = ["train"] * 3
    assert kinds(of([0, 0, 1], splits, label=pl.Series(labels, dtype=pl.Int32), **{column: same})) == {"duplicate": ("b",)}
    torn = of([0, 0, 1], splits, label=pl.Series(labels, dtype=pl.Int32), **{column: other})
    assert kinds(torn) == {"duplicate-across-classes": ("b",)}
    assert left(torn) == ["c"]


def test_a_set_that_is_only_tested_on_lacks_no_training_images():
    assert check(of([0, 1], ["test", "test"], label=[0, 1])).findings == ()
    assert {found.kind for found in check(of([0, 1], ["train", "test"], label=[0, 1])).findings} == {
        "class-without-training-images",
        "class-without-test-images",
    }


def test_pictures_that_share_a_hash_do_not_hide_copies():
    rng = np.random.default_rng(1)
    one, other, third = rng.integers(0, 256, (3, 256), dtype=np.uint8)
    nearly = (other.astype(int) + rng.integers(-1, 2, 256)).clip(0, 255).astype(np.uint8)
    hashes = np.array([5, 5, 5, 4, 2**60], np.uint64)  # the second and third are one picture, and so is the fourth, a bit away
    first, second, alike = _same_pictures(hashes, Pictures(np.stack([one, other, nearly, nearly, third])))
    linked = {frozenset(pair) for pair in zip(first.tolist(), second.tolist(), strict=True)}
    assert linked in ({frozenset({1, 2}), frozenset({1, 3})}, {frozenset({1, 2}), frozenset({1, 3}), frozenset({2, 3})})
    assert (alike > 0.99).all()


def test_a_thousand_equal_pictures_are_compared_with_one(monkeypatch):
    compared = []
    true = Pictures.correlation
    monkeypatch.setattr(Pictures, "correlation", lambda self, a, b: compared.append(len(a)) or true(self, a, b))
    picture = np.random.default_rng(2).integers(0, 256, 256, dtype=np.uint8)
    first, _, _ = _same_pictures(np.full(1_000, 7, np.uint64), Pictures(np.tile(picture, (1_000, 1))))
    assert len(first) == 999
    assert sum(compared) < 3_000


def test_correlation_is_that_of_numpy_and_leaves_brightness_out():
    rng = np.random.default_rng(3)
    pictures = rng.integers(0, 256, (6, 256), dtype=np.uint8)
    pictures[5] = pictures[0] // 2 + 40
    pictures[4] = 9
    first, second = np.array([0, 1, 0, 3]), np.array([1, 2, 5, 4])
    expected = [np.corrcoef(pictures[a], pictures[b])[0, 1] for a, b in zip(first[:3], second[:3], strict=True)]
    np.testing.assert_allclose(Pictures(pictures).correlation(first, second), [*expected, 0.0], atol=1e-12)


def test_different_digits_are_no_copies_and_shifted_brightness_is_one():
    from tailwise.data import read

    digits = read("digits")
    assert check(digits).findings == ()


def test_generated_images_are_not_measured_on():
    manifest = of([0, 1, 2, 3], ["train", "test", "train", "test"], label=[0, 0, 1, 1], source=["generated", "generated", None, "real"])
    (found,) = (one for one in check(manifest).findings if one.kind == "generated-in-test")
    assert (found.ids, found.severity) == (("b",), "error")
    assert "b" not in left(manifest)


def test_names_that_differ_in_case_only():
    rows = pl.DataFrame({"id": ["x", "y", "z"], "path": ["a/B.png", "a/b.png", "a/c.png"], "label": [0, 0, 1], "split": "train"})
    (found,) = check(Manifest(rows, ("ant", "bee"))).findings
    assert (found.kind, found.ids, found.others) == ("same-but-for-case", ("y",), ("x",))


def test_findings_of_the_reader_are_shown_and_lower_the_score(tmp_path):
    from tailwise.data.origin import Finding, Origin

    manifest = of([0, 1, 2, 3], ["train"] * 4).replace(origin=Origin(findings=(Finding("odd", "error", "Odd.", 1, ("a",)),)))
    result = check(manifest.replace(classes=("ant",)))
    assert [found.kind for found in result.findings] == ["odd"]
    assert (result.score, result.has_errors) == (0.75, True)


# --- checks of one's own ----------------------------------------------------------------------------------------------

HEAD = "from tailwise.checks.check import Check\nfrom tailwise.data.origin import Finding\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("CHECK = Check('t', 'table', lambda found: ['a'])", "gives a str, expected findings of severity error, warning, note"),
        ("CHECK = Check('t', 'table', lambda found: [Finding('k', 'fatal', 's')])", "gives severity 'fatal'"),
        ("CHECK = Check('t', 'table', lambda found: [Finding('k', 'note', 's')], lambda found, made: 1 / 0)", "ZeroDivisionError"),
        ("CHECK = Check('t', 'all', lambda found: [])", "expected one of table, files, content, pixels"),
        ("CHECK = Check('t', 'table', lambda found: 3)", "TypeError"),
    ],
)
def test_whatever_a_check_of_ones_own_does_is_one_line(tmp_path, text, said):
    (tmp_path / "mine.py").write_text(HEAD + text)
    with pytest.raises((BadData, ValueError), match=said) as caught:
        check(of([0, 1], ["train", "train"]), files=[tmp_path / "mine.py"])
    assert "\n" not in str(caught.value)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Another package with an entry point `theirs` to what one writes into its module."""

    def write(text: str, value: str = "their_checks") -> None:
        (tmp_path / "their_checks.py").write_text(HEAD + text)
        info = tmp_path / "theirs-1.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[tailwise.checks]\ntheirs = {value}\n")
        entries.cache_clear()
        load.cache_clear()

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "their_checks", raising=False)
    yield write
    entries.cache_clear()
    load.cache_clear()
    __import__("sys").modules.pop("their_checks", None)


@pytest.mark.parametrize("value", ["their_checks", "their_checks:CHECK"])
def test_a_check_of_another_package_is_run(package, value):
    package("CHECK = Check('t', 'table', lambda found: [Finding('theirs', 'note', 'Seen.')])", value)
    assert checks()["theirs"].title == "t"
    assert "theirs" in [found.kind for found in check(of([0, 1], ["train", "train"], label=[0, 1])).findings]


@pytest.mark.parametrize(("text", "said"), [("1 / 0", "cannot be loaded: ZeroDivisionError"), ("CHECK = 3", "defines no check")])
def test_a_broken_package_is_one_line(package, text, said):
    package(text)
    with pytest.raises(BadData, match=said):
        checks()


def test_every_check_of_ours_says_what_it_is_and_what_fixing_does():
    for name, one in checks().items():
        assert one.title, name
        assert (one.leaves_out is None) == (one.fix == ""), name


def test_a_night_photograph_is_not_blank(tmp_path):
    smooth = Image.fromarray(NOISE[0]).resize((64, 64), Image.Resampling.BICUBIC)
    night = (np.asarray(smooth) * 0.12).astype(np.uint8)
    images = np.stack([np.asarray(smooth), night, np.zeros_like(night)])
    rows = pl.DataFrame({"id": ["day", "night", "black"], "container": "images", "row": [0, 1, 2], "label": 0, "split": "train"})
    findings = check(Manifest(rows, ("ant",), arrays={"images": images})).findings
    assert {found.kind: found.ids for found in findings if "blank" in found.kind or found.kind == "black"} == {"black": ("black",)}
