"""The one search for tau: a grid, scored by macro accuracy on validation rows, never on test rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Literal

import numpy as np

from tailwise.errors import BadData, BadValue
from tailwise.posthoc.scores import Scores

GRID = tuple(step / 10 for step in range(21))
"""0, 0.1 ... 2: the grid of Kang et al.'s code (classifier-balancing, `tau_norm.py`)."""

SAME = 1e-9
"""Macro accuracies closer than this are a tie: a mean of fractions differs by rounding alone."""

Tau = float | Literal["val"]
"""A number, or `val` for the best one on validation rows."""

Answers = Callable[[Scores], Callable[[float], np.ndarray]]
"""Scores to a function of tau that gives corrected (N, C) logits; what does not depend on tau is computed once."""


def checked_tau(tau: Tau) -> Tau:
    """Give tau as a float, or `val`; refuse anything else.

    Raises:
        BadValue: tau is negative, not finite or another word.
    """
    if tau == "val":
        return tau
    if not isinstance(tau, Real) or not math.isfinite(tau) or tau < 0:
        raise BadValue(f"tau must be a number >= 0 or 'val', got {tau!r}")
    return float(tau)


def settled_tau(tau: Tau) -> float:
    """Give the number, and refuse a tau that is still to be chosen.

    Raises:
        BadValue: tau is `val`.
    """
    if tau == "val":
        raise BadValue("tau is 'val' and not chosen yet; call fit(val) first, or give a number")
    return tau


def fit_tau(tau: Tau, val: Scores | None, published: float, answers: Answers) -> tuple[float, str]:
    """Settle tau and say how.

    Args:
        tau: a number, which stays, or `val`.
        val: validation scores with labels, or None.
        published: the value that is used without validation rows, and preferred among equals.
        answers: takes the scores once, and gives what corrects them for each tau.

    Returns:
        tau, and a sentence for the record.

    Raises:
        BadData: the validation scores carry no labels.
    """
    if tau != "val":
        return tau, f"tau = {_shown(tau)}, the card's value"
    if val is None or not val.images:
        return published, f"tau = {_shown(published)}, the published value: no validation images to choose it on"
    if val.labels is None:
        raise BadData("tau is chosen by accuracy, and the validation scores carry no labels; add labels or give tau")
    labels, classes, logits_at = val.labels, val.classes, answers(val)
    scored = {candidate: _macro_accuracy(logits_at(candidate), labels, classes) for candidate in GRID}
    best = max(scored.values())
    equals = [candidate for candidate in GRID if best - scored[candidate] < SAME]
    chosen = min(equals, key=lambda candidate: (round(abs(candidate - published), 9), candidate))
    present = len(np.unique(labels))
    absent = f", {classes - present} of {classes} classes absent" if present < classes else ""
    return chosen, (
        f"tau = {_shown(chosen)}, chosen on val (n = {val.images}{absent}) by macro accuracy "
        f"({scored[chosen]:.2%}) among {GRID[0]:g} to {GRID[-1]:g} in steps of {GRID[1]:g}"
    )


def _macro_accuracy(logits: np.ndarray, labels: np.ndarray, classes: int) -> float:
    images = np.bincount(labels, minlength=classes)
    correct = np.bincount(labels[logits.argmax(1) == labels], minlength=classes)
    present = images > 0
    return float(np.mean(correct[present] / images[present]))


def _shown(tau: float) -> str:
    return f"{tau:.2f}" if round(tau, 2) == tau else f"{tau:g}"
