"""Rows for anybody's DataLoader: the same for a seed and an epoch, and cut by process."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from tailwise.errors import BadData, BadValue
from tailwise.method import Stream
from tailwise.samplers import ClassBalancedSampler, EpochSampler
from tailwise.training.plan import Root
from tailwise.training.streams import StreamReader
from toy import toy_recipe, toy_splits

LABELS = [0] * 30 + [1] * 9 + [2] * 4 + [4]  # 44 rows; class 3 has none
BOTH = [ClassBalancedSampler(), None]


@pytest.fixture(autouse=True)
def one_process(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)


class Unreadable(Dataset):
    """Gives its row number; says so if anybody counts classes by reading it."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def __len__(self) -> int:
        return len(LABELS)

    def __getitem__(self, row: int) -> int:
        self.read.append(row)
        return row


def batches(sampler: EpochSampler, size: int, **settings: object) -> list[list[int]]:
    return [batch.tolist() for batch in DataLoader(Unreadable(), size, sampler=sampler, **settings)]


def epoch(number: int, **settings: object) -> list[int]:
    sampler = EpochSampler(LABELS, **settings)
    sampler.set_epoch(number)
    return list(sampler)


@pytest.mark.parametrize("sampler", BOTH)
def test_rows_are_a_function_of_seed_and_epoch_whatever_ran_before(sampler):
    wandering = EpochSampler(LABELS, sampler, seed=7)
    for number in (5, 0, 3):
        wandering.set_epoch(number)
        list(wandering)
    assert list(wandering) == list(wandering) == epoch(3, sampler=sampler, seed=7)
    assert epoch(3, sampler=sampler, seed=7) != epoch(4, sampler=sampler, seed=7)
    assert epoch(3, sampler=sampler, seed=7) != epoch(3, sampler=sampler, seed=8)


def test_the_default_shows_classes_evenly_and_none_every_row_once():
    shown = Counter(LABELS[row] for row in epoch(0))
    assert set(shown) == {0, 1, 2, 4}
    assert max(shown.values()) - min(shown.values()) <= 4  # one visit of four images
    assert sorted(epoch(0, sampler=None)) == list(range(44))
    assert epoch(0, sampler=None) != list(range(44))


@pytest.mark.parametrize("labels", [np.array(LABELS, np.uint8), torch.tensor(LABELS), torch.tensor(LABELS, dtype=torch.int32)])
def test_labels_may_be_a_list_an_array_or_a_tensor(labels):
    assert list(EpochSampler(labels)) == list(EpochSampler(LABELS))


def test_labels_are_copied():
    labels = np.array(LABELS)
    sampler = EpochSampler(labels)
    labels[:] = 0
    assert list(sampler) == list(EpochSampler(LABELS))


def test_no_row_is_read_but_those_of_the_batches():
    data = Unreadable()
    loader = DataLoader(data, batch_size=10, sampler=EpochSampler(LABELS))
    assert data.read == []
    assert len(loader) == 5
    list(loader)
    assert data.read == list(EpochSampler(LABELS))


def test_workers_get_the_same_rows():
    assert batches(EpochSampler(LABELS), 10, num_workers=2) == batches(EpochSampler(LABELS), 10)


def test_global_generators_are_untouched():
    import random

    def draw() -> tuple[float, float, float]:
        return random.random(), np.random.random(), torch.rand(()).item()

    def seed() -> None:
        random.seed(1), np.random.seed(1), torch.manual_seed(1)

    seed()
    expected = draw()
    seed()
    assert epoch(2) == epoch(2)
    assert draw() == expected


# --- several processes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", BOTH)
@pytest.mark.parametrize(("world", "size"), [(2, 5), (4, 3), (3, 4)])
def test_step_k_of_all_processes_is_step_k_of_one(sampler, world, size):
    """44 rows. The joint batch is what one process would see, but for the rows that fill the last one up."""
    alone = batches(EpochSampler(LABELS, sampler), world * size)
    ranks = [batches(EpochSampler(LABELS, sampler, rank=r, world=world), size) for r in range(world)]
    assert len({len(rank) for rank in ranks}) == 1
    assert len(ranks[0]) == len(alone)
    for k, whole in enumerate(alone):
        joint = Counter(row for rank in ranks for row in rank[k])
        if k < len(alone) - 1:
            assert joint == Counter(whole)
        else:
            assert joint - Counter(whole) == Counter(alone[0][: -len(LABELS) % world])
            assert not Counter(whole) - joint


@pytest.mark.parametrize("world", [1, 2, 3, 5, 7, 44, 45, 100])
def test_lengths_and_filling_are_those_of_torch_s_distributed_sampler(world):
    """The independent library: with its rows in our order, rank by rank."""
    order = epoch(0, sampler=None)
    for rank in range(world):
        theirs = DistributedSampler(order, world, rank, shuffle=False)
        ours = EpochSampler(LABELS, None, rank=rank, world=world)
        assert len(ours) == len(theirs)
        assert list(ours) == [order[place] for place in theirs]


def test_a_sampler_with_epochs_of_its_own_length_sets_the_length():
    class Twice:
        def rows(self, labels, rng, epoch, epochs):
            return np.arange(2 * len(labels)) % len(labels)

    assert len(EpochSampler(LABELS, Twice())) == 88
    assert len(EpochSampler(LABELS, Twice(), rank=1, world=3)) == 30


def test_epoch_and_epochs_reach_the_sampler():
    class Telling:
        def rows(self, labels, rng, epoch, epochs):
            return np.array([epoch, epochs])

    assert epoch(3, sampler=Telling(), epochs=9) == [3, 9]


@pytest.mark.parametrize("number", [0, 2])
@pytest.mark.parametrize("sampler", BOTH)
def test_a_seed_shows_what_tailwise_s_own_loop_shows(sampler, number):
    splits, recipe = toy_splits(), toy_recipe()
    root = Root(splits, recipe, recipe.net, 6, {"test": "yes"})
    leg = SimpleNamespace(base=0, recipe=recipe)
    loop = StreamReader("main", Stream(sampler=sampler), root, leg, torch.device("cpu"))
    ours = EpochSampler(splits.rows["train"].labels, sampler, seed=6, epochs=recipe.epochs)
    ours.set_epoch(number)
    theirs = [loop.rows_at(number, step, 0).tolist() for step in range(len(loop._pass(number)) // 5 + 1)]
    assert [row for batch in theirs for row in batch] == list(ours)


def test_rank_and_world_come_from_a_launcher(monkeypatch):
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert list(EpochSampler(LABELS)) == list(EpochSampler(LABELS, rank=2, world=4))
    assert list(EpochSampler(LABELS, rank=0, world=1)) != list(EpochSampler(LABELS))


def test_an_initialised_group_goes_before_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "4")
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    try:
        sampler = EpochSampler(LABELS)
    finally:
        torch.distributed.destroy_process_group()
    assert (sampler.rank, sampler.world) == (0, 1)


# --- refusals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([], "shape (0,)"),
        (7, "shape ()"),
        ([[1, 0], [0, 1]], "shape (2, 2)"),
        ([[1], [0, 1]], "makes no array"),
        ([0.0, 1.0], "float64"),
        (["cat", "okapi"], "number the classes from 0"),
        ([True, False], "bool"),
        ([0, 1, -1], "got -1 at row 2"),
        (torch.tensor([0.0, 1.0], dtype=torch.bfloat16), "makes no array"),
    ],
)
def test_labels_that_are_none_are_refused_in_one_line(labels, said):
    with pytest.raises(BadData) as caught:
        EpochSampler(labels)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rank": 2, "world": 2}, "rank is 0 to 1 among 2 processes, got 2"),
        ({"rank": 1}, "give rank and world together"),
        ({"rank": -1, "world": 2}, "rank is at least 0"),
        ({"world": 0}, "world is at least 1"),
        ({"epochs": 0}, "epochs is at least 1"),
        ({"seed": 0.5}, "seed is a whole number"),
        ({"sampler": ClassBalancedSampler}, "ClassBalancedSampler()"),
        ({"sampler": "balanced"}, "got 'balanced'"),
    ],
)
def test_settings_out_of_range_are_refused_in_one_line(settings, said):
    with pytest.raises(BadValue) as caught:
        EpochSampler(LABELS, **settings)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_epoch_is_a_whole_number_from_0():
    for wrong in (-1, 1.5, "2"):
        with pytest.raises(BadValue, match="epoch is"):
            EpochSampler(LABELS).set_epoch(wrong)


def test_an_environment_that_says_no_number_is_refused(monkeypatch):
    monkeypatch.setenv("RANK", "first")
    with pytest.raises(BadValue, match="'first'"):
        EpochSampler(LABELS)


def test_a_sampler_that_draws_nothing_is_refused():
    class Nothing:
        def rows(self, labels, rng, epoch, epochs):
            return np.empty(0, dtype=np.int64)

    with pytest.raises(BadData, match="drew no rows in epoch 0"):
        list(EpochSampler(LABELS, Nothing()))
