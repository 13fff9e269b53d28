"""The mean of views: the formula, and scores that do not fit."""

from __future__ import annotations

import numpy as np
import pytest

from tailwise.errors import BadData, BadValue
from tailwise.posthoc import MeanOfViews, Scores


@pytest.mark.reference
def test_each_view_counts_as_the_image_does():
    rng = np.random.default_rng(0)
    logits, views = rng.normal(size=(5, 3)), rng.normal(size=(5, 4, 3))
    made = MeanOfViews().apply(Scores(logits, views=views))
    slow = [[(logits[n, c] + sum(views[n, v, c] for v in range(4))) / 5 for c in range(3)] for n in range(5)]
    np.testing.assert_allclose(made, slow, rtol=1e-12)


@pytest.mark.limit
def test_equal_views_change_nothing_and_the_prior_stays():
    logits = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_array_equal(MeanOfViews().apply(Scores(logits, views=logits[:, None])), logits)
    assert MeanOfViews().prior_left((9.0, 2.0)) == (9.0, 2.0)


def test_views_are_needed_and_fit_the_logits():
    with pytest.raises(BadValue, match="needs the logits of further views"):
        MeanOfViews().apply(Scores(np.zeros((5, 3))))
    for wrong in ((4, 2, 3), (5, 2, 2), (5, 3)):
        with pytest.raises(BadData, match="views must have shape"):
            Scores(np.zeros((5, 3)), views=np.zeros(wrong))
