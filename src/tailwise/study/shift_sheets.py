"""Test-time shift: what trained networks reach where the classes at test are distributed otherwise, without training anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tailwise.errors import Clash
from tailwise.evaluation import SHIFTS, Cell, Evaluation, Measured, Predictions, Sheet, cell_of, of_answers
from tailwise.posthoc import estimate_prior
from tailwise.study.measure import by_seed, predictions_of
from tailwise.study.runs import Run

RATIOS = (50, 25, 10, 5, 2)
"""Of the largest class to the smallest, as in Zhang et al., "Self-supervised aggregation of diverse experts", NeurIPS 2022."""

Floats = NDArray[np.float64]


def distributions(counts: Sequence[int]) -> dict[str, Floats]:
    """Give class distributions at test: forward (frequent classes stay frequent), uniform, and backward (they become the rare ones).

    With classes ordered by falling training images, then by label, the share of the class in place i of C is proportional to
    ratio ** (-i / (C - 1)), backward in reverse.

    Args:
        counts: (C,) training images a class.

    Returns:
        Name -> (C,) shares, from forward by the largest ratio to backward by it.

    >>> distributions([9, 90])["forward 2"].round(3)
    array([0.333, 0.667])
    """
    classes = len(counts)
    place = np.empty(classes)
    place[sorted(range(classes), key=lambda label: (-counts[label], label))] = np.linspace(0, 1, classes) if classes > 1 else 0.0
    made = {f"forward {ratio}": float(ratio) ** -place for ratio in RATIOS}
    made["uniform"] = np.ones(classes)
    made |= {f"backward {ratio}": float(ratio) ** (place - 1) for ratio in reversed(RATIOS)}
    return {name: shares / shares.sum() for name, shares in made.items()}


def shift_sheets(measured: Sequence[Measured], runs: Mapping[str, Sequence[Run]]) -> tuple[Sheet, ...]:
    """Measure rows of runs under each of `distributions`, answering as they are, with the prior known, and with it estimated.

    The images are those of the split: each counts as often as the distribution says of its class, so that a figure is a weighted mean over
    classes of all images and no image is thrown away. What thins the test set instead has the same expectation, and more noise.

    Args:
        measured: rows, as `measure` gives them; those without evaluations are left out.
        runs: row's text -> its runs.

    Returns:
        A sheet for each way of answering; none where nothing is measured. A row that cannot answer in a way is not in its sheet, which says
        why.
    """
    made = [row for row in measured if row.evaluations]
    if not made:
        return ()
    first = made[0].evaluations[0]
    shares = distributions([found.train_images for found in first.per_class])
    rows: dict[str, dict[str, dict[str, Cell]]] = {kind: {} for kind in SHIFTS}
    said = []
    for row in made:
        answers = [evaluation.answers for evaluation in row.evaluations]
        plain = of_answers(np.stack([one.correct for one in answers]), answers[0].labels, answers[0].classes)
        rows["as it is"][row.name] = {name: cell_of(plain.estimate(q), len(answers), first.images) for name, q in shares.items()}
        try:
            even = [predictions_of(group, "uniform", first.split) for group in by_seed(runs[row.name])]
        except Clash as reason:
            said.append(f"{row.name}: not here; {str(reason).removeprefix(f'{row.name}: ').partition(',')[0]}")
            continue
        found = [_answered(predictions, first.split, shares) for predictions in even]
        labels = even[0].split(first.split).labels
        for kind in ("known prior", "estimated prior"):
            rows[kind][row.name] = {name: _cell([one[kind, name] for one in found], labels, q) for name, q in shares.items()}
    return tuple(
        Sheet(name, f"at test, {kind}", tuple(shares), rows[kind], _caption(kind, first), () if kind == "as it is" else tuple(said))
        for kind, name in SHIFTS.items()
    )


def _caption(kind: str, first: Evaluation) -> str:
    images = (
        f"Accuracy on {first.split}, n = {first.images:,} images, where classes occur as often as each column says: forward, the classes "
        "with most training images most often, with this ratio of the largest class to the smallest; backward, the rarest. Each image "
        "counts as often as its class occurs; nothing is trained anew."
    )
    calibrated = "Scores are calibrated on val first, where there is one."
    how = {
        "as it is": "Rows answer as they are.",
        "known prior": f"Answers are moved to that distribution, as if it were known. {calibrated}",
        "estimated prior": "Answers are moved to the distribution that EM reads off the images without their labels, each as often as its "
        f"class occurs. {calibrated}",
    }
    return f"{images} {how[kind]}"


def _answered(predictions: Predictions, split: str, shares: Mapping[str, Floats]) -> dict[tuple[str, str], NDArray[np.int64]]:
    """Give the answers of a network, calibrated under a uniform prior, by how it answers and by distribution: (N,) labels each."""
    part = predictions.split(split)
    logits, even = part.logits.astype(np.float64), np.ones(part.classes)
    images = np.maximum(np.bincount(part.labels, minlength=part.classes), 1)
    found = {}
    for name, q in shares.items():
        estimated = estimate_prior(logits, even, weights=(q / images)[part.labels]).shares
        found["known prior", name] = (logits + np.log(q)).argmax(1)
        found["estimated prior", name] = (logits + np.log(np.maximum(estimated, np.finfo(np.float64).tiny))).argmax(1)
    return found


def _cell(answered: Sequence[NDArray[np.int64]], labels: NDArray[np.int64], q: Floats) -> Cell:
    means = of_answers(np.stack([one == labels for one in answered]), labels, len(q))
    return cell_of(means.estimate(q), len(answered), len(labels))
