"""Expected calibration error: how far confidence is from accuracy."""

from __future__ import annotations

import numpy as np

from tailwise.errors import BadData, BadValue
from tailwise.evaluation.metrics import Labels, Weights, micro_accuracy, predicted_labels

BINS = 15
"""The number of bins of Guo et al., and of the published figures of long-tailed methods (MiSLAS)."""


def calibration_error(labels: Labels, logits: np.ndarray, classes: int, bins: int = BINS, weights: Weights = None) -> float | None:
    """Give the mean over images of |accuracy - mean confidence| of the bin that the image falls into.

    ECE = sum over bins of n_b / N * |acc_b - conf_b|. Confidence is the softmax probability of the predicted class, in float64; the bins
    have equal width, ((b - 1) / bins, b / bins]. The order of the images changes nothing, not even the last bit.

    **What it means depends on the logits.** Of a network trained by cross-entropy, softmax is its own estimate of a probability, and the
    error says how wrong that is on these images. Scores that are no log probabilities (negative distances of NCM, cosines, weights
    re-scaled as by tau-normalisation) have a softmax too, but of an arbitrary scale: there the figure says how misleading it would be to
    read that softmax as a probability, and compares only with figures of the same kind of score. Logits corrected for the tail estimate
    a posterior under balanced classes: on a test set as uneven as training they are miscalibrated by design.

    Args:
        labels: (N,) int true labels.
        logits: (N, C) finite floats.
        classes: C.
        bins: number of bins; part of the figure, so say it.
        weights: what each image counts; None where all count the same.

    Returns:
        0-1; None without images.

    Raises:
        BadData: labels that are no classes, logits that are not finite, shapes that do not agree.
        BadValue: fewer than one bin.

    Source: Guo et al., "On calibration of modern neural networks", ICML 2017, equations 3 and 5.

    Two images at confidence 0.9, of which one is right, and two at 0.6, both right: 2/4 * |0.5 - 0.9| + 2/4 * |1 - 0.6|:

    >>> logits = np.log([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]])
    >>> round(calibration_error([0, 1, 0, 1], logits, classes=2), 6)
    0.4
    """
    if bins < 1:
        raise BadValue(f"bins is a whole number from 1, got {bins}")
    logits = np.asarray(logits)
    if logits.ndim != 2 or not np.isfinite(logits).all():
        raise BadData(f"a calibration error needs finite logits of shape (images, classes), got shape {logits.shape}")
    if micro_accuracy(labels, logits, classes) is None:  # checks labels and shapes
        return None
    return mean_gap(predicted_labels(logits, classes) == np.asarray(labels), confidence(logits), bins, weights)


def mean_gap(correct: np.ndarray, sure: np.ndarray, bins: int = BINS, weights: Weights = None) -> float | None:
    """Give the calibration error of (N,) right answers and their (N,) confidences; None without images, or where none of them counts."""
    counts = np.ones(len(sure)) if weights is None else weights
    if not counts.any():
        return None
    surplus = correct - sure
    order = np.lexsort((counts, surplus))  # sums of floats depend on their order, the figure must not on that of the images
    return float(np.abs(np.bincount(bin_of(sure, bins)[order], weights=(counts * surplus)[order])).sum() / counts[order].sum())


def bin_of(sure: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Give (N,) numbers of the bins, from 0, that confidences fall into; an edge belongs to the bin below it."""
    return np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], sure, side="left")


def confidence(logits: np.ndarray) -> np.ndarray:
    """Give (N,) float64, the largest softmax probability of each row of (N, C) logits."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True).astype(np.float64)  # the largest becomes exp(0) = 1
    return 1.0 / np.exp(shifted).sum(axis=1)
