"""Other class distributions at test: the protocol's own sizes, a set in which images really occur so often, and the command."""

from __future__ import annotations

import json

import numpy as np
import pytest

import tailwise as tw
from tailwise.cli import run as command
from tailwise.errors import Clash
from tailwise.posthoc import estimate_prior
from tailwise.store import Store
from tailwise.study.measure import measure, predictions_of
from tailwise.study.shift_sheets import distributions, shift_sheets


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("shifts")


@pytest.fixture(scope="module")
def study(place):
    data = tw.read("digits", split="50/10/40", tail="exponential:50")
    quick = ["recipe.epochs=20"]
    return tw.compare(data, "ce,la,ncm", seeds=2, recipe="demo", settings=quick, out=place / "s", store=Store(place / "store"))


@pytest.fixture(scope="module")
def balanced(place):
    data = tw.read("digits", split="50/10/40", tail="balanced:24")
    return tw.compare(data, "ce,la", seeds=2, recipe="demo", settings=["recipe.epochs=20"], out=place / "b", store=Store(place / "store"))


@pytest.mark.parametrize(
    ("classes", "most", "ratio", "images"),
    [(1000, 50, 50, 12_058), (1000, 50, 2, 35_574), (365, 100, 50, 8_989), (365, 100, 2, 26_155)],
)
def test_thinned_to_whole_images_it_gives_the_sizes_of_the_published_lists(classes, most, ratio, images):
    """ImageNet-LT and Places-LT, forward."""
    shares = distributions(range(classes, 0, -1))[f"forward {ratio}"]
    assert sum(int(most * share / shares[0] + 1e-9) for share in shares) == images


def test_backward_is_forward_for_the_classes_in_reverse():
    counts = [5, 90, 5, 40]
    found = distributions(counts)
    assert list(found) == [*(f"forward {r}" for r in (50, 25, 10, 5, 2)), "uniform", *(f"backward {r}" for r in (2, 5, 10, 25, 50))]
    falling = [1, 3, 0, 2]
    np.testing.assert_allclose(found["forward 10"][falling], found["backward 10"][falling[::-1]])
    assert (np.diff(found["forward 10"][falling]) < 0).all()
    for shares in found.values():
        assert shares.sum() == pytest.approx(1)
    np.testing.assert_allclose(distributions([7])["forward 50"], [1.0])


@pytest.mark.reference
@pytest.mark.parametrize("name", ["forward 10", "backward 5"])
def test_a_figure_is_that_of_a_set_in_which_images_occur_so_often(study, name):
    """Every image repeated in whole numbers, so that classes have nearly these shares."""
    for sheet in shift_sheets(study.measured(), study.runs):
        right = []
        for run in study.runs["ce"]:
            even = predictions_of([run], "uniform").split("test")
            own = run.predictions.split("test")
            q = distributions(run.record["data"]["train_counts"])[name]
            images = np.bincount(own.labels, minlength=10)
            times = np.round(100_000 * q / images).astype(int)[own.labels]
            logits = np.repeat(even.logits, times, axis=0).astype(float)
            labels = np.repeat(own.labels, times)
            if sheet.name == "shift":
                answers = np.repeat(own.logits, times, axis=0).argmax(1)
            elif sheet.name == "shift-known":
                answers = (logits + np.log(q)).argmax(1)
            else:
                answers = (logits + np.log(estimate_prior(logits, np.ones(10)).shares)).argmax(1)
            right.append((answers == labels).mean())
        assert sheet.rows["ce"][name].mean == pytest.approx(np.mean(right), abs=2e-3)


@pytest.mark.limit
def test_uniform_is_macro_accuracy_and_a_row_that_was_shifted_answers_as_the_one_beneath(study):
    plain, *moved = shift_sheets(study.measured(), study.runs)
    for row in study.summary().rows:
        assert plain.rows[row.name]["uniform"].mean == pytest.approx(row.cells["macro"].mean, abs=1e-12)
    for sheet in moved:
        for column in sheet.columns:
            assert sheet.rows["la"][column].mean == pytest.approx(sheet.rows["ce"][column].mean, abs=2e-3)
        assert "ncm" not in sheet.rows
        assert sheet.said == ("ncm: not here; its scores are no log probabilities under a known class prior",)


def test_a_row_that_is_called_like_a_way_of_answering_is_a_row_of_its_own(study):
    ce = study.runs["ce"][0]
    runs = {run.record["method"]: [run] for run in (ce, tw.adjust_run(ce, test_prior="estimated"))}
    assert list(runs) == ["ce", "ce, estimated prior"]
    for sheet in shift_sheets(measure(runs), runs):
        assert list(sheet.rows) == list(runs)
    assert shift_sheets([], {}) == ()


def test_knowing_the_prior_helps_where_it_is_far(study):
    plain, known, _ = shift_sheets(study.measured(), study.runs)
    assert known.rows["ce"]["backward 50"].mean > plain.rows["ce"]["backward 50"].mean + 0.05


def test_the_command_writes_table_and_figure(study, tmp_path, capsys):
    out = tmp_path / "r"
    assert command(["report", str(study.folder), "--shift", "--out", str(out)]) == 0
    assert "backward 50" in capsys.readouterr().out
    assert (out / "figures/shift.svg").is_file()
    assert 'data-figure="shift"' in (out / "index.html").read_text(encoding="utf-8")
    sheets = json.loads((out / "report.json").read_text())["summary"]["sheets"]
    assert [sheet["name"] for sheet in sheets] == ["shift", "shift-known", "shift-estimated"]


def test_relative_accuracy_relates_to_the_balanced_twin(study, balanced, tmp_path, capsys):
    summary = tw.report(study.folder, twins=[balanced.folder])
    (sheet,) = summary.sheets
    of = {row.name: row.cells["macro"].mean for row in summary.rows}
    twin = {row.name: row.cells["macro"].mean for row in balanced.summary().rows}
    assert sheet.rows["la"]["relative"].mean == pytest.approx(of["la"] / max(twin["ce"], twin["la"]))
    assert sheet.rows["ncm"]["A_u"].mean == twin["ce"]
    assert command(["report", str(study.folder), "--twin", str(balanced.folder)]) == 0
    assert "Relative accuracy A_t / A_u" in capsys.readouterr().out


def test_corrections_are_put_on_the_twins_too_and_a_part_that_lacks_is_said(study, balanced):
    (sheet,) = tw.report(study.runs["ce"][0].folder, posthoc=["tau-norm"], twins=[balanced.runs["ce"][0].folder]).sheets
    assert {"A_t", "A_v", "A_b"} <= set(sheet.rows["tau-norm"])
    (sheet,) = tw.report(study.folder, twins=[balanced.folder]).sheets
    assert "ncm: without A_b, so A_u may be too low" in sheet.said
    assert not any(line.startswith("la:") for line in sheet.said)


def test_words_that_would_mix_two_priors_are_refused(study, capsys):
    assert command(["report", str(study.folder), "--shift", "--test-prior", "reversed"]) == 2
    assert "leave one out" in capsys.readouterr().err
    ncm = str(study.runs["ncm"][0].folder)
    assert command(["report", ncm, ncm.replace("seed0", "seed1"), "--test-prior", "uniform"]) == 2
    assert "ncm: its scores are no log probabilities" in capsys.readouterr().err


def test_twins_on_other_images_are_refused(study, tmp_path):
    other = tw.train(
        tw.read("digits", split="60/10/30"),
        "ce",
        recipe="demo",
        settings=["recipe.epochs=1"],
        out=tmp_path / "o",
        store=Store(tmp_path / "s"),
    )
    with pytest.raises(Clash, match="other images"):
        tw.report(study.folder, twins=[other.folder])
