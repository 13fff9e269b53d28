import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics
from sklearn.metrics import f1_score

from tailwise.counts import ClassCounts
from tailwise.errors import BadData, UnknownName
from tailwise.evaluation import Predictions, SplitPredictions, evaluate, jeffreys, wilson
from tailwise.groups import explicit, make_groups

COUNTS = ClassCounts((300, 120, 50, 7, 2))
NAMES = ("a", "b", "c", "d", "e")


def predictions(labels: np.ndarray, answers: np.ndarray) -> Predictions:
    test = SplitPredictions(tuple(map(str, range(len(labels)))), labels, np.eye(5)[answers])
    return Predictions({"test": test}, NAMES, COUNTS, make_groups(COUNTS.real), "data")


@pytest.fixture
def random_predictions() -> Predictions:
    random = np.random.default_rng(5)
    labels = random.integers(0, 4, 80)
    return predictions(labels, np.where(random.random(80) < 0.6, labels, random.integers(0, 5, 80)))


def test_all_figures_belong_to_the_same_answers(random_predictions):
    part = random_predictions.split("test")
    truth, answers = part.labels, part.logits.argmax(1)
    found = evaluate(random_predictions, "test")
    recall = sklearn_metrics.recall_score(truth, answers, labels=range(4), average=None)
    assert (found.split, found.images) == ("test", 80)
    assert found.accuracy == pytest.approx(sklearn_metrics.accuracy_score(truth, answers))
    assert found.macro_accuracy == pytest.approx(recall.mean())
    assert found.balanced_error == pytest.approx(1 - recall.mean())
    assert found.macro_f1 == pytest.approx(sklearn_metrics.f1_score(truth, answers, labels=range(4), average="macro", zero_division=0))
    assert [result.accuracy for result in found.per_class[:4]] == pytest.approx(recall)
    assert {name: group.accuracy for name, group in found.groups.items()} == pytest.approx(
        {"many": recall[:2].mean(), "medium": recall[2], "few": recall[3]}
    )


def test_counts_stand_behind_every_figure(random_predictions):
    found = evaluate(random_predictions, "test")
    assert sum(result.n for result in found.per_class) == found.images
    assert sum(result.correct for result in found.per_class) / found.images == found.accuracy
    assert [result.train_images for result in found.per_class] == [300, 120, 50, 7, 2]
    few = found.groups["few"]
    assert (few.classes, few.classes_present, few.train_images, few.images) == (2, 1, 9, found.per_class[3].n)
    assert (found.scheme, found.rule) == ("counts", "many > 100, medium 20..100, few < 20 images")


def test_an_absent_class_is_listed_and_in_no_mean(random_predictions):
    found = evaluate(random_predictions, "test")
    assert found.absent_classes == ("e",)
    assert (found.per_class[4].n, found.per_class[4].accuracy) == (0, None)


def test_a_group_has_its_pooled_accuracy_too():
    """Class a: 3 of 4 right, class b: 0 of 1."""
    found = evaluate(predictions(np.array([0, 0, 0, 0, 1]), np.array([0, 0, 0, 1, 0])), "test")
    assert found.groups["many"].accuracy == 0.375
    assert found.groups["many"].micro_accuracy == 0.6
    assert found.groups["few"].accuracy is None
    assert found.groups["few"].micro_accuracy is None


def test_calibration_errors_of_the_groups_by_hand():
    """Confidence 0.9 on four images of class a, three right; 0.6 on two of class d, both taken for e."""
    labels = np.array([0, 0, 0, 0, 3, 3])
    rows = [[0.9, 0.1, 0, 0, 0]] * 3 + [[0.1, 0.9, 0, 0, 0]] + [[0, 0, 0, 0.4, 0.6]] * 2
    with np.errstate(divide="ignore"):
        logits = np.maximum(np.log(rows), -60)
    test = SplitPredictions(tuple(map(str, range(6))), labels, logits)
    found = evaluate(Predictions({"test": test}, NAMES, COUNTS, make_groups(COUNTS.real), "data"), "test")
    assert found.groups["many"].ece == pytest.approx(0.9 - 3 / 4)
    assert found.groups["medium"].ece is None
    assert found.groups["few"].ece == pytest.approx(0.6)
    assert found.ece == pytest.approx(4 / 6 * 0.15 + 2 / 6 * 0.6)


def test_the_hundred_classes_by_hand():
    labels = np.repeat(np.arange(100), 60)
    answers = (labels + 1) % 100
    for first, right in ((0, 3598), (79 * 60, 637), (96 * 60, 122)):
        answers[first : first + right] = labels[first : first + right]
    groups = explicit({"many": range(79), "medium": range(79, 96), "few": range(96, 100)}, 100)
    test = SplitPredictions(tuple(map(str, range(6000))), labels, np.eye(100)[answers])
    names = tuple(f"class {c}" for c in range(100))
    found = evaluate(Predictions({"test": test}, names, ClassCounts((9,) * 100), groups, ""), "test")
    assert {name: (group.images, group.accuracy) for name, group in found.groups.items()} == {
        "many": (4740, pytest.approx(3598 / 4740)),
        "medium": (1020, pytest.approx(637 / 1020)),
        "few": (240, pytest.approx(122 / 240)),
    }
    assert found.accuracy == 4357 / 6000


def test_the_order_of_images_changes_nothing(random_predictions):
    part = random_predictions.split("test")
    order = np.random.default_rng(0).permutation(part.images)
    shuffled = SplitPredictions(tuple(part.ids[i] for i in order), part.labels[order], part.logits[order])
    assert evaluate(replace(random_predictions, splits={"test": shuffled}), "test") == evaluate(random_predictions, "test")


def test_a_record_is_plain_json_with_stable_keys(random_predictions):
    plain = evaluate(random_predictions, "test").to_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert set(plain) == {
        "schema",
        "split",
        "images",
        "accuracy",
        "accuracy_interval",
        "macro_accuracy",
        "macro_interval",
        "balanced_error",
        "macro_f1",
        "ece",
        "scheme",
        "rule",
        "groups",
        "per_class",
        "absent_classes",
        "expected",
    }
    assert plain["schema"] == "tailwise.evaluation/2"
    assert plain["per_class"][4] == {
        "name": "e",
        "label": 4,
        "train_images": 2,
        "n": 0,
        "correct": 0,
        "accuracy": None,
        "interval": None,
    }
    assert set(plain["macro_interval"]) == {"low", "high", "level"}
    assert set(plain["groups"]["few"]) == {
        "accuracy",
        "interval",
        "micro_accuracy",
        "micro_interval",
        "ece",
        "classes",
        "classes_present",
        "images",
        "train_images",
    }


def test_every_accuracy_has_the_interval_that_it_should():
    labels = np.repeat([0, 1, 2, 3, 4], [40, 30, 20, 10, 1])
    answers = labels.copy()
    answers[[0, 1, 2, 40, 70, 71, 90]] = 4
    found = evaluate(predictions(labels, answers), "test")
    assert found.accuracy_interval == wilson(94, 101)
    assert [part.interval for part in found.per_class] == [jeffreys(*pair) for pair in ((37, 40), (29, 30), (18, 20), (9, 10), (1, 1))]
    shares = np.array([37 / 40, 29 / 30, 18 / 20, 9 / 10])
    images = np.array([40, 30, 20, 10])
    variances = np.append(shares * (1 - shares) / (images - 1), 0.0625)  # of one image that is right: Beta(1.5, 0.5)
    parts = variances / 25
    freedom = parts.sum() ** 2 / (parts**2 / np.append(images - 1, 1)).sum()
    half = stats.t.ppf(0.975, freedom) * np.sqrt(parts.sum())
    assert found.macro_interval.low == pytest.approx(found.macro_accuracy - half, abs=1e-12)
    assert found.macro_interval.high == pytest.approx(min(1.0, found.macro_accuracy + half), abs=1e-12)
    assert found.groups["few"].micro_interval == wilson(10, 11)


def test_an_expected_distribution_weighs_classes_and_leaves_their_means_alone():
    labels = np.repeat([0, 1, 2, 3, 4], [40, 30, 20, 10, 4])
    answers = np.where(np.arange(len(labels)) % 3 == 0, 0, labels)
    test = predictions(labels, answers).split("test")
    plain = evaluate(predictions(labels, answers), "test")
    shares = np.array([0.1, 0.1, 0.2, 0.2, 0.4])
    found = evaluate(predictions(labels, answers), "test", expected=shares)
    of_class = np.array([part.accuracy for part in plain.per_class])
    assert found.accuracy == pytest.approx(of_class @ shares)
    assert (found.macro_accuracy, found.per_class) == (plain.macro_accuracy, plain.per_class)
    assert found.accuracy_interval.low < found.accuracy < found.accuracy_interval.high
    own = evaluate(predictions(labels, answers), "test", expected=np.bincount(labels) / len(labels))
    assert own.accuracy == pytest.approx(plain.accuracy)
    assert (own.macro_f1, own.ece) == (pytest.approx(plain.macro_f1), pytest.approx(plain.ece))
    weights = (shares / np.bincount(labels))[labels] * len(labels)
    assert found.macro_f1 == pytest.approx(f1_score(labels, answers, average="macro", sample_weight=weights))
    assert test.images == len(labels)
    alone = evaluate(predictions(labels, answers), "test", expected=[1, 0, 0, 0, 0])
    assert (alone.accuracy, alone.groups["few"].ece) == (1.0, None)
    json.dumps(alone.to_dict(), allow_nan=False)
    with pytest.raises(BadData, match="3 expected shares for 5 classes"):
        evaluate(predictions(labels, answers), "test", expected=[0.2, 0.3, 0.5])


def test_a_split_without_images_is_undefined_not_zero():
    found = evaluate(predictions(np.zeros(0, int), np.zeros(0, int)), "test")
    assert (found.images, found.accuracy, found.macro_accuracy, found.macro_f1, found.ece) == (0, None, None, None, None)
    assert len(found.absent_classes) == 5


def test_an_unknown_split_is_named(random_predictions):
    with pytest.raises(UnknownName, match=r"no split is called 'val'\. Known: test"):
        evaluate(random_predictions, "val")
