"""Nearest class means: against a plain loop and the authors' values; classes without a mean are never chosen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from tailwise.errors import BadData, BadValue
from tailwise.posthoc import Scores
from tailwise.posthoc.nearest_mean import NearestMean, nearest_mean_logits

RANDOM = np.random.default_rng(0)
FEATURES, MEANS = RANDOM.normal(size=(30, 5)), RANDOM.normal(size=(4, 5)) * [[1], [4], [0.2], [2]]
METRICS = pytest.mark.parametrize("metric", ["cosine", "euclidean"])


def scores(features: np.ndarray | None = FEATURES, means: np.ndarray | None = MEANS, dtype: type = np.float32) -> Scores:
    return Scores(np.zeros((30, 4), dtype), features=features, class_means=means)


@pytest.mark.reference
def test_equals_an_independent_librarys_distances():
    np.testing.assert_allclose(nearest_mean_logits(FEATURES, MEANS, "euclidean"), -(cdist(FEATURES, MEANS) ** 2), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(nearest_mean_logits(FEATURES, MEANS, "cosine"), 1 - cdist(FEATURES, MEANS, "cosine"), rtol=1e-9, atol=1e-12)


def as_published(record: dict) -> tuple[np.ndarray, np.ndarray]:
    """The authors' queries: as they are, of unit length, or centred and of unit length; their class means are given."""
    features, means, overall = (np.array(record["inputs"][name]) for name in ("features", "centroids", "feature_mean"))
    if record["params"]["feature"] == "cl2n":
        features = features - overall
    if record["params"]["feature"] != "un":
        features = features / np.linalg.norm(features, axis=1, keepdims=True)
    return features, means


@pytest.mark.reference
def test_distances_equal_the_authors(records):
    found = [r for r in records("ncm") if r["params"]["distance"] == "l2"]
    assert len(found) == 2
    for record in found:
        np.testing.assert_allclose(nearest_mean_logits(*as_published(record), "euclidean"), record["outputs"]["logits"], rtol=1e-9)


@pytest.mark.reference
def test_their_cosine_is_ours_times_the_means_length_over_the_width(records):
    """Theirs is a dot product with means that have no unit length, divided by the width; ours is a cosine."""
    found = [r for r in records("ncm") if r["params"]["distance"] == "cos"]
    assert len(found) == 2
    for record in found:
        features, means = as_published(record)
        ours = nearest_mean_logits(features, means, "cosine")
        theirs = ours * np.linalg.norm(means, axis=1) / features.shape[1]
        np.testing.assert_allclose(theirs, record["outputs"]["logits"], rtol=1e-9, atol=1e-12)


@pytest.mark.limit
def test_unit_features_and_means_have_one_order_in_both_metrics():
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (FEATURES, MEANS)]
    cosine, distance = nearest_mean_logits(*unit, "cosine"), nearest_mean_logits(*unit, "euclidean")
    np.testing.assert_allclose(distance, 2 * cosine - 2, rtol=1e-9, atol=1e-12)


def test_by_hand():
    """(3, 4) is 4/5 along the second axis; from (0, 4) it is 3 away, from (3, 0) 4."""
    features, means = np.array([[3.0, 4.0]]), np.array([[0.0, 4.0], [3.0, 0.0]])
    np.testing.assert_allclose(nearest_mean_logits(features, means, "cosine"), [[0.8, 0.6]])
    np.testing.assert_allclose(nearest_mean_logits(features, means, "euclidean"), [[-9.0, -16.0]])


@METRICS
def test_the_mean_itself_is_nearest(metric):
    assert nearest_mean_logits(MEANS, MEANS, metric).argmax(1).tolist() == [0, 1, 2, 3]


@METRICS
@given(st.integers(0, 999), st.floats(1e-6, 1e6), st.sets(st.integers(0, 3), min_size=1, max_size=3))
def test_a_class_without_a_mean_is_never_chosen_and_changes_no_other(metric, seed, size, empty):
    random = np.random.default_rng(seed)
    features, means = random.normal(size=(6, 5)) * size, random.normal(size=(4, 5)) * size
    whole = nearest_mean_logits(features, means, metric)
    gone = sorted(empty)
    there = [c for c in range(4) if c not in empty]
    means[gone] = np.nan
    made = nearest_mean_logits(features, means, metric)
    assert np.isfinite(made).all()
    np.testing.assert_allclose(made[:, there], whole[:, there], rtol=1e-9, atol=1e-9 * size**2)
    assert (made[:, gone].max(1) < made[:, there].min(1)).all()


@METRICS
def test_zeros_are_finite(metric):
    assert np.isfinite(nearest_mean_logits(np.zeros((2, 3)), np.zeros((4, 3)), metric)).all()


@METRICS
def test_huge_features_stay_finite_in_the_dtype_of_the_logits(metric):
    made = NearestMean(metric).apply(Scores(np.zeros((2, 3), np.float32), features=np.full((2, 4), 1e30), class_means=np.eye(3, 4)))
    assert made.dtype == np.float32
    assert np.isfinite(made).all()


@METRICS
def test_a_class_without_a_mean_stays_below_the_others_in_float32(metric):
    """At squared distances of 1e12 a difference of 1 is no difference in float32."""
    made = NearestMean(metric).apply(scores(features=1e6 * FEATURES, means=np.where([[1], [0], [1], [1]], MEANS, np.nan)))
    assert made.dtype == np.float32
    assert (made[:, 1] < made[:, [0, 2, 3]].min(1)).all()


def test_part_equals_the_function():
    for metric in ("cosine", "euclidean"):
        made = NearestMean(metric).apply(scores())
        assert made.dtype == np.float32
        np.testing.assert_allclose(made, nearest_mean_logits(FEATURES, MEANS, metric), rtol=1e-6, atol=1e-6)


def test_keeps_the_callers_arrays():
    features, means = FEATURES.copy(), MEANS.copy()
    nearest_mean_logits(features, means)
    assert np.array_equal(features, FEATURES)
    assert np.array_equal(means, MEANS)


def test_nothing_is_chosen_on_validation():
    part = NearestMean("euclidean")
    for val in (None, scores()):
        assert part.fit(val) == (part, "nearest class mean of the training features, euclidean")


def test_distances_are_under_no_prior():
    assert NearestMean().prior_left((3.0, 1.0)) is None


@pytest.mark.parametrize(("missing", "there"), [("features", scores(features=None)), ("class means", scores(means=None))])
def test_scores_without_what_it_needs_are_refused_in_a_line(missing, there):
    with pytest.raises(BadValue, match=f"these scores have no {missing}") as refused:
        NearestMean().apply(there)
    assert "\n" not in str(refused.value)


def test_another_metric_is_refused():
    with pytest.raises(BadValue, match="one of cosine, euclidean, got 'manhattan'"):
        NearestMean("manhattan")
    with pytest.raises(BadValue, match="one of cosine, euclidean"):
        nearest_mean_logits(FEATURES, MEANS, "manhattan")


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(BadData, match=r"features of shape \(30, 5\) do not fit class means of shape \(4, 3\)"):
        nearest_mean_logits(FEATURES, MEANS[:, :3])
    with pytest.raises(BadData, match="no class has a mean"):
        nearest_mean_logits(FEATURES, np.full((4, 5), np.nan))
