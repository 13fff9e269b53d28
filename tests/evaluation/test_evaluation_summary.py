import csv
import io
import json
import statistics
from dataclasses import replace

import numpy as np
import pytest

from tailwise.counts import ClassCounts
from tailwise.errors import BadValue, Clash, UnknownName
from tailwise.evaluation import Cell, Evaluation, Interval, Measured, Predictions, SplitPredictions, evaluate, summarise, wilson
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


def test_few_seeds_speak_of_these_networks_alone():
    summary = summarise([Measured("ce", [seed(0)]), Measured("ldam", [seed(1)])])
    cell = summary.rows[0].cells["macro"]
    assert (cell.spread, cell.method) == (None, None)
    assert cell.interval == cell.networks
    assert "1 seed." in summary.caption
    assert "95 % intervals for these networks on new images; overall by Wilson with one seed" in summary.caption
    assert summary.rows[0].cells["overall"].interval == wilson(round(16 * summary.rows[0].cells["overall"].mean), 16)
    assert "of the method only 3 seeds or more could" in summary.differences[0].words


def test_three_seeds_speak_of_the_method():
    summary = summarise([Measured("ce", [seed(0), seed(1), seed(2)]), Measured("ldam", [seed(3), seed(4), seed(5)])])
    cell = summary.rows[0].cells["macro"]
    assert cell.interval == cell.method
    assert cell.method.high - cell.method.low > cell.networks.high - cell.networks.low
    assert "95 % intervals for the method, on new seeds and images" in summary.caption
    assert summary.differences[0].claim == "method"
    assert "only 3 seeds" not in summary.differences[0].words


def test_rows_with_unlike_numbers_of_seeds_say_which_claim_is_whose():
    summary = summarise([Measured("ce", [seed(0), seed(1), seed(2)]), Measured("ldam", [seed(3)], seeds=(2,))])
    assert "for the method, on new seeds and images, in rows with 3 seeds or more, in the others these networks" in summary.caption
    assert summary.differences[0].seeds == (2,)
    paired = summarise([Measured("ce", [seed(2)]), Measured("ldam", [seed(3)])]).differences[0]
    assert summary.differences[0].gaps == paired.gaps


def test_percent_with_two_decimals_in_text():
    interval = Interval(0.5411, 0.6553, 0.95)
    assert str(Cell(0.5982, 0.0571, interval, None, 3, 240)) == "59.82 [54.11, 65.53]"
    assert str(Cell(None, None, None, None, 3, 0)) == "–"


def test_markdown_has_a_line_a_row_and_says_what_it_shows():
    summary = summarise([Measured("ce", [seed(0), seed(1)]), Measured("crt", [], note="stopped: loss not finite")])
    lines = summary.to_markdown().splitlines()
    assert lines[0] == "| method | overall | macro | many | medium | few | macro_f1 | seeds |"
    assert len(lines) == 8
    assert lines[3] == "| crt | – | – | – | – | – | – | 0 |"
    caption = lines[5]
    assert "on test, n = 16 images, mean over 2 seeds." in caption
    assert "Groups by counts (many > 100, medium 20..100, few < 20 images)" in caption
    assert "many 2 classes, 8 test images, 420 training images" in caption
    assert "few 1 class, 4 test images, 7 training images" in caption
    assert "have no image" not in caption
    assert "With fewer than 5 images in it: a, b, c, d." in caption
    assert lines[7] == "- crt: stopped: loss not finite"
    assert str(summary) == summary.to_markdown()


def test_absent_classes_are_counted_and_said():
    labels = np.repeat([0, 1, 2], 4)
    summary = summarise([Measured("ce", [seed(0, labels), seed(1, labels)])])
    assert "1 of 4 classes have no image in this split and are in no mean." in summary.caption
    assert summary.rows[0].cells["few"] == Cell(None, None, None, None, 2, 0)
    assert summary.to_dict()["absent_classes"] == ["d"]


def test_what_is_expected_of_classes_that_are_absent_is_left_out_and_said():
    part = SplitPredictions(tuple("abc"), [0, 1, 2], np.eye(4)[[0, 1, 1]])
    found = evaluate(Predictions({"test": part}, ("a", "b", "c", "d"), COUNTS, make_groups(COUNTS.real), ""), "test", [0.2, 0.1, 0.1, 0.6])
    assert found.accuracy == pytest.approx(0.3 / 0.4)
    summary = summarise([Measured("ce", [found])])
    assert summary.setting.unmeasured == pytest.approx(0.6)
    assert "overall and macro_f1 stand for the class distribution that is expected" in summary.caption
    assert "The absent classes hold 60.00 % of it." in summary.caption


def test_a_table_of_no_images_has_no_figures():
    empty = seed(0, np.zeros(0, int))
    summary = summarise([Measured("ce", [empty]), Measured("ldam", [empty])])
    assert summary.rows[0].cells["macro"].mean is None
    assert summary.differences == ()


def test_rows_are_held_against_the_one_that_is_named():
    rows = [Measured(name, [seed(number), seed(number + 9)]) for number, name in enumerate(["ldam", "ce", "crt"])]
    assert {found.against for found in summarise(rows).differences} == {"ce"}
    assert [found.name for found in summarise(rows, against="crt").differences] == ["ldam", "ce"]
    assert {found.against for found in summarise(rows[::2]).differences} == {"ldam"}
    with pytest.raises(UnknownName, match=r"no row is called 'cer'\. Did you mean 'ce'"):
        summarise(rows, against="cer")


def test_effort_and_what_differs_stand_in_a_table_of_their_own():
    effort = {"steps": 1920, "images seen": 122880, "seconds": 14.25}
    rows = [
        Measured("ce", [seed(0)], effort=effort),
        Measured("crt", [seed(1)], effort={"steps": 2280}, differs=("360 steps more", "a head anew")),
    ]
    summary = summarise(rows, equal="All rows: recipe head.")
    markdown = summary.to_markdown()
    assert "| method | steps | images seen | seconds | what differs |" in markdown
    assert "| ce | 1,920 | 122,880 | 14.2 | – |" in markdown
    assert "| crt | 2,280 | – | – | 360 steps more; a head anew |" in markdown
    assert "All rows: recipe head." in markdown
    assert summary.to_dict()["rows"][1]["differs"] == ["360 steps more", "a head anew"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [("a|b", r"a\|b"), ("a\\|b", r"a\\\|b"), ("two\nlines", "two lines"), ("<script>", r"\<script>"), ("few < 3", "few < 3")],
)
def test_names_from_outside_stay_in_their_cell(name, shown):
    lines = summarise([Measured(name, [seed(0)], note=name)]).to_markdown().splitlines()
    assert lines[2].startswith(f"| {shown} | ")
    assert lines[2].endswith(" | 1 |")
    assert lines[-1] == f"- {shown}: {shown}"


def test_json_and_csv_are_unrounded_shares():
    seeds = [seed(0), seed(1)]
    summary = summarise([Measured("ce, plain", seeds), Measured("ldam", [seed(2)], "one seed")])
    plain = summary.to_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["schema"] == "tailwise.summary/2"
    assert (plain["split"], plain["images"], plain["classes"], plain["scheme"]) == ("test", 16, 4, "counts")
    assert plain["groups"]["many"] == {"classes": 2, "classes_present": 2, "images": 8, "train_images": 420}
    mean = statistics.fmean(found.macro_accuracy for found in seeds)
    assert plain["rows"][0]["cells"]["macro"]["mean"] == mean
    first, second = csv.DictReader(io.StringIO(summary.to_csv()))
    assert (first["name"], float(first["macro"]), first["seeds"], first["images"]) == ("ce, plain", mean, "2", "16")
    assert (second["macro spread"], second["note"]) == ("", "one seed")
    cell = summary.rows[0].cells["macro"]
    assert (float(first["macro low"]), float(first["macro high"])) == (cell.interval.low, cell.interval.high)
    assert (first["p_holm"], float(second["p_holm"])) == ("", summary.differences[0].p_holm)


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


def test_other_images_of_the_same_number_are_refused():
    ours = seed(0)
    theirs = replace(ours, answers=replace(ours.answers, ids=tuple(f"x{id_}" for id_ in ours.answers.ids)))
    with pytest.raises(Clash, match="were measured on other images"):
        summarise([Measured("ce", [ours]), Measured("ldam", [theirs])])


def test_a_row_names_as_many_seeds_as_it_has():
    with pytest.raises(BadValue, match="has 1 evaluations and names 2 seeds"):
        summarise([Measured("ce", [seed(0)], seeds=(0, 1)), Measured("ldam", [seed(0)])])


def test_a_table_of_nothing_is_refused():
    with pytest.raises(BadValue, match="at least one row"):
        summarise([Measured("ce", [])])
