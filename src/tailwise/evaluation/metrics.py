"""Metrics of single-label classification, as pure functions on arrays.

All take `labels`, (N,) int true labels 0..C-1; `predicted`, either (N,) int labels or (N, C) logits; and `classes`, C.
All figures are shares 0-1. A class without images among `labels` has no accuracy: it is NaN in arrays and left out of
every mean; a mean over nothing is None. All raise BadData for labels that are no classes and shapes that do not agree.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tailwise.errors import BadData
from tailwise.groups import Groups

Labels = np.ndarray | Sequence[int]
Answers = np.ndarray | Sequence[int] | Sequence[Sequence[float]]
Weights = np.ndarray | None
"""(N,) floats from 0, not all 0: what each image counts; None where all count the same."""


def predicted_labels(predicted: Answers, classes: int) -> np.ndarray:
    """Give (N,) int64 labels: the argmax of (N, C) logits, the lowest label among equals; (N,) labels stay as they are.

    >>> predicted_labels([[0.1, 0.9, 0.9], [2.0, 1.0, 0.0]], classes=3)
    array([1, 0])
    """
    array = np.asarray(predicted)
    if array.ndim == 2:
        if array.shape[1] != classes:
            raise BadData(f"logits of shape {array.shape} do not fit {classes} classes")
        if np.isnan(array).any():
            raise BadData("logits hold NaN; a class cannot be chosen on them")
        return array.argmax(1).astype(np.int64)
    return _checked(array, classes, "predicted labels")


def confusion(labels: Labels, predicted: Answers, classes: int) -> np.ndarray:
    """Count (C, C) int64 pairs: row true label, column predicted label.

    >>> confusion([0, 0, 1], [0, 1, 1], classes=2)
    array([[1, 1],
           [0, 1]])
    """
    truth, answers = _pair(labels, predicted, classes)
    return np.bincount(truth * classes + answers, minlength=classes * classes).reshape(classes, classes)


def per_class_accuracy(labels: Labels, predicted: Answers, classes: int) -> np.ndarray:
    """Give each class's share of right answers (its recall): (C,) float64, NaN for a class without images.

    >>> per_class_accuracy([0, 0, 1], [0, 1, 1], classes=3)
    array([0.5, 1. , nan])
    """
    images, correct, _ = tallies(labels, predicted, classes)
    return np.divide(correct, images, out=np.full(classes, np.nan), where=images > 0)


def macro_accuracy(labels: Labels, predicted: Answers, classes: int) -> float | None:
    """Give the mean of the accuracies of the classes present: balanced accuracy.

    >>> macro_accuracy([0, 0, 0, 1], [0, 0, 0, 0], classes=2)
    0.5
    """
    return _mean_of_present(per_class_accuracy(labels, predicted, classes))


def micro_accuracy(labels: Labels, predicted: Answers, classes: int, weights: Weights = None) -> float | None:
    """Give the share of images answered right, whatever their class; each image counts with its weight.

    >>> micro_accuracy([0, 0, 0, 1], [0, 0, 0, 0], classes=2)
    0.75
    """
    truth, answers = _pair(labels, predicted, classes)
    return float(np.average(truth == answers, weights=weights)) if truth.size else None


def balanced_error(labels: Labels, predicted: Answers, classes: int) -> float | None:
    """Give 1 - macro accuracy.

    >>> balanced_error([0, 0, 0, 1], [0, 0, 0, 0], classes=2)
    0.5
    """
    accuracy = macro_accuracy(labels, predicted, classes)
    return None if accuracy is None else 1.0 - accuracy


def group_accuracy(labels: Labels, predicted: Answers, classes: int, groups: Groups) -> dict[str, float | None]:
    """Give for each group the mean accuracy of its classes present; None for a group of which no class is present.

    >>> parts = Groups("explicit", "as listed", {"many": (0,), "few": (1, 2), "rest": (3,)})
    >>> group_accuracy([0, 0, 1], [0, 1, 1], 4, parts)
    {'many': 0.5, 'few': 1.0, 'rest': None}
    """
    accuracies = per_class_accuracy(labels, predicted, classes)
    outside = [label for members in groups.members.values() for label in members if not 0 <= label < classes]
    if outside:
        raise BadData(f"the groups name label {outside[0]}, and there are {classes} classes")
    return {name: _mean_of_present(accuracies[list(members)]) for name, members in groups.members.items()}


def macro_f1(labels: Labels, predicted: Answers, classes: int, weights: Weights = None) -> float | None:
    """Give the mean over the classes *present in the labels* of F1 = 2 right / (images + times answered).

    An answer for a class without images lowers the F1 of the true class; the absent class itself is not in the mean.
    Equal to scikit-learn's `f1_score(..., labels=np.unique(labels), average="macro")`.

    >>> macro_f1([0, 0, 1, 1], [0, 0, 0, 1], classes=3) == (4 / 5 + 2 / 3) / 2
    True
    """
    images, correct, answered = tallies(labels, predicted, classes, weights)
    scores = np.divide(2 * correct, images + answered, out=np.full(classes, np.nan), where=images > 0)
    return _mean_of_present(scores)


def tallies(labels: Labels, predicted: Answers, classes: int, weights: Weights = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count for each class its images, its right answers, and how often it was the answer: three (C,) int64 arrays.

    With weights they are sums of the images' weights, float64.

    >>> [counts.tolist() for counts in tallies([0, 0, 1], [0, 1, 1], classes=3)]
    [[2, 1, 0], [1, 1, 0], [1, 2, 0]]
    """
    truth, answers = _pair(labels, predicted, classes)
    is_right = truth == answers
    of_right = None if weights is None else weights[is_right]
    pairs = ((truth, weights), (truth[is_right], of_right), (answers, weights))
    images, correct, answered = (np.bincount(values, weights=w, minlength=classes) for values, w in pairs)
    return images, correct, answered


def _mean_of_present(values: np.ndarray) -> float | None:
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else None


def _pair(labels: Labels, predicted: Answers, classes: int) -> tuple[np.ndarray, np.ndarray]:
    truth, answers = _checked(np.asarray(labels), classes, "labels"), predicted_labels(predicted, classes)
    if truth.shape != answers.shape:
        raise BadData(f"{len(truth)} labels for {len(answers)} predictions; give one of each for every image")
    return truth, answers


def _checked(labels: np.ndarray, classes: int, what: str) -> np.ndarray:
    if labels.ndim != 1 or (labels.size and labels.dtype.kind not in "iu"):
        raise BadData(f"{what} must be one integer an image, got shape {labels.shape} of {labels.dtype}")
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise BadData(f"{what} must be 0..{classes - 1}, got {labels.min()}..{labels.max()}")
    return labels.astype(np.int64, copy=False)
