"""The evaluation of one split: all figures of one set of predictions, with the counts behind each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tailwise.evaluation import metrics
from tailwise.evaluation.calibration import calibration_error
from tailwise.evaluation.predictions import Predictions
from tailwise.groups import Groups

SCHEMA = "tailwise.evaluation/1"


@dataclass(frozen=True)
class ClassResult:
    """One class in one split.

    Attributes:
        name: the class's name.
        label: its label.
        train_images: real training images.
        n: images in the split.
        correct: of these, answered right.
        accuracy: correct / n, 0-1; None where n is 0.
    """

    name: str
    label: int
    train_images: int
    n: int
    correct: int
    accuracy: float | None


@dataclass(frozen=True)
class GroupResult:
    """One group of classes in one split.

    Attributes:
        accuracy: mean accuracy of the classes present, 0-1; None where no class is present.
        micro_accuracy: share of the group's images answered right, 0-1; None likewise.
        ece: expected calibration error of the images whose *true* class is in the group, 0-1; None likewise. Since the truth chose the
            images, even a model calibrated over all of them has an error here: too sure of rare classes, not sure enough of frequent ones.
        classes: classes in the group.
        classes_present: of these, with images in the split.
        images: images in the split.
        train_images: real training images.
    """

    accuracy: float | None
    micro_accuracy: float | None
    ece: float | None
    classes: int
    classes_present: int
    images: int
    train_images: int


@dataclass(frozen=True)
class Evaluation:
    """The figures of one split; shares are 0-1 and unrounded, None where nothing is there to measure.

    Attributes:
        split: name of the split.
        images: n, images in the split.
        accuracy: micro accuracy, the share of images answered right.
        macro_accuracy: mean accuracy of the classes present.
        balanced_error: 1 - macro accuracy.
        macro_f1: mean F1 of the classes present.
        ece: expected calibration error, 15 bins of equal width, confidence by the softmax of the final logits. What it means for logits
            that are no log probabilities: see `calibration_error`.
        scheme: name of the group scheme.
        rule: its thresholds in words.
        groups: group name -> result, from frequent to rare.
        per_class: every class in label order, absent ones included.
        absent_classes: names of the classes without images in the split; they are in no mean.
    """

    split: str
    images: int
    accuracy: float | None
    macro_accuracy: float | None
    balanced_error: float | None
    macro_f1: float | None
    ece: float | None
    scheme: str
    rule: str
    groups: Mapping[str, GroupResult]
    per_class: tuple[ClassResult, ...]
    absent_classes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Give plain JSON values under the names of the attributes, and `schema`.

        `groups` is an object by group name, `per_class` a list in label order, undefined figures are null.
        """
        plain = asdict(self)
        plain["per_class"], plain["absent_classes"] = list(plain["per_class"]), list(plain["absent_classes"])
        return {"schema": SCHEMA, **plain}


def evaluate(predictions: Predictions, split: str) -> Evaluation:
    """Evaluate one split: micro, macro, groups and every class; ties between logits go to the lowest label.

    Raises:
        UnknownName: the predictions have no such split.

    >>> from tailwise.counts import ClassCounts
    >>> from tailwise.evaluation import SplitPredictions
    >>> from tailwise.groups import make_groups
    >>> test = SplitPredictions(("a", "b", "c"), [0, 0, 1], [[2, 1, 0], [0, 1, 0], [0, 1, 0]])
    >>> counts = ClassCounts((9, 3, 1))
    >>> predictions = Predictions({"test": test}, ("cat", "okapi", "saola"), counts, make_groups(counts.real), "a1b2")
    >>> found = evaluate(predictions, "test")
    >>> found.macro_accuracy, found.absent_classes
    (0.75, ('saola',))
    """
    part, classes = predictions.split(split), len(predictions.classes)
    truth, answers = part.labels, metrics.predicted_labels(part.logits, classes)
    per_class = _per_class(predictions, truth, answers)
    of_groups = metrics.group_accuracy(truth, answers, classes, predictions.groups)
    in_group = {name: np.isin(truth, labels) for name, labels in predictions.groups.members.items()}
    errors = {name: calibration_error(truth[rows], part.logits[rows], classes) for name, rows in in_group.items()}
    return Evaluation(
        split=split,
        images=len(truth),
        accuracy=metrics.micro_accuracy(truth, answers, classes),
        macro_accuracy=metrics.macro_accuracy(truth, answers, classes),
        balanced_error=metrics.balanced_error(truth, answers, classes),
        macro_f1=metrics.macro_f1(truth, answers, classes),
        ece=calibration_error(truth, part.logits, classes),
        scheme=predictions.groups.scheme,
        rule=predictions.groups.rule,
        groups=_per_group(predictions.groups, per_class, of_groups, errors),
        per_class=per_class,
        absent_classes=tuple(result.name for result in per_class if not result.n),
    )


def _per_class(predictions: Predictions, truth: np.ndarray, answers: np.ndarray) -> tuple[ClassResult, ...]:
    images, correct, _ = metrics.tallies(truth, answers, len(predictions.classes))
    rows = zip(predictions.classes, predictions.counts.real, images.tolist(), correct.tolist(), strict=True)
    return tuple(ClassResult(name, label, train, n, right, right / n if n else None) for label, (name, train, n, right) in enumerate(rows))


def _per_group(
    groups: Groups,
    per_class: tuple[ClassResult, ...],
    accuracies: Mapping[str, float | None],
    errors: Mapping[str, float | None],
) -> dict[str, GroupResult]:
    results = {}
    for name, labels in groups.members.items():
        members = [per_class[label] for label in labels]
        images = sum(member.n for member in members)
        results[name] = GroupResult(
            accuracy=accuracies[name],
            micro_accuracy=sum(member.correct for member in members) / images if images else None,
            ece=errors[name],
            classes=len(members),
            classes_present=sum(member.n > 0 for member in members),
            images=images,
            train_images=sum(member.train_images for member in members),
        )
    return results
