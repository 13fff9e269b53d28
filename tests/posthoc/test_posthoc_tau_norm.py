import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailwise.errors import BadData, BadValue
from tailwise.posthoc import GRID, Scores, TauNorm, normalise_weight, tau_normalised_logits

RANDOM = np.random.default_rng(1)
FEATURES = RANDOM.normal(size=(40, 6))
WEIGHT = RANDOM.normal(size=(5, 6)) * np.array([4.0, 2.0, 1.0, 0.5, 0.1])[:, None]
BIAS = RANDOM.normal(size=5)
LOGITS = FEATURES @ WEIGHT.T + BIAS


@pytest.mark.reference
def test_equals_the_published_code(records):
    for record in records("tau_norm"):
        features, weight = (np.array(record["inputs"][name]) for name in ("features", "weight"))
        tau, outputs = record["params"]["tau"], record["outputs"]
        part = TauNorm(tau).apply(Scores(features @ weight.T + 3.0, features=features, head_weight=weight))
        np.testing.assert_allclose(normalise_weight(weight, tau), outputs["weight"], rtol=1e-9)
        np.testing.assert_allclose(tau_normalised_logits(features, weight, tau), outputs["logits"], rtol=1e-9)
        np.testing.assert_allclose(part, outputs["logits"], rtol=1e-9)


@pytest.mark.limit
def test_tau_zero_is_the_head_without_bias():
    np.testing.assert_allclose(tau_normalised_logits(FEATURES, WEIGHT, 0.0), LOGITS - BIAS, rtol=1e-9, atol=1e-12)


@pytest.mark.limit
def test_tau_one_makes_unit_rows():
    np.testing.assert_allclose(np.linalg.norm(normalise_weight(WEIGHT, 1.0), axis=1), 1.0, rtol=1e-12)
    cosine = tau_normalised_logits(FEATURES, WEIGHT, 1.0) / np.linalg.norm(FEATURES, axis=1, keepdims=True)
    assert np.abs(cosine).max() <= 1.0


@pytest.mark.limit
def test_rows_of_one_length_keep_the_answer():
    equal = normalise_weight(WEIGHT, 1.0) * 3.0
    for tau in GRID:
        np.testing.assert_array_equal(tau_normalised_logits(FEATURES, equal, tau).argmax(1), (FEATURES @ equal.T).argmax(1))


@given(st.permutations(range(5)), st.floats(0, 2))
def test_permuting_classes_permutes_the_answer(order, tau):
    permuted = Scores(LOGITS[:, order], head_weight=WEIGHT[order], head_bias=BIAS[order])
    plain = Scores(LOGITS, head_weight=WEIGHT, head_bias=BIAS)
    np.testing.assert_allclose(TauNorm(tau).apply(permuted), TauNorm(tau).apply(plain)[:, order], rtol=1e-12)


@given(st.floats(0, 2))
def test_logits_stand_in_for_features(tau):
    by_features = TauNorm(tau).apply(Scores(LOGITS, features=FEATURES, head_weight=WEIGHT, head_bias=BIAS))
    by_logits = TauNorm(tau).apply(Scores(LOGITS, head_weight=WEIGHT, head_bias=BIAS))
    np.testing.assert_allclose(by_logits, by_features, rtol=1e-9, atol=1e-10)
    without_bias = TauNorm(tau).apply(Scores(LOGITS - BIAS, head_weight=WEIGHT))
    np.testing.assert_allclose(without_bias, by_features, rtol=1e-9, atol=1e-10)


def test_a_row_of_zeros_stays_zero_even_from_rounded_logits():
    weight = WEIGHT.copy()
    weight[2] = 0.0
    logits = (FEATURES @ weight.T + BIAS).astype(np.float32)
    scores = Scores(logits, head_weight=weight.astype(np.float32), head_bias=BIAS.astype(np.float64))
    assert (normalise_weight(weight, 1.5)[2] == 0).all()
    assert (TauNorm(1.5).apply(scores)[:, 2] == 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_keeps_the_dtype_and_the_callers_arrays(dtype):
    logits, weight = LOGITS.astype(dtype), WEIGHT.astype(dtype)
    before = logits.copy(), weight.copy()
    assert TauNorm(0.7).apply(Scores(logits, head_weight=weight)).dtype == dtype
    assert normalise_weight(weight, 0.7).dtype == dtype
    np.testing.assert_array_equal(logits, before[0])
    np.testing.assert_array_equal(weight, before[1])


def test_a_head_that_is_not_linear_is_refused():
    with pytest.raises(BadValue, match="weight of a linear head, and these scores have none"):
        TauNorm(0.7).apply(Scores(LOGITS, features=FEATURES))


def test_an_open_tau_is_refused():
    with pytest.raises(BadValue, match="call fit"):
        TauNorm().apply(Scores(LOGITS, head_weight=WEIGHT))


def test_what_prior_lengths_leave_is_not_known():
    assert TauNorm().prior_left((3.0, 1.0)) is None
    assert TauNorm(0.0).prior_left((3.0, 1.0)) == (3.0, 1.0)


def test_widths_that_differ_are_refused():
    with pytest.raises(BadData, match=r"features of shape \(40, 6\) do not fit"):
        tau_normalised_logits(FEATURES, WEIGHT[:, :5], 1.0)


def test_without_val_the_published_value_is_used_and_said():
    fitted, said = TauNorm().fit(None)
    assert fitted == TauNorm(0.7)
    assert said == "tau = 0.70, the published value: no validation images to choose it on"


def test_a_number_stays_and_is_said():
    assert TauNorm(0.3146).fit(None) == (TauNorm(0.3146), "tau = 0.3146, the card's value")


def test_val_chooses_the_best_of_the_grid_nearest_the_published_value():
    labels = tau_normalised_logits(FEATURES, WEIGHT, 1.2).argmax(1)
    fitted, said = TauNorm().fit(Scores(LOGITS, labels, FEATURES, WEIGHT, BIAS))
    right = [tau for tau in GRID if (tau_normalised_logits(FEATURES, WEIGHT, tau).argmax(1) == labels).all()]
    assert 1.2 in right
    assert fitted.tau == min(right, key=lambda tau: abs(tau - 0.7))
    assert "(100.00%)" in said


# --- what a part sees -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"logits": np.zeros(3)}, r"logits must have shape \(images, classes\)"),
        ({"logits": np.array([[0.0, np.nan]])}, "NaN"),
        ({"labels": np.zeros(39, int)}, r"labels must have shape \(40,\)"),
        ({"labels": np.zeros(40)}, "labels must be integers"),
        ({"labels": np.full(40, 5)}, "labels must be 0..4"),
        ({"features": FEATURES[:7]}, r"features must have shape \(40, 6\)"),
        ({"head_weight": WEIGHT[:4]}, r"head_weight must have shape \(5, 6\)"),
        ({"features": FEATURES, "head_weight": WEIGHT[:, :3]}, r"head_weight must have shape \(5, 6\)"),
        ({"head_bias": BIAS[:2]}, r"head_bias must have shape \(5,\)"),
        ({"class_means": np.zeros((5, 6, 1))}, "class_means must have shape"),
    ],
)
def test_scores_that_do_not_agree_are_refused(fields, message):
    with pytest.raises(BadData, match=message) as caught:
        Scores(**{"logits": LOGITS, **fields})
    assert "\n" not in str(caught.value)
