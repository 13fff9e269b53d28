import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from tailwise.errors import BadData
from tailwise.evaluation import (
    balanced_error,
    confusion,
    group_accuracy,
    macro_accuracy,
    macro_f1,
    micro_accuracy,
    per_class_accuracy,
    predicted_labels,
)
from tailwise.groups import explicit, thirds

CLASSES = 7
PAIRS = st.lists(st.tuples(st.integers(0, CLASSES - 1), st.integers(0, CLASSES - 1)), min_size=1, max_size=60)


def columns(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    array = np.array(pairs)
    return array[:, 0], array[:, 1]


@pytest.mark.reference
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true", "ignore:A single label was found")
@given(PAIRS)
def test_equals_scikit_learn(pairs):
    labels, predicted = columns(pairs)
    present = np.unique(labels)
    recall = sklearn_metrics.recall_score(labels, predicted, labels=present, average=None, zero_division=0)
    assert micro_accuracy(labels, predicted, CLASSES) == pytest.approx(sklearn_metrics.accuracy_score(labels, predicted))
    assert macro_accuracy(labels, predicted, CLASSES) == pytest.approx(sklearn_metrics.balanced_accuracy_score(labels, predicted))
    assert macro_f1(labels, predicted, CLASSES) == pytest.approx(
        sklearn_metrics.f1_score(labels, predicted, labels=present, average="macro", zero_division=0)
    )
    np.testing.assert_array_equal(
        confusion(labels, predicted, CLASSES),
        sklearn_metrics.confusion_matrix(labels, predicted, labels=range(CLASSES)),
    )
    np.testing.assert_allclose(per_class_accuracy(labels, predicted, CLASSES)[present], recall)


@given(PAIRS, st.randoms(use_true_random=False))
def test_order_of_images_changes_nothing(pairs, random):
    labels, predicted = columns(pairs)
    shuffled = pairs.copy()
    random.shuffle(shuffled)
    for metric in (micro_accuracy, macro_accuracy, macro_f1, balanced_error):
        assert metric(labels, predicted, CLASSES) == metric(*columns(shuffled), CLASSES)


@given(PAIRS, st.permutations(range(CLASSES)))
def test_renaming_classes_permutes_the_answer(pairs, order):
    labels, predicted = columns(pairs)
    renamed = np.array(order)
    np.testing.assert_array_equal(
        per_class_accuracy(renamed[labels], renamed[predicted], CLASSES)[renamed],
        per_class_accuracy(labels, predicted, CLASSES),
    )
    assert macro_f1(renamed[labels], renamed[predicted], CLASSES) == pytest.approx(macro_f1(labels, predicted, CLASSES))


def hundred_classes() -> tuple[np.ndarray, np.ndarray]:
    """79, 17 and 4 classes of 60 images each; right are 3598 of 4740, 637 of 1020, 122 of 240."""
    labels = np.repeat(np.arange(100), 60)
    predicted = (labels + 1) % 100
    for first, right in ((0, 3598), (79 * 60, 637), (96 * 60, 122)):
        predicted[first : first + right] = labels[first : first + right]
    return labels, predicted


def test_groups_by_hand():
    groups = explicit({"many": range(79), "medium": range(79, 96), "few": range(96, 100)}, 100)
    accuracies = group_accuracy(*hundred_classes(), 100, groups)
    assert accuracies == pytest.approx({"many": 3598 / 4740, "medium": 637 / 1020, "few": 122 / 240})
    assert micro_accuracy(*hundred_classes(), 100) == 4357 / 6000
    assert macro_accuracy(*hundred_classes(), 100) == pytest.approx(4357 / 6000)
    assert round(4357 / 6000, 4) == 0.7262


def test_absent_classes_are_left_out_and_never_zero():
    labels, predicted = [0, 0, 0, 0, 2], [0, 0, 0, 1, 2]
    assert np.isnan(per_class_accuracy(labels, predicted, 4)[[1, 3]]).all()
    assert macro_accuracy(labels, predicted, 4) == (0.75 + 1.0) / 2
    assert group_accuracy(labels, predicted, 4, thirds([4, 3, 2, 1])) == {"many": 0.75, "medium": 1.0, "few": None}
    assert macro_f1(labels, predicted, 4) == (6 / 7 + 1.0) / 2


def test_a_group_is_the_mean_over_its_classes():
    """Class 0: 3 of 4 right, class 1: 0 of 1."""
    groups = explicit({"all": (0, 1)}, 2)
    assert group_accuracy([0, 0, 0, 0, 1], [0, 0, 0, 1, 0], 2, groups) == {"all": 0.375}


def test_without_images_nothing_is_defined():
    for metric in (micro_accuracy, macro_accuracy, macro_f1, balanced_error):
        assert metric([], [], 3) is None
    assert confusion([], [], 2).tolist() == [[0, 0], [0, 0]]


def test_logits_serve_as_predictions_and_ties_go_to_the_lowest_label():
    logits = np.array([[1.0, 1.0, 0.0], [0.0, 2.0, 2.0], [-1.0, -1.0, -1.0]])
    assert predicted_labels(logits, 3).tolist() == [0, 1, 0]
    assert micro_accuracy([0, 1, 2], logits, 3) == 2 / 3


@pytest.mark.parametrize(
    ("labels", "predicted", "message"),
    [
        ([0, 3], [0, 1], r"labels must be 0\.\.2, got 0\.\.3"),
        ([0, -1], [0, 1], r"labels must be 0\.\.2, got -1\.\.0"),
        ([0, 1], [0, 9], r"predicted labels must be 0\.\.2"),
        ([0.0, 1.0], [0, 1], "one integer an image"),
        ([0, 1], [0], "2 labels for 1 predictions"),
        ([0], [[0.0, 1.0]], r"logits of shape \(1, 2\) do not fit 3 classes"),
        ([0], [[0.0, np.nan, 0.0]], "NaN"),
    ],
)
def test_what_cannot_be_is_refused(labels, predicted, message):
    with pytest.raises(BadData, match=message):
        macro_accuracy(labels, predicted, 3)


def test_groups_of_other_classes_are_refused():
    with pytest.raises(BadData, match="label 2, and there are 2 classes"):
        group_accuracy([0], [0], 2, explicit({"all": (0, 1, 2)}, 3))
