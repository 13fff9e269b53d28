"""The evaluation of one split: all figures of one set of predictions, with the counts behind each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from tailwise.evaluation import metrics
from tailwise.evaluation.answers import Answers, answers_of
from tailwise.evaluation.calibration import mean_gap
from tailwise.evaluation.crossed import ClassMeans, group_weights, of_answers
from tailwise.evaluation.intervals import LEVEL, Interval
from tailwise.evaluation.predictions import Predictions
from tailwise.evaluation.proportions import jeffreys_ends, wilson

SCHEMA = "tailwise.evaluation/2"


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
        interval: of the accuracy, by Jeffreys; None likewise.
    """

    name: str
    label: int
    train_images: int
    n: int
    correct: int
    accuracy: float | None
    interval: Interval | None


@dataclass(frozen=True)
class GroupResult:
    """One group of classes in one split.

    Attributes:
        accuracy: mean accuracy of the classes present, 0-1; None where no class is present.
        interval: of the accuracy, for this network on new images; None likewise.
        micro_accuracy: share of the group's images answered right, 0-1; None likewise.
        micro_interval: of that share, by Wilson; None likewise.
        ece: expected calibration error of the images whose *true* class is in the group, 0-1; None likewise. Since the truth chose the
            images, even a model calibrated over all of them has an error here: too sure of rare classes, not sure enough of frequent ones.
        classes: classes in the group.
        classes_present: of these, with images in the split.
        images: images in the split.
        train_images: real training images.
    """

    accuracy: float | None
    interval: Interval | None
    micro_accuracy: float | None
    micro_interval: Interval | None
    ece: float | None
    classes: int
    classes_present: int
    images: int
    train_images: int


@dataclass(frozen=True)
class Evaluation:
    """The figures of one network on one split; shares are 0-1 and unrounded, None where nothing is there to measure.

    Every interval is at 95 % and speaks of this network on new images. Of the method they say nothing: that takes seeds, see `summarise`.

    Attributes:
        split: name of the split.
        images: n, images in the split.
        accuracy: micro accuracy, the share of images answered right; under an expected class distribution the share under that.
        accuracy_interval: by Wilson; under an expected class distribution that of a weighted mean over classes.
        macro_accuracy: mean accuracy of the classes present.
        macro_interval: its interval, from the variances within classes.
        balanced_error: 1 - macro accuracy.
        macro_f1: mean F1 of the classes present.
        ece: expected calibration error, 15 bins of equal width, confidence by the softmax of the final logits. What it means for logits
            that are no log probabilities: see `calibration_error`.
        scheme: name of the group scheme.
        rule: its thresholds in words.
        groups: group name -> result, from frequent to rare.
        per_class: every class in label order, absent ones included.
        absent_classes: names of the classes without images in the split; they are in no mean.
        members: group name -> labels of its classes; not in `to_dict`.
        levels: level of the classes' hierarchy -> its member of each class, or None; not in `to_dict`.
        expected: (C,) class distribution that accuracy, macro-F1 and ECE stand for; None for the split's own.
        answers: what they were computed from; not in `to_dict`.
    """

    split: str
    images: int
    accuracy: float | None
    accuracy_interval: Interval | None
    macro_accuracy: float | None
    macro_interval: Interval | None
    balanced_error: float | None
    macro_f1: float | None
    ece: float | None
    scheme: str
    rule: str
    groups: Mapping[str, GroupResult]
    per_class: tuple[ClassResult, ...]
    absent_classes: tuple[str, ...]
    members: Mapping[str, tuple[int, ...]]
    levels: Mapping[str, tuple[str | None, ...]]
    expected: tuple[float, ...] | None
    answers: Answers = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Give plain JSON values under the names of the attributes, and `schema`.

        `groups` is an object by group name, `per_class` a list in label order, undefined figures are null.
        """
        plain = asdict(replace(self, answers=None))  # type: ignore[arg-type]
        del plain["answers"], plain["members"], plain["levels"]
        lists = {name: list(value) for name, value in plain.items() if isinstance(value, tuple)}
        return {"schema": SCHEMA, **plain, **lists}


def evaluate(predictions: Predictions, split: str, expected: Sequence[float] | None = None) -> Evaluation:
    """Evaluate one split: micro, macro, groups and every class; ties between logits go to the lowest label.

    Args:
        predictions: of one network.
        split: which of its splits.
        expected: (C,) class distribution for which accuracy, macro-F1 and ECE are to stand, each image weighted by the share of its class;
            None for the split's own. Means over classes are not changed by it.

    Raises:
        UnknownName: the predictions have no such split.
        BadData: an expected distribution that does not fit.

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
    classes, groups = len(predictions.classes), predictions.groups
    answers = answers_of(predictions.split(split), expected)
    truth, answered, weights = answers.labels, answers.predicted, answers.weights
    means = of_answers(answers.correct, truth, classes)
    per_class = _per_class(predictions, truth, answered)
    accuracy = metrics.micro_accuracy(truth, answered, classes, weights)
    return Evaluation(
        split=split,
        images=len(truth),
        accuracy=accuracy,
        accuracy_interval=wilson(int(answers.correct.sum()), len(truth)) if expected is None else _interval(means, np.asarray(expected)),
        macro_accuracy=metrics.macro_accuracy(truth, answered, classes),
        macro_interval=_interval(means, np.ones(classes)),
        balanced_error=metrics.balanced_error(truth, answered, classes),
        macro_f1=metrics.macro_f1(truth, answered, classes, weights),
        ece=mean_gap(answers.correct, answers.confidence, weights=weights),
        scheme=groups.scheme,
        rule=groups.rule,
        groups={name: _group(labels, answers, means, per_class) for name, labels in groups.members.items()},
        per_class=per_class,
        absent_classes=tuple(result.name for result in per_class if not result.n),
        members=groups.members,
        levels=predictions.levels,
        expected=None if expected is None else tuple(float(share) for share in expected),
        answers=answers,
    )


def _interval(means: ClassMeans, weights: np.ndarray) -> Interval | None:
    found = means.estimate(weights)
    return None if found is None else found.interval("networks")


def _per_class(predictions: Predictions, truth: np.ndarray, answers: np.ndarray) -> tuple[ClassResult, ...]:
    images, correct, _ = metrics.tallies(truth, answers, len(predictions.classes))
    intervals = (Interval(low, high, LEVEL) for low, high in zip(*jeffreys_ends(correct, images), strict=True))
    rows = zip(predictions.classes, predictions.counts.real, images.tolist(), correct.tolist(), intervals, strict=True)
    return tuple(
        ClassResult(name, label, train, n, right, right / n if n else None, interval if n else None)
        for label, (name, train, n, right, interval) in enumerate(rows)
    )


def _group(labels: Sequence[int], answers: Answers, means: ClassMeans, per_class: Sequence[ClassResult]) -> GroupResult:
    members = [per_class[label] for label in labels]
    images, correct = sum(member.n for member in members), sum(member.correct for member in members)
    rows = np.isin(answers.labels, labels)
    accuracies = [member.accuracy for member in members if member.accuracy is not None]
    return GroupResult(
        accuracy=float(np.mean(accuracies)) if accuracies else None,
        interval=_interval(means, group_weights(labels, answers.classes)),
        micro_accuracy=correct / images if images else None,
        micro_interval=wilson(correct, images),
        ece=mean_gap(answers.correct[rows], answers.confidence[rows], weights=None if answers.weights is None else answers.weights[rows]),
        classes=len(members),
        classes_present=sum(member.n > 0 for member in members),
        images=images,
        train_images=sum(member.train_images for member in members),
    )
