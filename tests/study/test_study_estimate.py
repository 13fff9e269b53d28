"""The estimate: counts what is ahead, and leaves no trace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import tailwise as tw
from photos import paint, pixels
from tailwise.method import Card, Method, Stage, Stream
from tailwise.objective import Objective, Term
from tailwise.registry import parse_rows
from tailwise.store import Store
from tailwise.study import estimate as estimate_module
from tailwise.study.compare import compare, plan_study
from tailwise.study.estimate import Estimate
from tailwise.study.estimate import estimate as estimate_steps
from tailwise.study.setup import Setup, make_setup
from tailwise.study.words import DataWords, TrainingWords
from tailwise.training import RunSettings

SMALL = ("recipe.image_size=32", "recipe.epochs=5", "recipe.second.epochs=1")
STATEFUL = "ce,ce+ema,ce+sam,mixup,lws,crt,ldam-drw,tau-norm"


@pytest.fixture
def photos(tmp_path) -> Path:
    return paint(tmp_path / "photos")


@pytest.fixture
def vectors(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [30, 15, 5])
    np.savez(tmp_path / "f.npz", features=(rng.normal(size=(50, 6)) + 2 * np.eye(6)[labels]).astype(np.float32), labels=labels)
    return tmp_path / "f.npz"


def setup(source, store: Path, methods: str = "ce,ce-drw,tau-norm,crt", recipe: str = "head", **fields) -> Setup:
    return make_setup(source, parse_rows(methods), DataWords(), TrainingWords(recipe, settings=SMALL, **fields), Store(store))


def estimate(made: Setup, seeds: Sequence[int]) -> Estimate:
    return estimate_steps(made, seeds, plan_study(made, seeds)[1])


def files(folder: Path) -> dict[str, tuple[int, int]]:
    found = (p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): (p.stat().st_size, p.stat().st_mtime_ns) for p in found}


def test_images_that_the_store_lacks_are_counted(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(estimate_module, "seconds_an_image", lambda *_: 2.0)
    monkeypatch.setattr(estimate_module, "seconds_a_decoding", lambda *_: 0.0)
    made = setup(photos, tmp_path / "store")
    ahead = estimate(made, [0])
    assert (ahead.images, ahead.features) == (36, 72.0)
    assert "for the features of 36 images" in str(ahead)
    ready = made.ready()
    for known in (made, ready, setup(photos, tmp_path / "store")):
        there = estimate(known, [0])
        assert (there.images, there.features) == (0, 0.0)
        assert "features" not in str(there)
    assert estimate(setup(photos, tmp_path / "other"), [0]).images == 36


def test_only_steps_that_the_store_lacks_are_counted(vectors, tmp_path, monkeypatch):
    monkeypatch.setattr(estimate_module, "seconds_a_step", lambda root, leg, device: 1.0)
    made = setup(vectors, tmp_path / "store")
    epoch = made.plan(made.rows[0], 0).legs[0].steps
    whole = estimate(made, [0, 1])
    # a seed: five epochs of ce, the last of ce-drw, nothing of tau-norm, one epoch of crt
    assert whole.training == 2 * (5 + 1 + 1) * epoch
    assert whole.training == plan_study(made, [0, 1])[1].ahead
    compare(setup(vectors, tmp_path / "store", "ce"), [0], tmp_path / "s", RunSettings(made.store))
    assert estimate(made, [0, 1]).training == (2 * (5 + 1 + 1) - 5) * epoch
    compare(made, [0, 1], tmp_path / "t", RunSettings(made.store))
    assert estimate(made, [0, 1]).training == 0
    assert estimate(made, [0, 1, 2]).training == 7 * epoch
    assert estimate(made, [0]).leaving > 0


def test_the_order_of_rows_changes_no_count(vectors, tmp_path, monkeypatch):
    monkeypatch.setattr(estimate_module, "seconds_a_step", lambda root, leg, device: 1.0)
    counted = {estimate(setup(vectors, tmp_path / "store", rows), [0]).training for rows in ("ce,ce-drw", "ce-drw,ce", "crt,ce-drw,ce")}
    epoch = 5  # 36 training rows in batches of eight
    assert counted == {6 * epoch, 7 * epoch}


def test_what_is_not_measured_any_more_costs_what_the_others_do(vectors, tmp_path, monkeypatch):
    monkeypatch.setattr(estimate_module, "BUDGET", 0.0)
    monkeypatch.setattr(estimate_module, "seconds_a_step", lambda root, leg, device: 3.0)
    made = setup(vectors, tmp_path / "store")
    assert estimate(made, [0]).training == 3.0 * plan_study(made, [0])[1].ahead


@pytest.mark.parametrize("kind", ["frozen", "vectors", "images"])
def test_nothing_is_written_and_the_bits_that_follow_are_the_same(photos, vectors, tmp_path, kind):
    fields = {"recipe": "quick", "net": "resnet8"} if kind == "images" else {}
    source = vectors if kind == "vectors" else photos
    methods = STATEFUL if kind == "vectors" else "ce,lws"
    folders = []
    for first in (True, False):
        store = tmp_path / f"store{first}"
        made = setup(source, store, methods, **fields)
        if first:
            before = files(store)
            estimate(made, [0])
            assert files(store) == before
        made = made.ready()
        if first:
            before = files(store)
            estimate(made, [0])
            assert files(store) == before
        folders.append(compare(made, [0], tmp_path / f"study{first}", RunSettings(made.store)).folder)
    weights = [sorted(folder.rglob("weights.safetensors")) for folder in folders]
    assert len(weights[0]) == len(methods.split(","))
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(*weights, strict=True))


def test_the_caller_s_generators_and_threads_stay(photos, tmp_path):
    torch.manual_seed(5)
    np.random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), torch.get_num_threads()

    def untouched() -> bool:
        same = torch.equal(torch.get_rng_state(), before[0]) and np.array_equal(np.random.get_state()[1], before[1])
        return bool(same) and torch.get_num_threads() == before[2]

    made = setup(photos, tmp_path / "store", STATEFUL)
    assert untouched(), "make_setup"
    estimate(made, [0])
    assert untouched(), "estimate"
    made = made.ready()
    assert untouched(), "ready"
    study = compare(setup(photos, tmp_path / "store", "ce").ready(), [0], tmp_path / "s", RunSettings(made.store))
    assert untouched(), "compare"
    tw.predict(study.runs["ce"][0], photos)
    assert untouched(), "predict"
    tw.features(photos, size=32, out=tmp_path / "features")
    assert untouched(), "features"


def test_photographs_of_another_store_cost_again(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(estimate_module, "seconds_an_image", lambda *_: 1.0)
    setup(photos, tmp_path / "store").ready()
    from PIL import Image

    Image.fromarray(pixels(3, 1)[0]).save(photos / "ant" / "000.png")
    assert estimate(setup(photos, tmp_path / "store"), [0]).images >= 1


def test_images_that_are_not_packed_cost_their_decoding_and_packed_ones_nothing(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(estimate_module, "seconds_a_decoding", lambda *_: 2.0)
    small = {"recipe": "quick", "net": "resnet8"}
    made = setup(photos, tmp_path / "store", "ce", **small)
    ahead = estimate(made, [0])
    assert (ahead.images, ahead.decoding, ahead.features) == (36, 72.0, 0.0)
    assert "for decoding 36 images" in str(ahead)
    ready = made.ready()
    for known in (made, ready, setup(photos, tmp_path / "store", "ce", **small)):
        assert (estimate(known, [0]).images, estimate(known, [0]).decoding) == (0, 0.0)
    other_size = make_setup(photos, parse_rows("ce"), DataWords(), TrainingWords("quick", "resnet8", ("recipe.image_size=16",)), made.store)
    assert estimate(other_size, [0]).images == 36


def test_arrays_are_decoded_already(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((40, 8, 8), np.uint8), labels=np.arange(40) % 2)
    made = setup(tmp_path / "a.npz", tmp_path / "store", "ce", "demo")
    assert (estimate(made, [0]).images, estimate(made, [0]).decoding) == (0, 0.0)


def test_only_a_few_images_are_decoded_to_know_what_all_will_cost(tmp_path, monkeypatch):
    photos = paint(tmp_path / "photos", {"ant": 90, "bee": 60, "cow": 30})
    seen, decode = [], estimate_module.read_pixels
    monkeypatch.setattr(estimate_module, "read_pixels", lambda path, size: seen.append(path) or decode(path, size))
    made = setup(photos, tmp_path / "store", "ce", "quick", net="resnet8")
    assert estimate(made, [0]).decoding > 0
    assert 2 <= len(seen) <= estimate_module.SEEN + 1
    assert len({path.parent.name for path in seen}) > 1 or len(seen) < estimate_module.SEEN  # from all over the set
    seen.clear()
    assert estimate(made.ready(), [0]).decoding == 0
    assert seen == []


def test_a_kind_of_step_is_measured_once_whatever_the_knobs_of_its_loss(vectors, tmp_path, monkeypatch):
    measured = []
    monkeypatch.setattr(estimate_module, "seconds_a_step", lambda root, leg, device: measured.append(leg) or 1.0)
    knobs = ",".join(f"ldam(max_margin={i / 10})" for i in range(1, 9))
    estimate(setup(vectors, tmp_path / "store", f"ce,{knobs},ce+sam,mixup"), range(3))
    assert len(measured) == 3


def test_it_is_said_in_words_with_its_parts():
    said = str(Estimate(decoding=0.0, features=100.0, images=1234, training=30.0, leaving=1.0))
    assert said == "about 3 min (about 2 min for the features of 1,234 images, about 30 s for training)"
    said = str(Estimate(decoding=38.0, features=0.0, images=12_000, training=30.0, leaving=1.0))
    assert said == "about 70 s (about 40 s for decoding 12,000 images, about 30 s for training)"
    assert Estimate(1.0, 2.0, 3, 4.0, 5.0).seconds == 12.0


@dataclass(eq=False)
class Normalised(Objective):
    """A second stream of three rows through batch normalisation, which needs two of them."""

    def build(self, net, about):
        self.norm = nn.BatchNorm1d(net.width)

    def loss(self, net, batch, now):
        seen = self.norm(net(batch["other"].images).features)
        values = cross_entropy(net(batch["main"].images).logits, batch["main"].labels, reduction="none")
        return {"main": Term(values), "other": Term(seen.square().mean(1))}


@dataclass(frozen=True)
class WithOther(Method):
    card = Card(title="a second stream", family="baseline")

    def stages(self, about):
        yield Stage(objective=Normalised(), streams={"main": Stream(), "other": Stream(batch_size=3)})


def test_a_small_second_stream_is_never_measured_on_one_row(photos, tmp_path):
    made = setup(photos, tmp_path / "store", "ce", "quick")
    row = replace(made.rows[0], method=WithOther(), text="other")
    assert estimate(replace(made, rows=(row,)), [0]).training > 0
