import csv
import io
import json
import statistics

import numpy as np
import pytest

from tailwise.counts import ClassCounts
from tailwise.errors import BadValue, Clash
from tailwise.evaluation import Cell, Evaluation, Measured, Predictions, SplitPredictions, evaluate, summarise
from tailwise.groups import Groups, explicit, make_groups

COUNTS = ClassCounts((300, 120, 50, 7))
LABELS = np.repeat(np.arange(4), [4, 4, 4, 4])


def seed(number: int, labels: np.ndarray = LABELS, split: str = "test", groups: Groups | None = None) -> Evaluation:
    random = np.random.default_rng(number)
    answers = np.where(random.random(len(labels)) < 0.7, labels, random.integers(0, 4, len(labels)))
    part = SplitPredictions(tuple(map(str, range(len(labels)))), labels, np.eye(4)[answers])
    chosen = groups or make_groups(COUNTS.real)
    return evaluate(Predictions({split: part}, ("a", "b", "c", "d"), COUNTS, chosen, ""), split)


def test_a_cell_is_the_mean_and_sample_deviation_over_seeds():
    seeds = [seed(0), seed(1), seed(2)]
    cells = summarise([Measured("ce", seeds)]).rows[0].cells
    for column, values in {
        "overall": [found.accuracy for found in seeds],
        "macro": [found.macro_accuracy for found in seeds],
        "few": [found.groups["few"].accuracy for found in seeds],
        "macro_f1": [found.macro_f1 for found in seeds],
    }.items():
        assert cells[column].mean == pytest.approx(np.mean(values))
        assert cells[column].spread == pytest.approx(np.std(values, ddof=1))
    assert (cells["overall"].images, cells["many"].images, cells["few"].images, cells["few"].seeds) == (16, 8, 4, 3)


def test_one_seed_has_no_spread():
    summary = summarise([Measured("ce", [seed(0)])])
    assert summary.rows[0].cells["macro"].spread is None
    assert "±" not in summary.to_markdown()
    assert "1 seed, hence no spread" in summary.caption


def test_percent_with_two_decimals_in_text():
    values = [0.5411, 0.5982, 0.6553]
    assert str(Cell(statistics.fmean(values), statistics.stdev(values), 3, 240)) == "59.82 ± 5.71"
    assert str(Cell(0.7262, None, 1, 6000)) == "72.62"
    assert str(Cell(None, None, 3, 0)) == "–"


def test_markdown_has_a_line_a_row_and_says_what_it_shows():
    summary = summarise([Measured("ce", [seed(0), seed(1)]), Measured("crt", [], note="stopped: loss not finite")])
    lines = summary.to_markdown().splitlines()
    assert lines[0] == "|  | overall | macro | many | medium | few | macro_f1 | seeds | note |"
    assert len(lines) == 6
    assert lines[3] == "| crt | – | – | – | – | – | – | 0 | stopped: loss not finite |"
    caption = lines[5]
    assert "on test, n = 16 images, 2 seeds, mean over seeds ± standard deviation over seeds" in caption
    assert "Groups by counts (many > 100, medium 20..100, few < 20 images)" in caption
    assert "many 2 classes, 8 test images, 420 training images" in caption
    assert "few 1 class, 4 test images, 7 training images" in caption
    assert "have no image" not in caption
    assert str(summary) == summary.to_markdown()


def test_absent_classes_are_counted_and_said():
    labels = np.repeat([0, 1, 2], 4)
    summary = summarise([Measured("ce", [seed(0, labels), seed(1, labels)])])
    assert "1 of 4 classes have no image in this split and are in no mean." in summary.caption
    assert summary.rows[0].cells["few"] == Cell(None, None, 2, 0)
    assert summary.to_dict()["absent_classes"] == ["d"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [("a|b", r"a\|b"), ("a\\|b", r"a\\\|b"), ("two\nlines", "two lines"), ("<script>", r"\<script>"), ("few < 3", "few < 3")],
)
def test_names_from_outside_stay_in_their_cell(name, shown):
    line = summarise([Measured(name, [seed(0)], note=name)]).to_markdown().splitlines()[2]
    assert line.startswith(f"| {shown} | ")
    assert line.endswith(f" | 1 | {shown} |")


def test_json_and_csv_are_unrounded_shares():
    seeds = [seed(0), seed(1)]
    summary = summarise([Measured("ce, plain", seeds), Measured("ldam", [seed(2)], "one seed")])
    plain = summary.to_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["schema"] == "tailwise.summary/1"
    assert (plain["split"], plain["images"], plain["classes"], plain["scheme"]) == ("test", 16, 4, "counts")
    assert plain["groups"]["many"] == {"classes": 2, "classes_present": 2, "images": 8, "train_images": 420}
    mean = statistics.fmean(found.macro_accuracy for found in seeds)
    assert plain["rows"][0]["cells"]["macro"]["mean"] == mean
    first, second = csv.DictReader(io.StringIO(summary.to_csv()))
    assert (first["name"], float(first["macro"]), first["seeds"], first["images"]) == ("ce, plain", mean, "2", "16")
    assert (second["macro spread"], second["note"]) == ("", "one seed")


def test_a_group_called_like_a_column_keeps_its_own():
    groups = explicit({"macro": (0, 1), "rest": (2, 3)}, 4)
    found = seed(0, groups=groups)
    summary = summarise([Measured("ce", [found])])
    assert summary.columns == ("overall", "macro", "macro (group)", "rest", "macro_f1")
    assert summary.rows[0].cells["macro"].mean == found.macro_accuracy
    assert summary.rows[0].cells["macro (group)"].mean == found.groups["macro"].accuracy


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (seed(0, split="val"), r"differ in split \(test and val\)"),
        (seed(0, labels=LABELS[:-1]), r"differ in images \(16 and 15\)"),
        (seed(0, groups=make_groups(COUNTS.real, "thirds")), r"differ in scheme \(counts and thirds\)"),
    ],
)
def test_what_was_measured_elsewhere_is_refused(other, message):
    with pytest.raises(Clash, match=f"rows 'ce' and 'ldam' cannot stand in one table: they {message}") as caught:
        summarise([Measured("ce", [seed(0)]), Measured("ldam", [other])])
    assert "\n" not in str(caught.value)


def test_a_table_of_nothing_is_refused():
    with pytest.raises(BadValue, match="at least one row"):
        summarise([Measured("ce", [])])
