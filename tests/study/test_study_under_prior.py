"""The same predictions under the classes that a user expects: what a record says, what val says, and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from tailwise.counts import ClassCounts
from tailwise.errors import BadData, Clash
from tailwise.evaluation import Predictions, SplitPredictions, calibration_error, evaluate
from tailwise.groups import make_groups
from tailwise.posthoc import LogitAdjustment, adjust_logits, fit_temperature
from tailwise.records import plain
from tailwise.study.runs import apply_posthoc
from tailwise.study.under_prior import calibrate, under_prior

COUNTS = (400, 90, 30, 8)
TRAIN = np.array(COUNTS) / sum(COUNTS)
CENTRES = 1.6 * np.eye(4)


def draw(images: int, prior: np.ndarray, temperature: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits of a network that has learnt four Gaussian classes with the training prior, and is `temperature` times too sure."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(4, size=images, p=prior)
    points = CENTRES[labels] + rng.normal(size=(images, 4))
    return temperature * (points @ CENTRES.T + np.log(TRAIN)), labels


def made(temperature: float = 2.5, val: int = 3000, test: int = 400) -> Predictions:
    """Predictions of cross-entropy: val is as uneven as training, test has `test` images a class."""
    splits = {}
    for seed, (name, images, prior) in enumerate((("val", val, TRAIN), ("test", 4 * test, np.full(4, 0.25)))):
        logits, labels = draw(images, prior, temperature, seed)
        if images:
            splits[name] = SplitPredictions(tuple(f"{name}/{i}" for i in range(images)), labels, logits)
    return Predictions(splits, ("ant", "bee", "cow", "dog"), ClassCounts(COUNTS), make_groups(COUNTS), "a1b2")


CE = {"method": "ce", "prior_left": TRAIN.tolist(), "correction": None}


def answers(predictions: Predictions, split: str = "test") -> np.ndarray:
    return predictions.split(split).logits.argmax(1)


def adjusted(predictions: Predictions, tau: float = 1.0) -> tuple[Predictions, dict]:
    """The row `la` over the same network, and its record."""
    corrected, fitted, _ = apply_posthoc(predictions, LogitAdjustment(COUNTS, tau))
    left = TRAIN ** (1 - tau)
    return corrected, {"method": "la", "prior_left": (left / left.sum()).tolist(), "correction": plain(fitted)}


# --- decisions ----------------------------------------------------------------------------------------------------------


@pytest.mark.reference
def test_a_network_that_is_too_sure_is_scaled_and_then_shifted():
    predictions = made()
    found, shift = under_prior(predictions, CE, "reversed")
    assert shift.temperature == pytest.approx(2.5, rel=0.1)
    assert shift.val_images == 3000
    q = TRAIN[::-1]
    for name, part in found.splits.items():
        before = predictions.split(name)
        for row, moved in zip(before.logits[:50].astype(float), part.logits[:50], strict=True):
            by_hand = [z / shift.temperature - np.log(TRAIN[c]) + np.log(q[c]) for c, z in enumerate(row)]
            np.testing.assert_allclose(moved - moved[0], np.array(by_hand) - by_hand[0], atol=1e-4)
        np.testing.assert_array_equal(part.network_logits, before.logits)
        np.testing.assert_array_equal(part.labels, before.labels)


@pytest.mark.limit
def test_the_training_prior_keeps_every_answer_of_cross_entropy():
    predictions = made()
    found, shift = under_prior(predictions, CE, "train")
    np.testing.assert_array_equal(answers(found), answers(predictions))
    assert shift.expected == pytest.approx(TRAIN)


@pytest.mark.limit
def test_uniform_equals_the_row_la_where_the_network_is_calibrated():
    """Without val the temperature is 1, and the shift is post-hoc logit adjustment."""
    predictions = made(temperature=1.0, val=0)
    found, shift = under_prior(predictions, CE, "uniform")
    assert (shift.temperature, shift.val_images) == (1.0, 0)
    np.testing.assert_array_equal(answers(found), answers(adjusted(predictions)[0]))
    np.testing.assert_allclose(found.split("test").logits, adjust_logits(predictions.split("test").logits, COUNTS), atol=1e-5)


@pytest.mark.limit
@pytest.mark.parametrize("words", ["train", "uniform", "reversed", (0.0, 0.2, 0.3, 0.5)])
@pytest.mark.parametrize("tau", [0.5, 1.0, 1.7])
def test_a_row_that_was_adjusted_answers_as_the_row_beneath_it(words, tau):
    """Its shift came before any scale, so it is undone: scale first, then shift."""
    predictions = made()
    (found, shift), (beneath, its) = under_prior(*adjusted(predictions, tau), words), under_prior(predictions, CE, words)
    assert shift.of_network
    assert shift.temperature == pytest.approx(its.temperature, rel=1e-9)
    assert shift.left == pytest.approx(its.left)
    np.testing.assert_allclose(found.split("test").logits, beneath.split("test").logits, atol=1e-4)
    np.testing.assert_array_equal(found.split("test").network_logits, predictions.split("test").logits)


@pytest.mark.limit
def test_a_network_without_prior_gets_the_prior_that_is_expected_and_no_other():
    predictions = made(temperature=1.0, val=0)
    test = predictions.split("test")
    free = replace(predictions, splits={"test": replace(test, logits=adjust_logits(test.logits, COUNTS))})
    record = {"method": "balanced-softmax", "prior_left": [0.25] * 4, "correction": None}
    np.testing.assert_array_equal(answers(under_prior(free, record, "uniform")[0]), answers(free))
    np.testing.assert_array_equal(answers(under_prior(free, record, "train")[0]), answers(predictions))


def test_decisions_are_best_for_the_images_that_were_expected():
    """Of images drawn by a prior, that prior gets the most right; and its scores are calibrated there."""
    priors = {"train": TRAIN, "uniform": np.full(4, 0.25), "reversed": TRAIN[::-1]}
    for name, prior in priors.items():
        logits, labels = draw(6000, prior, 2.5, seed=7)
        predictions = made()
        splits = {**predictions.splits, "test": SplitPredictions(tuple(map(str, range(6000))), labels, logits)}
        found = {words: under_prior(replace(predictions, splits=splits), CE, words)[0] for words in priors}
        right = {words: (answers(one) == labels).mean() for words, one in found.items()}
        assert max(right, key=right.get) == name
        assert calibration_error(labels, found[name].split("test").logits, 4) < 0.03
        assert calibration_error(labels, logits, 4) > 0.05


def test_an_expected_share_is_what_images_of_that_prior_get():
    """Test is even; 20,000 images drawn by the reversed prior are answered right as often as the even ones promise."""
    predictions, q = made(test=4000), TRAIN[::-1]
    found, shift = under_prior(predictions, CE, "reversed")
    promised = evaluate(found, "test", shift.expected).accuracy
    logits, labels = draw(20_000, q, 2.5, seed=9)
    seen = (shift.apply(logits).argmax(1) == labels).mean()
    assert promised == pytest.approx(seen, abs=0.015)


# --- priors -------------------------------------------------------------------------------------------------------------


def test_a_file_by_class_names_is_that_prior(tmp_path):
    file = tmp_path / "farm.json"
    file.write_text('{"cow": 3, "ant": 0, "dog": 1, "bee": 0.5}')
    found, shift = under_prior(made(), CE, file)
    assert shift.expected == pytest.approx([0, 0.5 / 4.5, 3 / 4.5, 1 / 4.5])
    assert (shift.test_prior, shift.prior) == (str(file), f"the prior of {file}")
    assert (answers(found) != 0).all()
    assert np.isfinite(found.split("test").logits).all()
    np.testing.assert_array_equal(answers(under_prior(made(), CE, [0, 0.5, 3, 1])[0]), answers(found))


def test_words_are_of_the_real_counts_not_of_what_was_shown():
    predictions = replace(made(val=0), counts=ClassCounts(COUNTS, (132.0,) * 4))
    assert under_prior(predictions, CE, "train")[1].expected == pytest.approx(TRAIN)
    assert under_prior(predictions, CE, "reversed")[1].expected == pytest.approx(TRAIN[::-1])


def test_a_class_without_training_images_gains_nothing():
    counts = ClassCounts((400, 0, 30, 8))
    predictions = replace(made(val=0), counts=counts, groups=make_groups(counts.real))
    record = {**CE, "prior_left": (np.array(counts.real) / 438).tolist()}
    found, _ = under_prior(predictions, record, "uniform")
    np.testing.assert_allclose(found.split("test").logits[:, 1], predictions.split("test").logits[:, 1], atol=1e-5)
    assert (answers(under_prior(predictions, record, "train")[0]) != 1).all()


# --- what is said -------------------------------------------------------------------------------------------------------


def test_what_was_done_is_said_and_is_plain_json():
    _, shift = under_prior(made(), CE, "uniform")
    assert shift.scores == f"probability under a uniform prior, temperature {shift.temperature:.2f} fitted on val (n = 3,000)"
    said = shift.to_dict()
    assert json.loads(json.dumps(said, allow_nan=False)) == said
    assert (said["test_prior"], said["val_images"], said["of_network"]) == ("uniform", 3000, False)
    assert said["expected"] == [0.25] * 4
    _, shift = under_prior(made(val=0), CE, "reversed")
    assert shift.scores == "softmax under the reversed training prior, temperature 1, not calibrated: no validation images"


@pytest.mark.parametrize(
    ("left", "prior"),
    [
        (TRAIN.tolist(), "the training prior"),
        ([0.25] * 4, "a uniform prior"),
        ([0.251, 0.25, 0.25, 0.249], "a uniform prior"),
        ([0.4, 0.3, 0.2, 0.1], "the prior that is left in the run's logits"),
        (None, "the class shares of val"),
    ],
)
def test_without_a_test_prior_scores_are_calibrated_and_answers_stay(left, prior):
    predictions = made()
    shift = calibrate(predictions, {**CE, "prior_left": left})
    logits = predictions.split("test").logits
    np.testing.assert_array_equal(shift.apply(logits).argmax(1), logits.argmax(1))
    np.testing.assert_allclose(shift.apply(logits), logits.astype(float) / shift.temperature, rtol=1e-12)
    assert shift.scores.startswith(f"probability under {prior}, temperature")
    assert (shift.test_prior, shift.expected, shift.left) == (None, *(2 * (None if left is None else pytest.approx(left),)))
    val = predictions.split("val")
    assert shift.temperature == fit_temperature(val.logits, val.labels, left).temperature


def test_an_earlier_run_is_calibrated_without_its_prior_and_without_val_says_so():
    shift = calibrate(made(val=0), {"method": "ce"})
    assert shift.scores == "softmax under a prior that is not known, temperature 1, not calibrated: no validation images"


def test_nothing_is_written_or_changed():
    predictions = made()
    before = {name: part.logits.copy() for name, part in predictions.splits.items()}
    under_prior(predictions, CE, "reversed")
    for name, logits in before.items():
        np.testing.assert_array_equal(predictions.split(name).logits, logits)


@pytest.mark.parametrize(
    ("record", "words", "error", "message"),
    [
        ({"method": "ncm", "prior_left": None}, "uniform", Clash, "ncm: its scores are no log probabilities under a known class prior"),
        ({"method": "ce"}, "uniform", BadData, r"ce: its run\.json has no prior_left, so an earlier version wrote it"),
        ({"method": "ce", "prior_left": [0.5, 0.5]}, "uniform", BadData, "2 shares for 4 classes"),
        ({"method": "ce", "prior_left": [1, 1, 1, "x"]}, "uniform", BadData, "prior_left of run.json: label 3 has 'x'"),
        (CE, "even", BadData, "'even' is no word and no file"),
        (CE, [1, 2], BadData, "of 2 classes where there are 4"),
    ],
)
def test_what_cannot_be_moved_is_refused_in_one_line(record, words, error, message):
    with pytest.raises(error, match=message) as caught:
        under_prior(made(val=0, test=2), record, words)
    assert "\n" not in str(caught.value)
