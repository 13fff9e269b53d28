"""The recommendation: chosen on val alone, and typed as it can be trained again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tailwise.counts import ClassCounts
from tailwise.evaluation import Predictions, SplitPredictions
from tailwise.groups import make_groups
from tailwise.registry import parse_row
from tailwise.study.recommend import WITHOUT_VAL, Recommendation, describe_choice
from tailwise.study.recommend import recommend as choose
from tailwise.study.runs import Run

CLASSES = 4
COUNTS = (40, 20, 8, 3)
LABELS = {"val": np.repeat(range(CLASSES), (9, 6, 4, 2)), "test": np.repeat(range(CLASSES), (30, 20, 10, 5))}


def answers(labels: np.ndarray, right: float, seed: int) -> np.ndarray:
    """Logits of which about this share is right."""
    rng = np.random.default_rng(seed)
    chosen = np.where(rng.random(len(labels)) < right, labels, (labels + 1) % CLASSES)
    return (np.eye(CLASSES)[chosen] * 3 + rng.normal(0, 0.1, (len(labels), CLASSES))).astype(np.float32)


class Maker:
    """Makes run folders with predictions of a given quality on val and test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made = 0
        self.recipe = "cifar"  # after which none is advised

    def __call__(self, text: str = "ce", tau: float | None = None, **right: float) -> Run:
        self.made += 1
        folder = self.folder / f"run{self.made}"
        splits = {
            name: SplitPredictions(
                tuple(f"{name}{i}" for i in range(len(LABELS[name]))), LABELS[name], answers(LABELS[name], share, self.made)
            )
            for name, share in right.items()
        }
        names = tuple("abcd")
        Predictions(splits, names, ClassCounts(COUNTS), make_groups(COUNTS), "data").save(folder / "predictions")
        knobs = {} if tau is None else {"tau": "val"}
        record = {
            "method": text,
            "typed": text,
            "knobs": knobs,
            "posthoc": "",
            "correction": None if tau is None else {"part": "TauNorm", "tau": tau},
            "recipe": {"name": self.recipe},
            "data": {"splits": {"train": 71, **{name: len(LABELS[name]) for name in right}}},
        }
        return Run(folder, record)


@pytest.fixture
def make(tmp_path) -> Maker:
    return Maker(tmp_path)


def recommend(runs: dict[str, list[Run]], against: str | None = None) -> Recommendation | None:
    """Recommend among runs whose seeds are their places."""
    for found in runs.values():
        for seed, run in enumerate(found):
            run.record["seed"] = seed
    return choose(runs, against)


def macro(run: Run, split: str, labels: tuple[int, ...] = tuple(range(CLASSES))) -> float:
    found = run.predictions.split(split)
    hit = found.logits.argmax(1) == found.labels
    return float(np.mean([hit[found.labels == c].mean() for c in labels]))


def test_val_chooses_where_test_would_choose_another(make):
    runs = {"ce": [make(val=0.4, test=1.0)], "la": [make(val=0.9, test=0.3)], "crt": [make(val=0.6, test=0.6)]}
    chosen = recommend(runs)
    assert chosen.row == "la"
    assert chosen.next_row == "crt"
    assert macro(runs["ce"][0], "test") > macro(runs["la"][0], "test")


def test_figures_are_the_means_over_seeds_of_macro_accuracies(make):
    runs = {"ce": [make(val=0.5, test=0.5) for _ in range(3)], "la": [make(val=0.8, test=0.7) for _ in range(3)]}
    chosen = recommend(runs)
    assert chosen.row == "la"
    assert chosen.run == runs["la"][0].folder
    assert chosen.seeds == 3
    assert chosen.val == pytest.approx(np.mean([macro(run, "val") for run in runs["la"]]))
    assert chosen.next_val == pytest.approx(np.mean([macro(run, "val") for run in runs["ce"]]))
    assert chosen.val_images == 21
    test = [run.predictions.split("test") for run in runs["la"]]
    assert chosen.test["overall"].mean == pytest.approx(np.mean([(t.logits.argmax(1) == t.labels).mean() for t in test]))
    assert chosen.test["macro"].mean == pytest.approx(np.mean([macro(run, "test") for run in runs["la"]]))
    members = make_groups(COUNTS).members
    for group, labels in members.items():
        assert chosen.test[group].mean == pytest.approx(np.mean([macro(run, "test", tuple(labels)) for run in runs["la"]]))
        assert chosen.test[group].images == sum((30, 20, 10, 5)[label] for label in labels)
    assert chosen.test["overall"].images == chosen.test["macro"].images == 65
    assert set(chosen.test) == {"overall", "macro", *members}


def test_the_mean_counts_and_not_the_best_seed(make):
    lucky = [make(val=1.0, test=0.5), make(val=0.1, test=0.5)]
    steady = [make(val=0.8, test=0.5), make(val=0.8, test=0.5)]
    assert recommend({"ce": lucky, "la": steady}).row == "la"


def test_among_equals_the_first_row_is_taken_and_the_next_answers_otherwise(make):
    same, other = make(val=0.7, test=0.7), make(val=0.4, test=0.4)
    for order in (("ce", "la", "crt"), ("crt", "ce", "la")):
        chosen = recommend({text: [same] for text in order})
        assert (chosen.row, chosen.next_row, chosen.next_val) == (order[0], None, None)
        chosen = recommend({**{text: [same] for text in order}, "ldam": [other]})
        assert (chosen.row, chosen.next_row) == (order[0], "ldam")
        assert chosen.lead.changed


def test_without_val_nothing_is_recommended_and_it_is_said_why(make):
    runs = {"ce": [make(test=0.9)], "la": [make(test=0.5)]}
    assert recommend(runs) is None
    assert describe_choice(None) == WITHOUT_VAL
    assert "no val images" in WITHOUT_VAL
    assert "--split 80/10/10" in WITHOUT_VAL


def test_without_test_it_is_said_that_nothing_says_what_it_reaches(make):
    chosen = recommend({"ce": [make(val=0.9)]})
    assert chosen.test == {}
    assert (chosen.next_row, chosen.next_val) == (None, None)
    said = describe_choice(chosen)
    assert "no test images" in said
    assert "next is" not in said
    assert "with one seed" in said


def test_the_sentence_says_the_figures_that_are_behind_the_choice(make):
    runs = {"ce": [make(val=0.3, test=0.5)], "la": [make(val=1.0, test=1.0)]}
    said = describe_choice(recommend(runs))
    assert said.startswith("Recommended: la. It has the best macro accuracy on val, 100.00 % [")
    assert "with one seed (n = 21)" in said
    assert f"; next is ce with {100 * macro(runs['ce'][0], 'val'):.2f} %, behind by more than noise." in said
    assert "On test, which chose nothing, in percent: overall 100.00 [94.42, 100.00] (n = 65)" in said
    assert "la: better than ce by more than noise: macro +" in said
    assert "Try next: --seeds 3: with one seed nothing can be said of the method itself." in said


def test_a_lead_within_noise_is_called_so(make):
    runs = {"ce": [make(val=0.6, test=0.6)], "la": [make(val=0.65, test=0.6)], "crt": [make(val=0.1, test=0.1)]}
    said = describe_choice(recommend(runs))
    assert "a difference within noise" in said


def test_the_baseline_may_be_what_is_recommended(make):
    said = describe_choice(recommend({"ce": [make(val=1.0, test=0.9)], "la": [make(val=0.3, test=0.9)]}))
    assert said.startswith("Recommended: ce.")
    assert "It is the row that the others are held against: none of them was better on val." in said
    other = describe_choice(recommend({"ce": [make(val=1.0, test=0.9)], "la": [make(val=0.3, test=0.3)]}, against="la"))
    assert "ce: better than la by more than noise" in other


def test_classes_that_need_images_are_those_that_fail_on_val(make):
    labels = LABELS["val"]
    right = np.where(labels == 2, np.arange(len(labels)) % 2, labels != 3)
    run = make(val=1.0, test=1.0)
    logits = np.eye(CLASSES)[np.where(right, labels, 0)]
    splits = {"val": SplitPredictions(tuple(f"val{i}" for i in range(len(labels))), labels, logits), "test": run.predictions.split("test")}
    Predictions(splits, tuple("abcd"), ClassCounts(COUNTS), make_groups(COUNTS), "data").save(run.folder / "other")
    (run.folder / "predictions").rename(run.folder / "before")
    (run.folder / "other").rename(run.folder / "predictions")
    advice = recommend({"ce": [run] * 1}).advice
    assert advice[1] == "more images of d (3 for training, 0 % right of 2 on val), c (8 for training, 50 % right of 4 on val)"


def test_doubt_is_answered_by_what_it_comes_from(make):
    runs = {"ce": [make(val=0.6, test=0.6) for _ in range(3)], "la": [make(val=0.95, test=0.62) for _ in range(3)]}
    chosen = recommend(runs)
    assert not chosen.gain.is_shown
    by_seeds = chosen.gain.by_seeds > chosen.gain.by_images
    assert chosen.advice[0].startswith("more seeds, as in --seeds 9" if by_seeds else "more test images, as in --folds 5")


@pytest.mark.parametrize(
    ("recipe", "next_one"), [("head", "--recipe finetune"), ("quick", "--recipe finetune"), ("demo", "--recipe quick")]
)
def test_a_longer_recipe_comes_next(make, recipe, next_one):
    make.recipe = recipe
    assert recommend({"ce": [make(val=0.9, test=0.9)]}).advice[1].startswith(next_one)


@pytest.mark.parametrize(("images", "cautious"), [(21, True), (99, True), (100, False), (2000, False)])
def test_a_choice_on_few_val_images_is_called_a_chance(make, images, cautious):
    import dataclasses

    chosen = dataclasses.replace(recommend({"ce": [make(val=0.9, test=0.9)]}), val_images=images)
    assert ("may be chance" in describe_choice(chosen)) == cautious


@pytest.mark.parametrize(
    "text",
    [
        "tau-norm",
        "tau-norm(base=ce-drw(start=0.7))",
        "tau-norm(base=ldam-drw)+ema",
        "tau-norm+sam(rho=0.1)",
        "tau-norm(base=crt(per_class=2,base=balanced-softmax))+ema(decay=0.9)",
        "la(tau=val)",
        "la(tau=val,base=ldam-drw(max_margin=0.3,scale=10))+sam(rho=0.1)",
        "la(base=tau-norm(tau=0.3),tau=val)",
        "la(base=la(tau=val),tau=val)",
    ],
)
def test_fitted_knobs_are_written_into_the_row_that_is_trained_next(make, text):
    row = parse_row(text)
    runs = {row.text: [make(row.text, tau, val=0.8, test=0.8) for tau in (0.5, 0.2, 1.1)]}
    chosen = recommend(runs)
    assert chosen.settled == {"tau": 0.5}
    again = parse_row(chosen.method)
    assert again.method.tau == 0.5
    assert again.method.base == row.method.base
    assert again.modifiers == row.modifiers
    assert type(again.method) is type(row.method)
    assert parse_row(again.text) == again


def test_the_median_of_an_even_number_of_seeds_is_a_value_that_a_seed_found(make):
    chosen = recommend({"tau-norm": [make("tau-norm", tau, val=0.8) for tau in (0.1, 0.4, 0.7, 2.0)]})
    assert parse_row(chosen.method).method.tau == pytest.approx(0.4)


def test_a_row_without_fitted_knobs_stays_as_it_was_typed(make):
    text = "la(tau=0.5,base=ldam-drw)+sam(rho=0.1)"
    assert recommend({text: [make(text, val=0.8)]}).method == text


def test_it_is_plain_values_for_a_record(make):
    plain = recommend({"tau-norm": [make("tau-norm", 0.4, val=0.8, test=0.8)]}).to_dict()
    back = json.loads(json.dumps(plain, allow_nan=False))
    assert back["run"] == "run1"
    assert back["settled"] == {"tau": 0.4}
