"""Rows and views are functions of seed, stream and step; nothing that ran before can change them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tailwise.errors import BadData, BadValue, Clash
from tailwise.losses import CrossEntropyLoss
from tailwise.method import Stage, Start, Stream
from tailwise.pixels.augment import Flip, PadCrop
from tailwise.samplers import ClassBalancedSampler
from tailwise.training.plan import Leg, Root, next_leg, plan_method
from tailwise.training.streams import StreamReader, read_batch
from training import seam_objectives as seams
from training.seam_runs import RECIPE, STEPS, image_splits, make_root, train

CPU = torch.device("cpu")
PAIR = {"main": Stream(), "other": Stream(sampler=ClassBalancedSampler(1), batch_size=10)}


def leg_of(streams: dict[str, Stream], root: Root | None = None, **fields: Any) -> tuple[Root, Leg]:
    root = root or make_root()
    stage = Stage(criterion=CrossEntropyLoss(), streams=streams, **fields)
    return root, plan_method(root, seams.Stages(lambda about: [stage])).legs[0]


def readers(root: Root, leg: Leg) -> dict[str, StreamReader]:
    return {n: StreamReader(n, s, root, leg, CPU) for n, s in leg.stage.streams.items()}


def test_any_step_can_be_read_in_any_order() -> None:
    root, leg = leg_of(PAIR)
    one = readers(root, leg)
    forwards = [read_batch(one, leg, step, root.seed)[0] for step in range(20)]
    for step in np.random.default_rng(0).permutation(20):
        alone = read_batch(readers(root, leg), leg, int(step), root.seed)[0]
        for name in PAIR:
            assert torch.equal(alone[name].index, forwards[step][name].index)
            assert torch.equal(alone[name].images, forwards[step][name].images)
            assert torch.equal(alone[name].labels, forwards[step][name].labels)


def test_every_row_is_shown_once_an_epoch_and_the_short_batch_is_kept() -> None:
    root, leg = leg_of(PAIR)
    reader = readers(root, leg)
    orders = []
    for epoch in range(5):
        batches = [read_batch(reader, leg, epoch * STEPS + k, root.seed)[0]["main"] for k in range(STEPS)]
        assert [len(b) for b in batches] == [16, 16, 16, 1]
        orders.append(torch.cat([b.index for b in batches]).tolist())
        assert sorted(orders[-1]) == list(range(49))
    assert len({tuple(order) for order in orders}) == 5


def test_a_second_stream_is_endless_and_every_batch_of_it_is_full() -> None:
    root, leg = leg_of({"main": Stream(), "other": Stream(batch_size=20)})
    reader = readers(root, leg)
    shown = torch.cat([read_batch(reader, leg, step, root.seed)[0]["other"].index for step in range(20)])
    assert len(shown) == 400
    for number in range(400 // 49):
        assert sorted(shown[49 * number : 49 * (number + 1)].tolist()) == list(range(49))


def test_a_stream_may_be_larger_than_its_split() -> None:
    root, leg = leg_of({"main": Stream(), "other": Stream(batch_size=120)})
    batch = read_batch(readers(root, leg), leg, 7, root.seed)[0]
    assert len(batch["other"]) == 120
    assert np.bincount(batch["other"].index, minlength=49).min() >= 1


def test_a_second_stream_changes_no_draw_of_main() -> None:
    root, alone = leg_of({"main": Stream()})
    _, both = leg_of(PAIR)
    for step in (0, 3, 11):
        one = read_batch(readers(root, alone), alone, step, root.seed)[0]["main"]
        other = read_batch(readers(root, both), both, step, root.seed)[0]["main"]
        assert torch.equal(one.index, other.index)
        assert torch.equal(one.images, other.images)


def test_views_of_one_row_differ_and_the_first_is_the_only_one_of_others() -> None:
    root, leg = leg_of({"main": Stream(views=("recipe", "recipe", "plain"))})
    _, single = leg_of({"main": Stream()})
    sample = read_batch(readers(root, leg), leg, 2, root.seed)[0]["main"]
    assert torch.equal(sample.views[0], read_batch(readers(root, single), single, 2, root.seed)[0]["main"].images)
    assert not torch.equal(sample.views[0], sample.views[1])
    packed = image_splits().rows["train"].gather(sample.index.numpy())
    assert torch.allclose(sample.views[2].permute(0, 2, 3, 1), packed.float() / 127.5 - 1, atol=1e-6)


def test_a_view_may_go_on_from_the_recipes_own() -> None:
    root, leg = leg_of({"main": Stream(views=("recipe", ("recipe", Flip(1.0)), (Flip(1.0), "recipe"), ("recipe",)))})
    assert root.recipe.augment == (PadCrop(1, "edge"),)
    chains = [view.augment for view in readers(root, leg)["main"].views]
    assert chains == [(PadCrop(1, "edge"),), (PadCrop(1, "edge"), Flip(1.0)), (Flip(1.0), PadCrop(1, "edge")), (PadCrop(1, "edge"),)]
    assert read_batch(readers(root, leg), leg, 0, root.seed)[0]["main"].views[1].shape == (16, 1, 8, 8)


@pytest.mark.parametrize("view", ["random", ("recipe", "plain"), 3])
def test_a_view_that_is_none_is_refused(view: Any) -> None:
    root, leg = leg_of({"main": Stream(views=(view,))})
    with pytest.raises(BadValue, match="a view is 'recipe', 'plain' or a tuple"):
        readers(root, leg)


def test_draws_differ_by_seed_and_go_on_after_a_stage_that_continues() -> None:
    root, leg = leg_of({"main": Stream()})
    other, other_leg = leg_of({"main": Stream()}, make_root(seed=1))
    one = read_batch(readers(root, leg), leg, 0, root.seed)[0]["main"]
    assert not torch.equal(one.index, read_batch(readers(other, other_leg), other_leg, 0, other.seed)[0]["main"].index)
    half = next_leg(root, Stage(criterion=CrossEntropyLoss(), until=0.4), None)
    later = next_leg(root, Stage(criterion=CrossEntropyLoss("sum")), half)
    assert later.line != leg.line
    for step in range(12):
        whole, now = read_batch(readers(root, leg), leg, 8 + step, root.seed)
        cut, again = read_batch(readers(root, later), later, step, root.seed)
        assert now == again
        assert torch.equal(whole["main"].images, cut["main"].images)


def test_draws_after_a_restart_are_new() -> None:
    root, leg = leg_of({"main": Stream()})
    restarted = next_leg(root, Stage(criterion=CrossEntropyLoss(), recipe="second", start=Start(clock="restart")), leg)
    one = read_batch(readers(root, leg), leg, 0, root.seed)[0]["main"].index
    other, now = read_batch(readers(root, restarted), restarted, 0, root.seed)
    assert (now.epoch, now.epochs, now.total) == (0, 2, 20)
    assert not torch.equal(one, other["main"].index)


def test_a_share_of_the_batch_sets_the_steps_of_main() -> None:
    _, leg = leg_of({"main": Stream(batch_share=0.5)})
    assert leg.steps == 7


def test_unlabelled_rows_show_no_targets() -> None:
    root, leg = leg_of({"main": Stream(), "other": Stream(labelled=False)})
    assert read_batch(readers(root, leg), leg, 0, root.seed)[0]["other"].targets is None


@pytest.mark.parametrize("split", ["val", "test"])
def test_rows_that_are_measured_on_never_teach_unless_allowed(split: str) -> None:
    labelled, images = ({"main": Stream(), "other": Stream(split=split, labelled=known)} for known in (True, False))
    with pytest.raises(Clash, match=f"--allow {split}"):
        leg_of(images)
    allowed = make_root(splits=replace(image_splits(), allowed=frozenset({split})))
    root, leg = leg_of(images, allowed)
    sample = read_batch(readers(root, leg), leg, 0, root.seed)[0]["other"]
    assert (len(sample), sample.targets) == (16, None)
    with pytest.raises(Clash, match=f"would train on split '{split}'"):
        leg_of(labelled, allowed)  # its labels never


def test_a_split_that_is_not_there_is_named() -> None:
    with pytest.raises(BadData, match="'web'"):
        leg_of({"main": Stream(split="web")})


def test_row_weights_reach_the_loss() -> None:
    whole = image_splits()
    rows = whole.rows["train"]
    light = replace(whole, rows={**whole.rows, "train": replace(rows, weights=np.linspace(0.1, 2, 49).astype(np.float32))})
    root, leg = leg_of({"main": Stream()}, make_root(splits=light))
    batch = read_batch(readers(root, leg), leg, 0, root.seed)[0]
    assert torch.equal(batch["main"].extra["weight"], torch.from_numpy(light.rows["train"].weights)[batch["main"].index])
    assert leg.shown != (28.0, 11.0, 6.0, 4.0)


@pytest.mark.parametrize("count", [20, 100])
def test_an_epoch_is_as_long_as_what_its_sampler_draws(count: int) -> None:
    _, leg = leg_of({"main": Stream(sampler=seams.FirstRows(count))})
    assert leg.steps == -(-count // 16)


def test_labels_of_an_unlabelled_stream_reach_no_prior() -> None:
    whole = replace(image_splits(), allowed=frozenset({"test"}))
    lopsided = replace(whole, rows={**whole.rows, "test": replace(whole.rows["test"], targets=np.zeros(24, dtype=np.int64))})
    shown = [leg_of({"main": Stream(split="test", labelled=False)}, make_root(splits=s))[1].shown for s in (whole, lopsided)]
    assert shown[0] == shown[1]


def test_an_unlabelled_split_may_be_the_main_stream() -> None:
    whole = image_splits()
    rows = {**whole.rows, "web": replace(whole.rows["test"], targets=None)}
    splits = replace(whole, rows=rows, contents={**whole.contents, "web": "web"}, allowed=frozenset({"web"}))
    root, leg = leg_of({"main": Stream(split="web", labelled=False)}, make_root(splits=splits))
    assert read_batch(readers(root, leg), leg, 0, root.seed)[0]["main"].targets is None
    assert leg.shown == tuple(map(float, whole.counts.real))


def test_the_same_draws_are_made_on_every_run() -> None:
    root, leg = leg_of({"main": Stream()}, make_root(replace(RECIPE)))
    first = read_batch(readers(root, leg), leg, 0, root.seed)[0]["main"].index[:6].tolist()
    assert first == read_batch(readers(root, leg), leg, 0, root.seed)[0]["main"].index[:6].tolist()
    train("ce")
    assert first == read_batch(readers(root, leg), leg, 0, root.seed)[0]["main"].index[:6].tolist()
