"""Stages whose body rests: every row goes through the body once, and the head learns what it would have learnt from images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tailwise.registry import parse_row
from tailwise.training import RunSettings, line, run_method
from training.seam_runs import RECIPE, differing, feature_splits, image_splits, make_root, new_store, train

PLAIN_SECOND = replace(RECIPE, second=replace(RECIPE.second, augment=(), epochs=4))


def watched(monkeypatch) -> list[int]:
    """Count rows that go through the first block of a network while a stage called re-training or scaling trains."""
    from tailwise.models.chain import Chain

    rows, honest = [], Chain.body

    def body(self, x, start=None, stop=None):
        rows.append(len(x))
        return honest(self, x, start, stop)

    monkeypatch.setattr(Chain, "body", body)
    return rows


def through_images(monkeypatch):
    monkeypatch.setattr(line, "read_features", lambda loop, root, readers: readers)


@pytest.mark.parametrize("method", ["crt", "lws", "crt(base=ldam)"])
def test_the_head_learns_what_it_would_have_learnt_from_images(method, monkeypatch):
    cached = train(method, root=make_root(PLAIN_SECOND))
    with monkeypatch.context() as patch:
        through_images(patch)
        plain = train(method, root=make_root(PLAIN_SECOND))
    for one, other in zip(cached.log(), plain.log(), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
    found, expected = cached.logits("val"), plain.logits("val")
    assert np.abs(found - expected).max() <= 1e-3 * np.abs(expected).max()
    assert cached.state.left().keys() == plain.state.left().keys()


def test_every_row_goes_through_the_body_once(monkeypatch):
    store = new_store()
    train("ce", store=store, root=make_root(PLAIN_SECOND))
    rows = watched(monkeypatch)
    train("crt", store=store, root=make_root(PLAIN_SECOND))
    assert sum(rows) == len(image_splits().rows["train"]) == 49


def test_the_body_s_tensors_do_not_move():
    store = new_store()
    base = train("ce", store=store, root=make_root(PLAIN_SECOND)).state.left()
    left = train("crt", store=store, root=make_root(PLAIN_SECOND)).state.left()
    body = [name for name in base if name.startswith("net.blocks.")]
    assert body
    assert all(torch.equal(base[name], left[name]) for name in body)
    assert not torch.equal(base["net.head.weight"], left["net.head.weight"])


@pytest.mark.parametrize(
    ("method", "recipe"),
    [
        ("crt", RECIPE),  # views are augmented
        ("ce", replace(RECIPE, augment=())),  # everything learns
        ("mislas", PLAIN_SECOND),  # mixes, and its normalisation moves
        ("crt(base=bbn)", PLAIN_SECOND),  # a head a branch
    ],
)
def test_other_stages_see_images(method, recipe, monkeypatch):
    seen = []
    honest = line.read_features

    def asked(loop, root, readers):
        made = honest(loop, root, readers)
        seen.append(all(made[name] is readers[name] for name in readers))
        return made

    monkeypatch.setattr(line, "read_features", asked)
    train(method, root=make_root(recipe))
    assert seen
    assert all(seen)


def test_vectors_have_no_body():
    root = make_root(replace(PLAIN_SECOND, augment=()), feature_splits())
    row = parse_row("crt")
    assert run_method(root, row.method, (), RunSettings(new_store()))[0].trained


def test_an_interrupted_stage_goes_on_to_the_same_bits():
    root, store, left = make_root(PLAIN_SECOND), new_store(), 23

    def soon() -> bool:
        nonlocal left
        left -= 1
        return left == 0

    with pytest.raises(KeyboardInterrupt):
        train("crt", store=store, root=root, interrupted=soon)
    assert differing(train("crt", store=store, root=root), train("crt", root=root)) == []
