"""What a report shows: measured rows with the records and logs of their runs, and the arrays that figures are drawn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tailwise.evaluation import Measured, Summary

BINS = 10
"""Of confidence, in the figure of reliability: fewer than the 15 of the error, so that groups of few images fill them."""

FILLED = 10
"""Images from which on a bin is shown: of fewer, its accuracy is chance."""

WORST = 12
"""Confusions that are shown."""


@dataclass(frozen=True)
class RowContent:
    """A row of the report beside its figures.

    Attributes:
        measured: its evaluations, one a seed.
        records: its runs' `run.json`, seed by seed.
        logs: lines of their `log.jsonl`, run by run.
    """

    measured: Measured
    records: Sequence[Mapping[str, Any]] = ()
    logs: Sequence[Sequence[Mapping[str, Any]]] = ()

    @cached_property
    def accuracies(self) -> NDArray[np.float64]:
        """Accuracy of each class, mean over seeds: (C,), NaN for a class without images."""
        classes = self.measured.evaluations[0].per_class
        images = np.array([found.n for found in classes], dtype=np.float64)
        right = np.mean([[found.correct for found in one.per_class] for one in self.measured.evaluations], axis=0)
        return np.divide(right, images, out=np.full(len(images), np.nan), where=images > 0)


class Confusion(NamedTuple):
    """Images of one class that are answered as another: their share of the true class's images, mean over seeds."""

    truth: int
    answer: int
    share: float
    images: int


@dataclass(frozen=True)
class Content:
    """All that a report page shows.

    Attributes:
        title: of the page.
        summary: figures and differences; its rows are those of `rows` that have evaluations, and those that have none.
        rows: row's name -> what is behind it; only rows with evaluations.
        chosen: name of the row that is shown where only one can be: the recommended one.
        words: paragraphs on what was found.
        plan: lines on what was trained, and what sharing saved.
        files: file name -> what it holds, of what lies beside the page.
        thumbnails: id of an image -> JPEG, of some images.
    """

    title: str
    summary: Summary
    rows: Mapping[str, RowContent]
    chosen: str
    words: Sequence[str] = ()
    plan: Sequence[str] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    thumbnails: Mapping[str, bytes] = field(default_factory=dict)

    @cached_property
    def classes(self) -> tuple[Any, ...]:
        """Results of the first evaluation, class by class: names, training images and n are those of all."""
        return next(iter(self.rows.values())).measured.evaluations[0].per_class

    @cached_property
    def train_images(self) -> NDArray[np.int64]:
        """(C,) real training images."""
        return np.array([found.train_images for found in self.classes], dtype=np.int64)

    @cached_property
    def group_of(self) -> tuple[str, ...]:
        """Group of each class."""
        found = [""] * len(self.classes)
        for group, labels in self.summary.setting.members.items():
            for label in labels:
                found[label] = group
        return tuple(found)

    def confusions(self, row: str, worst: int = WORST) -> list[Confusion]:
        """List the pairs of classes that a row takes for each other the most, by the share of the true class's images.

        Classes with fewer images than ten are left out while others have ten: a share of three images says little.
        """
        found: dict[tuple[int, int], int] = {}
        evaluations = self.rows[row].measured.evaluations
        for evaluation in evaluations:
            answers = evaluation.answers
            wrong = ~answers.correct
            pairs, counts = np.unique(np.stack([answers.labels[wrong], answers.predicted[wrong]]), axis=1, return_counts=True)
            for (truth, answer), count in zip(pairs.T.tolist(), counts.tolist(), strict=True):
                found[truth, answer] = found.get((truth, answer), 0) + count
        images = [result.n for result in self.classes]
        enough = 10 if max(images) >= 10 else 1
        made = [
            Confusion(truth, answer, count / (len(evaluations) * images[truth]), images[truth])
            for (truth, answer), count in found.items()
            if images[truth] >= enough
        ]
        return sorted(made, key=lambda pair: (-pair.share, pair.truth, pair.answer))[:worst]

    def examples(self, row: str, pair: Confusion) -> tuple[bytes | None, bytes | None]:
        """Give a JPEG of each class of a confusion, where there is one: of the true class one that was taken for the other, if any."""
        answers = [evaluation.answers for evaluation in self.rows[row].measured.evaluations]
        labels, ids = answers[0].labels, answers[0].ids
        confused = np.flatnonzero((labels == pair.truth) & np.any([one.predicted == pair.answer for one in answers], axis=0))
        of_truth = [*confused.tolist(), *np.flatnonzero(labels == pair.truth).tolist()]
        of_answer = np.flatnonzero(labels == pair.answer).tolist()
        truth, answer = (
            next((self.thumbnails[ids[i]] for i in places if ids[i] in self.thumbnails), None) for places in (of_truth, of_answer)
        )
        return truth, answer

    def reliability(self, row: str) -> list[tuple[str, float, float, int]]:
        """Give, for each group and bin of confidence with ten images in it: group, mean confidence, accuracy, images; over all seeds."""
        found = []
        answers = [evaluation.answers for evaluation in self.rows[row].measured.evaluations]
        sure = np.concatenate([one.confidence for one in answers])
        right = np.concatenate([one.correct for one in answers])
        labels = np.concatenate([one.labels for one in answers])
        bins = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
        for group, members in self.summary.setting.members.items():
            of_group = np.isin(labels, members)
            for number in range(BINS):
                here = of_group & (bins == number)
                if here.sum() >= FILLED:
                    found.append((group, float(sure[here].mean()), float(right[here].mean()), int(here.sum())))
        return found

    def curves(self, row: str, figure: str = "loss") -> list[tuple[int, float, str]]:
        """Give epoch, mean of a figure of the log over the runs that have it, and the stage; epochs of later stages are counted on."""
        by_epoch: dict[tuple[int, str], list[float]] = {}
        for log in self.rows[row].logs:
            for epoch, line in enumerate(log):
                if line.get(figure) is not None:
                    by_epoch.setdefault((epoch + 1, str(line.get("name") or "train")), []).append(float(line[figure]))
        return [(epoch, float(np.mean(values)), stage) for (epoch, stage), values in by_epoch.items()]


def smoothed(counts: NDArray[np.int64], values: NDArray[np.float64], points: int = 60) -> list[tuple[float, float]]:
    """Give a smooth line through (count, value) pairs: means by a Gaussian on the logarithm of the count, an eighth of its range wide.

    Args:
        counts: (C,) training images, from 0.
        values: (C,), NaN where there is none.
        points: of the line, evenly spaced on the logarithm.

    Returns:
        (count, mean) pairs from the rarest class to the most frequent one; none where all classes have as many images.
    """
    known = ~np.isnan(values)
    at, values = np.log(np.maximum(counts[known], 1)), values[known]
    if not len(at) or at.min() == at.max():
        return []
    width = (at.max() - at.min()) / 8
    line = np.linspace(at.min(), at.max(), points)
    weights = np.exp(-0.5 * ((line[:, None] - at) / width) ** 2)
    means = weights @ values / weights.sum(1)
    return list(zip(np.exp(line).tolist(), means.tolist(), strict=True))
