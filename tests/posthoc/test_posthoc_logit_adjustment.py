import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tailwise.counts import SHOWN
from tailwise.errors import BadData, BadValue
from tailwise.posthoc import GRID, LogitAdjustment, Scores, adjust_logits

COUNTS = (500, 100, 20, 4)
LOGITS = np.random.default_rng(0).normal(size=(30, 4)) * 3
COUNT = st.one_of(st.just(0.0), st.floats(1e-3, 1e9))


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


@pytest.mark.reference
def test_equals_the_formula_in_a_plain_loop():
    adjusted = adjust_logits(LOGITS, COUNTS, tau=1.3)
    for i in range(30):
        for c in range(4):
            assert adjusted[i, c] == pytest.approx(LOGITS[i, c] - 1.3 * np.log(COUNTS[c] / 624), rel=1e-12)


@pytest.mark.reference
def test_probabilities_equal_uno_ic_towards_a_uniform_prior(records):
    for record in records("uno_ic_rebalance"):
        inputs = record["inputs"]
        adjusted = adjust_logits(np.array(inputs["logits"]), inputs["counts"], record["params"]["beta"])
        np.testing.assert_allclose(softmax(adjusted), record["outputs"]["probabilities"], rtol=1e-9, atol=1e-12)


@pytest.mark.limit
def test_tau_zero_changes_nothing():
    np.testing.assert_array_equal(adjust_logits(LOGITS, COUNTS, tau=0.0), LOGITS)


@pytest.mark.limit
@pytest.mark.parametrize("tau", [0.5, 1.0, 2.0])
def test_uniform_counts_add_one_constant(tau):
    difference = adjust_logits(LOGITS, [7, 7, 7, 7], tau) - LOGITS
    np.testing.assert_allclose(difference, tau * np.log(4), rtol=1e-9)


@pytest.mark.limit
def test_undoes_the_training_form():
    log_prior = np.log(np.array(COUNTS) / sum(COUNTS))
    np.testing.assert_allclose(adjust_logits(LOGITS + 1.5 * log_prior, COUNTS, tau=1.5), LOGITS, rtol=1e-9)


def test_recovers_the_balanced_posterior():
    """Two unit Gaussians at -1 and 1 with prior 9 : 1: the plain posterior's logit is 2x + log 9, the balanced one's 2x."""
    points = np.linspace(-3, 3, 25)
    plain = np.stack([np.zeros_like(points), 2 * points - np.log(9)], axis=1)
    np.testing.assert_array_equal(adjust_logits(plain, [90, 10]).argmax(1)[points != 0], (points > 0)[points != 0])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_keeps_the_dtype_and_the_callers_array(dtype):
    logits = LOGITS.astype(dtype)
    before = logits.copy()
    assert adjust_logits(logits, COUNTS).dtype == dtype
    np.testing.assert_array_equal(logits, before)


def test_integers_become_float64():
    assert adjust_logits(np.array([[1, 2]]), [3, 1]).dtype == np.float64


@given(st.permutations(range(4)), st.floats(0, 3))
def test_permuting_classes_permutes_the_answer(order, tau):
    counts = np.array([500, 100, 0, 4])
    np.testing.assert_allclose(
        adjust_logits(LOGITS[:, order], counts[order], tau), adjust_logits(LOGITS, counts, tau)[:, order], rtol=1e-12
    )


@given(st.floats(1e-3, 1e3))
def test_only_ratios_of_counts_matter(factor):
    counts = np.array(COUNTS)
    np.testing.assert_allclose(adjust_logits(LOGITS, counts * factor), adjust_logits(LOGITS, counts), rtol=1e-9)


@given(
    hnp.arrays(np.float64, (6, 5), elements=st.floats(-1e3, 1e3)),
    st.lists(COUNT, min_size=5, max_size=5).filter(any),
    st.floats(0, 10),
)
def test_finite_and_never_in_favour_of_an_empty_class(logits, counts, tau):
    adjusted = adjust_logits(logits, counts, tau)
    empty = np.array(counts) == 0
    assert np.isfinite(adjusted).all()
    np.testing.assert_array_equal(adjusted[:, empty], logits[:, empty])
    won = empty[adjusted.argmax(1)]
    np.testing.assert_array_equal(adjusted.argmax(1)[won], logits.argmax(1)[won])


def test_finite_for_counts_at_the_ends_of_float64():
    assert np.isfinite(adjust_logits(np.zeros((1, 3)), [5e-324, 1.7e308, 1.7e308], tau=2.0)).all()


@pytest.mark.parametrize("counts", [[0, 0, 0, 0], [1, -1, 2, 3], [1, np.nan, 2, 3], [1, np.inf, 2, 3], [[1, 2, 3, 4]]])
def test_refuses_counts_that_cannot_be(counts):
    with pytest.raises(BadData, match="counts must be"):
        adjust_logits(LOGITS, counts)


def test_refuses_a_count_missing():
    with pytest.raises(BadData, match=r"3 counts for logits of shape \(30, 4\)"):
        adjust_logits(LOGITS, [3, 2, 1])


@pytest.mark.parametrize("tau", [-0.1, np.nan, np.inf, "test", None])
def test_refuses_a_tau_that_cannot_be(tau):
    with pytest.raises(BadValue, match="tau must be"):
        LogitAdjustment(COUNTS, tau)


# --- the part ---------------------------------------------------------------------------------------------------------


def test_part_equals_the_function():
    scores = Scores(LOGITS.astype(np.float32))
    np.testing.assert_array_equal(LogitAdjustment(COUNTS, 0.4).apply(scores), adjust_logits(scores.logits, COUNTS, 0.4))


def test_says_what_prior_it_leaves():
    def left(part, *masses):
        found = part.prior_left(masses)
        return [mass / sum(found) for mass in found]

    for part in (LogitAdjustment(), LogitAdjustment((3, 1)), LogitAdjustment((3, 1), "val")):
        assert left(part, 3.0, 1.0) == pytest.approx([1 / 2, 1 / 2])
    assert left(LogitAdjustment((3, 1), 2.0), 3.0, 1.0) == pytest.approx([1 / 4, 3 / 4])
    assert left(LogitAdjustment((3, 1), 0.0), 3.0, 1.0) == left(LogitAdjustment((5, 5)), 3.0, 1.0) == pytest.approx([3 / 4, 1 / 4])


def test_unfilled_counts_are_refused():
    assert LogitAdjustment().counts is SHOWN
    with pytest.raises(BadValue, match="not filled in"):
        LogitAdjustment().apply(Scores(LOGITS))


def test_an_open_tau_is_refused():
    with pytest.raises(BadValue, match="call fit"):
        LogitAdjustment(COUNTS, "val").apply(Scores(LOGITS))


def test_a_number_stays_and_is_said():
    part = LogitAdjustment(COUNTS, 0.5)
    fitted, said = part.fit(Scores(LOGITS, labels=np.zeros(30, int)))
    assert fitted is part
    assert said == "tau = 0.50, the card's value"


def test_without_val_the_published_value_is_used_and_said():
    for val in (None, Scores(np.zeros((0, 4)), labels=np.zeros(0, int))):
        fitted, said = LogitAdjustment(COUNTS, "val").fit(val)
        assert fitted == LogitAdjustment(COUNTS, 1.0)
        assert said == "tau = 1.00, the published value: no validation images to choose it on"


def macro_accuracy(answers: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean([np.mean(answers[labels == c] == c) for c in np.unique(labels)]))


def test_val_chooses_the_best_of_the_grid():
    random = np.random.default_rng(3)
    labels = random.choice(4, size=300, p=np.array(COUNTS) / 624)
    logits = np.eye(4)[labels] * 2 + random.normal(size=(300, 4)) + 0.6 * np.log(np.array(COUNTS) / 624)
    fitted, said = LogitAdjustment(COUNTS, "val").fit(Scores(logits, labels))
    slow = {tau: macro_accuracy(adjust_logits(logits, COUNTS, tau).argmax(1), labels) for tau in GRID}
    assert slow[fitted.tau] == pytest.approx(max(slow.values()))
    assert slow[fitted.tau] > slow[1.0]
    assert f"tau = {fitted.tau:.2f}, chosen on val (n = 300" in said


def test_ties_go_to_the_value_nearest_the_published_one():
    """Every tau below log(9)/log(9) = 1 leaves the tail's image wrong, every one above makes it right, equally so."""
    scores = Scores(np.array([[9.0, 0.0], [1.25 * np.log(9), 0.0]]), labels=np.array([0, 1]))
    fitted, said = LogitAdjustment((90, 10), "val").fit(scores)
    assert fitted.tau == 1.3
    assert "chosen on val (n = 2) by macro accuracy (100.00%) among 0 to 2 in steps of 0.1" in said
    same_everywhere = Scores(np.array([[50.0, 0.0], [0.0, 50.0]]), labels=np.array([0, 1]))
    assert LogitAdjustment((90, 10), "val").fit(same_everywhere)[0].tau == 1.0


def test_classes_absent_from_val_are_left_out_and_said():
    fitted, said = LogitAdjustment(COUNTS, "val").fit(Scores(np.eye(4)[[0, 1]] * 50, labels=np.array([0, 1])))
    assert fitted.tau == 1.0
    assert "(100.00%)" in said
    assert "2 of 4 classes absent" in said


def test_val_without_labels_is_refused():
    with pytest.raises(BadData, match="no labels"):
        LogitAdjustment(COUNTS, "val").fit(Scores(LOGITS))
