"""The same predictions under the classes that a user expects, with calibrated scores: nothing is trained, nothing is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tailwise.counts import ESTIMATED
from tailwise.errors import BadData, BadValue, Clash
from tailwise.evaluation import Predictions, SplitPredictions
from tailwise.posthoc.estimated_prior import estimate_prior
from tailwise.posthoc.logit_adjustment import adjust_logits
from tailwise.posthoc.prior_shift import expected_prior, prior_shares, shift_logits
from tailwise.posthoc.temperature import NO_VAL, FittedTemperature, fit_temperature
from tailwise.study.class_numbers import read_prior

SAME = 0.01
"""Shares that differ by one in a hundred move no score visibly: the prior left by weights of nearly even sums is called uniform."""

ENOUGH = 10
"""Images for each class below which an estimated prior is called rough."""

UNDONE = ("LogitAdjustment", "PriorShift", "Temperature")
"""Parts that only shift or scale the network's logits, which are taken as they were before another prior is put in."""

PRIOR_NAMES = {
    "train": "the training prior",
    "uniform": "a uniform prior",
    "reversed": "the reversed training prior",
    "given": "the given prior",
}


@dataclass(frozen=True)
class Shift:
    """How the logits of a run become scores under a class prior.

    Attributes:
        test_prior: what the user expects, as it was given: a word or a file; None where nothing is shifted.
        prior: the prior that the scores are under, in words.
        expected: (C,) its shares; None where they are not known.
        left: (C,) shares of the prior in the logits that are scaled; None where it is not known.
        temperature: that these are divided by.
        val_images: n, validation images that it was fitted on; 0 where the scores are not calibrated.
        sentence: on the temperature.
        of_network: whether these are the network's own logits, before an adjustment that the run has.
        estimated_on: n, images without labels on which the expected prior was estimated; 0 where it was not.
    """

    test_prior: str | None
    prior: str
    expected: tuple[float, ...] | None
    left: tuple[float, ...] | None
    temperature: float
    val_images: int
    sentence: str
    of_network: bool
    estimated_on: int = 0

    @property
    def scores(self) -> str:
        """What a score is, in words."""
        return f"{'probability' if self.val_images else 'softmax'} under {self.prior}, {self.sentence}"

    def apply(self, logits: np.ndarray) -> np.ndarray:
        """Give (N, C) float64 logits under the expected prior; the same answers where nothing is shifted.

        Args:
            logits: (N, C), of the network where `of_network`, else of the run.
        """
        logits = np.asarray(logits, dtype=np.float64)
        if self.test_prior is None:
            return logits / self.temperature
        if self.left is None or self.expected is None:
            raise BadValue("the test prior is still to be estimated; call estimated(logits) first")
        return shift_logits(logits, self.left, self.expected, self.temperature)

    def estimated(self, logits: np.ndarray) -> Shift:
        """Estimate the prior on images without labels, where it is to be estimated; else give the shift as it is.

        Args:
            logits: (N, C), of the network where `of_network`, else of the run.
        """
        if self.test_prior != ESTIMATED or self.left is None:
            return self
        found = estimate_prior(logits, self.left, self.temperature)
        rough = "; few, so it is rough" if found.images < ENOUGH * len(self.left) else ""
        prior = f"the prior estimated on n = {found.images:,} images without their labels{rough}"
        return replace(self, expected=_plain(found.shares), prior=prior, estimated_on=found.images)

    def to_dict(self) -> dict[str, Any]:
        """Give plain JSON values under the names of the attributes, and `scores`; shares are 0-1."""
        shares = {name: None if (found := getattr(self, name)) is None else list(found) for name in ("expected", "left")}
        return {
            "test_prior": self.test_prior,
            "prior": self.prior,
            **shares,
            "temperature": self.temperature,
            "val_images": self.val_images,
            "of_network": self.of_network,
            "estimated_on": self.estimated_on,
            "scores": self.scores,
        }


def under_prior(
    predictions: Predictions, record: Mapping[str, Any], test_prior: str | Path | Sequence[float], split: str = "test"
) -> tuple[Predictions, Shift]:
    """Give a run's predictions under the class prior that is expected at test.

    Args:
        predictions: of the run, on all splits.
        record: its `run.json`, of which `prior_left`, `correction` and `method` are read.
        test_prior: as in `find_shift`.
        split: on whose images a prior is estimated that is to be estimated; val where there is no such split.

    Returns:
        The predictions with shifted, calibrated logits, whose softmax are probabilities under that prior; the network's own logits stand
        beside them. And what was done.

    Raises:
        As `find_shift`.
    """
    shift = find_shift(predictions, record, test_prior)
    measured = predictions.splits.get(split) or predictions.split("val")
    shift = shift.estimated(_scaled(measured, shift.of_network))
    splits = {
        name: replace(part, logits=shift.apply(_scaled(part, shift.of_network)), network_logits=_scaled(part, of_network=True))
        for name, part in predictions.splits.items()
    }
    return replace(predictions, splits=splits), shift


def find_shift(predictions: Predictions, record: Mapping[str, Any], test_prior: str | Path | Sequence[float]) -> Shift:
    """Settle how a run's logits are moved to the prior that is expected at test: T fitted on val, then z / T - log left + log q.

    Scale first, shift after. A run that ends in logit adjustment has shifted already, so its network's own logits are taken, with the
    prior that these carry: under one test prior it then answers as the method beneath it does.

    Args:
        predictions: of the run.
        record: its `run.json`.
        test_prior: a word as in `expected_prior`, of the real training counts; a file as in `read_prior`; (C,) numbers; or `estimated`,
            which `Shift.estimated` fills in.

    Raises:
        BadData: no such word or file, numbers that are no prior, or a run of an earlier version, which does not say what prior is left.
        Clash: the method's scores are no log probabilities under a known prior.
    """
    prior = read_prior(test_prior, predictions.classes)
    is_open = isinstance(prior, str) and prior == ESTIMATED
    expected = None if is_open else expected_prior(prior, predictions.counts.real)
    left, of_network = _undone(_prior_left(record, len(predictions.classes)), predictions, record)
    fitted = _temperature(predictions, left, of_network)
    given = str(test_prior) if isinstance(test_prior, str | Path) else "given"
    return Shift(given, _prior_name(given), _plain(expected), _plain(left), *fitted, of_network)


def calibrate(predictions: Predictions, record: Mapping[str, Any]) -> Shift:
    """Fit a temperature on val and shift nothing: every answer stays, under the prior that is left in the run's logits."""
    left = prior_shares(record["prior_left"], "prior_left") if record.get("prior_left") else None
    fitted = _temperature(predictions, left, of_network=False)
    return Shift(None, _left_name(left, predictions, fitted.images), _plain(left), _plain(left), *fitted, of_network=False)


# --- what a record says -------------------------------------------------------------------------------------------------


def _prior_left(record: Mapping[str, Any], classes: int) -> np.ndarray:
    """Give the shares of the prior in a run's logits."""
    name = record["method"]
    if "prior_left" not in record:
        raise BadData(
            f"{name}: its run.json has no prior_left, so an earlier version wrote it; --test-prior needs a run that is trained anew"
        )
    if record["prior_left"] is None:
        raise Clash(
            f"{name}: its scores are no log probabilities under a known class prior, so no --test-prior can take its place; "
            "leave it out, or take a method such as ce, la or balanced-softmax"
        )
    left = prior_shares(record["prior_left"], "prior_left of run.json")
    if len(left) != classes:
        raise BadData(
            f"{name}: prior_left of its run.json has {len(left):,} shares for {classes:,} classes; put run.json back, or train again"
        )
    return left


def _undone(left: np.ndarray, predictions: Predictions, record: Mapping[str, Any]) -> tuple[np.ndarray, bool]:
    """Give the prior in the network's own logits where the run has shifted them, and whether it has."""
    correction = record.get("correction") or {}
    if correction.get("part") not in UNDONE or any(part.network_logits is None for part in predictions.splits.values()):
        return left, False
    if record.get("network_prior"):
        return prior_shares(record["network_prior"], "network_prior of run.json"), True
    if correction["part"] == "PriorShift":
        return prior_shares(correction["left"], "correction.left of run.json"), True
    if correction["part"] == "Temperature":
        return left, True
    gained = adjust_logits(np.zeros(len(left)), correction["counts"], correction["tau"])
    return prior_shares(left * np.exp(-gained), "prior_left of run.json"), True


def _temperature(predictions: Predictions, left: np.ndarray | None, of_network: bool) -> FittedTemperature:
    val = predictions.splits.get("val")
    return FittedTemperature(1.0, 0, NO_VAL) if val is None else fit_temperature(_scaled(val, of_network), val.labels, left)


def _scaled(part: SplitPredictions, of_network: bool) -> np.ndarray:
    """Give the logits that a temperature divides."""
    return part.network_logits if of_network and part.network_logits is not None else part.logits


def _plain(shares: np.ndarray | None) -> tuple[float, ...] | None:
    return None if shares is None else tuple(shares.tolist())


# --- words --------------------------------------------------------------------------------------------------------------


def _prior_name(test_prior: str) -> str:
    return PRIOR_NAMES.get(test_prior, f"the prior of {test_prior}")


def _left_name(left: np.ndarray | None, predictions: Predictions, val_images: int) -> str:
    """Name the prior that a run's scores are under as they stand."""
    if left is None:
        return "the class shares of val" if val_images else "a prior that is not known"
    counts = predictions.counts.real
    named = (word for word in ("train", "uniform") if np.allclose(left, expected_prior(word, counts), rtol=SAME, atol=0))
    return _prior_name(word) if (word := next(named, None)) else "the prior that is left in the run's logits"
