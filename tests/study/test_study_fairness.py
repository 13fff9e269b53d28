"""Fair by construction: what a run took is counted, and a row says what differs from the one that it is held against."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tailwise as tw
from tailwise.data import from_arrays
from tailwise.errors import UnknownName
from tailwise.losses.cross_entropy import CrossEntropyLoss
from tailwise.method import About, Stage, Stream
from tailwise.registry import Row, entries
from tailwise.store import Store
from tailwise.study.fairness import Effort, differences, equal_setting
from tailwise.study.runs import Run
from tailwise.training import line
from tailwise.training.loop import Loop
from toy import toy_recipe
from training import seam_objectives as seams

CATALOGUE = [*entries("method"), *(f"ce+{name}" for name in entries("modifier"))]


# --- what a run takes -------------------------------------------------------------------------------------------------


class Counter:
    """Counts what is read and what a gradient is taken of, where it happens."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.images = self.passes = 0
        read, terms = line.read_batch, Loop.terms

        def reading(*words: Any) -> Any:
            batch, now = read(*words)
            self.images += rows(batch)
            return batch, now

        def passing(loop: Loop, batch: Any, now: Any) -> Any:
            self.passes += rows(batch)
            return terms(loop, batch, now)

        def rows(batch: Any) -> int:
            return sum(len(view) for sample in batch.values() for view in sample.views)

        monkeypatch.setattr(line, "read_batch", reading)
        monkeypatch.setattr(Loop, "terms", passing)


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> Counter:
    return Counter(monkeypatch)


def said(outcome: Any) -> tuple[int, int]:
    return sum(leg.images_seen for leg in outcome.legs), sum(leg.passes for leg in outcome.legs)


@pytest.mark.contract
@pytest.mark.parametrize("text", CATALOGUE)
def test_images_seen_and_passes_of_every_method_are_those_that_the_loop_reads(run, counter, text):
    outcome, _ = run(text)
    assert said(outcome) == (counter.images, counter.passes)


@pytest.mark.parametrize("method", [seams.two_streams(), seams.remembering(), seams.bilevel(), seams.best_then_rest()])
def test_images_of_all_streams_and_views_are_counted(run, counter, method):
    outcome, _ = run(Row(method))
    assert said(outcome)[0] == counter.images


def test_a_stream_that_is_a_share_of_main_is_as_short_as_its_last_batch(run, counter):
    def make(about: About) -> Iterator[Stage]:
        streams = {"main": Stream(sampler=seams.FirstRows(7)), "half": Stream(batch_share=0.5), "four": Stream(batch_size=4)}
        yield Stage(criterion=CrossEntropyLoss(), streams=streams)

    outcome, _ = run(Row(seams.Stages(make)))
    # batches of 5 and 2; half of 5 is 2, half of 2 is 1; four each time: 7 + 3 + 8 an epoch, five epochs
    assert said(outcome)[0] == 5 * (7 + 3 + 8) == counter.images


def test_figures_worked_out_by_hand(run):
    # 23 rows in batches of 5, five epochs; a second stage of one epoch; SAM takes two gradients of a row
    by_hand = {"ce": (115, 115), "sqrt-sampling": (115, 115), "mixup": (115, 115), "crt": (138, 138), "ce+sam": (115, 230)}
    assert {text: said(run(text)[0]) for text in by_hand} == by_hand
    accumulated, _ = run("ce", store="parts", recipe=toy_recipe(accumulate=2))
    assert said(accumulated) == (115, 115)


class Clock:
    """A clock that moves by a second a step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(line, "time", SimpleNamespace(perf_counter=lambda: self.now))

    def tick(self, leg: Any, done: int, trained: int) -> None:
        self.now += trained > 0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_seconds_are_those_of_the_whole_training_whoever_did_it(run, clock):
    assert run("ce", watch=clock.tick)[0].seconds == (25.0,)
    shared, _ = run("crt", watch=clock.tick)
    assert shared.trained == 5
    assert shared.seconds == (25.0, 5.0)
    loaded, _ = run("la", watch=clock.tick)
    assert loaded.trained == 0
    assert loaded.seconds == (25.0,)
    assert run("ce-drw", watch=clock.tick)[0].seconds == (20.0, 5.0)  # four of five epochs are ce's


def test_seconds_of_an_interrupted_training_are_those_of_one_that_was_not(run, clock):
    with pytest.raises(KeyboardInterrupt):
        run("ce", watch=clock.tick, interrupted=lambda: clock.now == 12)
    clock.now += 3600
    resumed, _ = run("ce", watch=clock.tick)
    assert resumed.trained == 13
    assert resumed.seconds == (25.0,)


# --- hand-made records ------------------------------------------------------------------------------------------------


def leg(**fields: Any) -> dict[str, Any]:
    usual = {"line": "a", "start": 0, "stop": 320, "seconds": 3.25, "name": "train", "recipe": None, "epochs": 10}
    shown = {"images_seen": 20000, "passes": 20000, "learn": ["*"]}
    return {**usual, **shown, "mixing": None, "gradient": None, "average": None, "leaves": "last", **fields}


HEAD = leg(line="b", stop=64, seconds=1.0, recipe="second", epochs=2, images_seen=4000, passes=4000, learn=["net.head.*"])
HEADS = {**HEAD, "learn": ["net.branches.0.head.*", "net.branches.1.head.*"]}
NORMALISE = {"part": "Normalise", "mean": [0.5], "std": [0.5]}
RECIPE = {
    "part": "Recipe",
    "name": "quick",
    "net": "resnet20",
    "epochs": 10,
    "batch_size": 64,
    "optimiser": {"part": "SGD", "rate": 0.1, "momentum": 0.9},
    "schedule": {"part": "Cosine", "warmup": 2},
    "augment": [{"part": "Flip", "chance": 0.5}],
    "normalise": NORMALISE,
    "frozen": False,
    "image_size": 32,
    "clip": None,
    "learn": [{"part": "Learn", "pattern": "*", "rate": 1.0}],
    "threads": 1,
    "second": {"part": "Recipe", "name": "second", "epochs": 2, "batch_size": 64},
    "sources": {},
}
RECORD: dict[str, Any] = {
    "method": "ce",
    "seed": 0,
    "fold": None,
    "data": {"identity": "d", "shape": [32, 32, 3], "splits": {"train": 2000, "test": 500}, "train_counts": [1500, 500]},
    "network": {"backbone": "resnet20", "weights": None, "head": {"part": "LinearHead"}, "branches": None},
    "recipe": RECIPE,
    "extractor": None,
    "legs": [leg()],
    "steps": 320,
    "images_seen": 20000,
    "passes": 20000,
    "numerics": {"device": "cpu", "capability": "AVX2", "precision": "float32", "processes": "1", "threads": "1", "torch": "2.9"},
    "version": "1.0",
}
EXTRACTOR = {"network": "efficientnet-lite0", "weights": "w", "size": 160, "normalise": NORMALISE}


def made(seed: int = 0, **changes: Any) -> Run:
    """A run whose record is changed at dotted places, `recipe__optimiser__rate` for instance."""
    record = copy.deepcopy(RECORD) | {"seed": seed}
    for place, value in changes.items():
        *inside, last = place.split("__")
        part = record
        for name in inside:
            part = part[name]
        part[last] = value
    return Run(Path("run"), record)


def beside(*runs: Run, base: tuple[Run, ...] = (made(),)) -> tuple[str, ...]:
    return differences({"ce": base, "other": runs}, "ce")["other"]


@pytest.mark.parametrize(
    ("changes", "phrases"),
    [
        ({}, ()),
        ({"method": "balanced-softmax", "legs": [leg(name="another name", line="z")]}, ()),
        ({"recipe__epochs": 20}, ("recipe.epochs 20, not 10",)),
        ({"recipe__optimiser__rate": 0.05}, ("recipe.optimiser.rate 0.05, not 0.1",)),
        ({"recipe__optimiser": {"part": "AdamW", "rate": 0.1, "weight_decay": 1.0}}, ("recipe.optimiser AdamW, not SGD",)),
        ({"recipe__clip": 5.0, "recipe__frozen": True}, ("recipe: frozen true (not false), clip 5 (not none)",)),
        (
            {f"recipe__{name}": value for name, value in {"name": "cifar", "epochs": 20, "batch_size": 32, "clip": 1.0}.items()}
            | {"recipe__optimiser__rate": 0.3},
            ("recipe cifar, not quick: epochs 20 (not 10), batch_size 32 (not 64), optimiser.rate 0.3 (not 0.1), 1 more fields",),
        ),
        ({"recipe__second__epochs": 4, "recipe__sources": {"epochs": "a paper"}, "recipe__net": "resnet8"}, ()),  # reach neither run
        ({"network__backbone": "resnet32"}, ("resnet32, not resnet20",)),
        ({"network__weights": {"name": "a1_in1k", "sha256": "1"}}, ("resnet20 from a1_in1k, not resnet20",)),
        ({"network__head": {"part": "NormalisedHead"}}, ("normalised head, not linear",)),
        ({"network__head": {"part": "LinearHead", "scale": 2.0}}, ("other constants of the head",)),
        ({"data__shape": [64, 64, 3]}, ("64 x 64 pixels, not 32 x 32",)),
        ({"recipe__normalise": None}, ("other normalisation",)),
        ({"recipe__augment": []}, ("no augmentation",)),
        ({"recipe__augment": [{"part": "PadCrop"}, {"part": "Flip"}]}, ("augmentation PadCrop + Flip, not Flip",)),
        ({"recipe__augment": [{"part": "Flip", "chance": 0.1}]}, ("other strength of augmentation",)),
        ({"legs": [leg(mixing="Mixup(alpha=1)")]}, ("rows mixed by Mixup(alpha=1)",)),
        ({"legs": [leg(average="EMA(decay=0.9)")]}, ("weights averaged by EMA(decay=0.9)",)),
        ({"legs": [leg(leaves="best by macro_accuracy on val")]}, ("best epoch by macro accuracy on val, not last epoch",)),
        ({"data__identity": "e"}, ("other images, or another split",)),
        ({"data__identity": "e", "data__train_counts": [1500, 400], "data__splits__train": 1900}, ("1,900 training images, not 2,000",)),
        (
            {"data__identity": "e", "data__splits__train": 2300},
            ("2,000 training images and 300 generated, not 2,000 training images",),
        ),
        ({"legs": [leg(), HEAD], "steps": 384, "images_seen": 24000, "passes": 24000}, ("64 steps more: 2 epochs more on the head",)),
        ({"legs": [leg(), HEADS], "steps": 384, "images_seen": 24000, "passes": 24000}, ("64 steps more: 2 epochs more on the heads",)),
        (
            {
                "legs": [leg(), {**HEAD, "learn": ["objective.rate_logits", "net.head.*"]}],
                "steps": 384,
                "images_seen": 24000,
                "passes": 24000,
            },
            ("64 steps more: 2 epochs more on the rate logits and the head",),
        ),
        ({"legs": [leg(gradient="SAM(rho=0.05)")], "passes": 40000}, ("2 passes an image, not 1",)),
        ({"images_seen": 40000, "passes": 40000}, ("125 images a step, not 62.5",)),
        ({"numerics__device": "NVIDIA H200", "numerics__precision": "bfloat16"}, ("on NVIDIA H200, not cpu, in bfloat16, not float32",)),
        ({"numerics__threads": "2", "numerics__processes": "4"}, ("processes 4, not 1, threads 2, not 1",)),
        ({"numerics__torch": "2.8", "version": "1.1"}, ("torch 2.8, not 2.9, tailwise 1.1, not 1.0",)),
    ],
)
def test_a_row_says_what_is_not_as_in_the_other(changes, phrases):
    assert beside(made(**changes)) == phrases


def test_what_one_row_says_of_another_the_other_says_the_other_way_round():
    crt = made(legs=[leg(mixing="Mixup(alpha=1)"), HEAD], steps=384, images_seen=24000, passes=24000)
    assert beside(made(), base=(crt,)) == ("no rows mixed by Mixup(alpha=1)", "64 steps fewer: 2 epochs fewer on the head")


def test_epochs_are_those_of_one_training_however_many_seeds_there_are():
    crt = {"legs": [leg(), HEAD], "steps": 384, "images_seen": 24000, "passes": 24000}
    row = (made(0, **crt), made(1, **crt))
    assert beside(*row, base=(made(0), made(1))) == ("64 steps more: 2 epochs more on the head",)


def test_a_second_stage_is_compared_where_both_rows_have_one():
    stages = {"legs": [leg(), HEAD], "steps": 384}
    assert beside(made(**stages, recipe__second__epochs=4), base=(made(**stages),)) == ("recipe.second.epochs 4, not 2",)


def test_frozen_features_are_compared_by_the_network_that_gave_them():
    frozen = {"extractor": EXTRACTOR, "network__backbone": "features"}
    other = made(**frozen | {"extractor": EXTRACTOR | {"network": "resnet18.a1_in1k", "weights": "v"}})
    assert beside(other, base=(made(**frozen),)) == ("frozen resnet18.a1_in1k, not efficientnet-lite0",)
    reweighted = made(**frozen | {"extractor": EXTRACTOR | {"weights": "v"}})
    assert beside(reweighted, base=(made(**frozen),)) == ("other weights",)
    assert beside(made(**frozen))[0] == "frozen efficientnet-lite0, not resnet20, 160 x 160 pixels, not 32 x 32"


def test_branches_are_said():
    assert beside(made(network__branches={"part": "Branches", "count": 3, "width": 0.75})) == ("resnet20 in 3 branches, not resnet20",)


def test_other_seeds_are_said_in_whatever_order_they_stand():
    three = (made(0), made(1), made(2))
    assert beside(made(0), made(1), base=three) == ("seeds 0, 1, not 0-2",)
    assert beside(made(0), base=three) == ("seed 0, not seeds 0-2",)
    assert beside(made(2), made(0), made(1), base=three) == ()


def test_runs_of_folds_are_compared_fold_by_fold():
    def folds(*identities: str) -> tuple[Run, ...]:
        return tuple(made(fold={"number": k, "of": 2, "whole": "w"}, data__identity=name) for k, name in enumerate(identities))

    assert beside(*folds("a", "b"), base=folds("b", "a")) == ()
    assert beside(*folds("a", "c"), base=folds("a", "b")) == ("other images, or another split",)


def test_folds_of_a_seed_count_together():
    alone = Effort.of([made()])
    for seeds in (1, 2):
        dealt = [made(seed=seed, fold={"number": k, "of": 3, "whole": "w"}) for seed in range(seeds) for k in (1, 2, 3)]
        found = Effort.of(dealt)
        assert (found.steps, found.images_seen, found.passes) == (3 * alone.steps, 3 * alone.images_seen, 3 * alone.passes)
        assert found.seconds == pytest.approx(3 * alone.seconds)


def test_a_row_that_did_not_finish_says_nothing_and_a_wrong_baseline_is_named():
    assert differences({"ce": (made(),), "ldam": ()}, "ce") == {"ce": (), "ldam": ()}
    assert equal_setting({"ldam": ()}) == ""
    with pytest.raises(UnknownName, match="cee"):
        differences({"ce": (made(),)}, "cee")


def test_effort_is_the_mean_over_runs_and_reads_as_a_line():
    effort = Effort.of([made(), made(1, legs=[leg(), HEAD], steps=384, images_seen=24000, passes=24000)])
    assert effort.to_dict() == {"steps": 352.0, "images_seen": 22000.0, "passes": 22000.0, "seconds": 3.75}
    assert str(effort) == "352 steps, 22,000 images, 3.8 s"
    assert str(Effort.of([made(passes=40000)])) == "320 steps, 20,000 images, 40,000 passes, 3.2 s"


def test_a_run_of_an_earlier_version_leaves_its_images_unsaid():
    old = made()
    for name in ("images_seen", "passes"):
        del old.record[name]
    old.record["legs"] = [{name: value for name, value in leg().items() if name in ("line", "start", "stop", "seconds")}]
    assert Effort.of([old, made()]).images_seen is None
    assert str(Effort.of([old])) == "320 steps, 3.2 s"
    assert beside(old) == ()


def test_the_equal_setting_names_what_all_rows_have_and_the_rows_that_have_not():
    rows = {"ce": (made(), made(1), made(2)), "la": (made(), made(1), made(2))}
    same = "recipe quick (10 epochs, batch 64); resnet20; linear head; 32 x 32 pixels; 2,000 training images; augmentation Flip; "
    assert equal_setting(rows) == f"All rows: {same}last epoch; cpu, 1 thread; seeds 0-2."
    rows["ldam"] = tuple(made(seed, network__head={"part": "NormalisedHead"}) for seed in range(2))
    rows["crt+mixup"] = tuple(made(seed, legs=[leg(mixing="Mixup(alpha=1)"), HEAD]) for seed in range(3))
    assert equal_setting(rows) == (
        "All rows: recipe quick (10 epochs, batch 64); second stage (2 epochs, batch 64) in crt+mixup; resnet20; "
        "linear head but for ldam; 32 x 32 pixels; 2,000 training images; augmentation Flip; rows mixed by Mixup(alpha=1) in crt+mixup; "
        "last epoch; cpu, 1 thread; seeds 0-2 but for ldam."
    )


def test_a_setting_that_reads_alike_and_is_not_is_no_equal_setting():
    rows = {"ce": (made(),), "la": (made(),), "fast": (made(recipe__optimiser__rate=0.5),), "new": (made(version="2.0"),)}
    sentence = equal_setting(rows)
    assert "batch 64) but for fast;" in sentence
    assert "cpu, 1 thread but for new;" in sentence


# --- real runs --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> dict[str, tuple[Run, ...]]:
    labels = np.repeat(np.arange(3), (30, 12, 6))
    noise = np.random.default_rng(0).normal(0, 0.5, (len(labels), 5))
    data = tw.read(from_arrays(labels, features=(np.eye(5)[labels] + noise).astype(np.float32), name="vectors"), split="60/10/30")
    place = tmp_path_factory.mktemp("fair")
    settings = ["recipe.epochs=3", "recipe.second.epochs=2", "recipe.batch_size=8", "recipe.second.batch_size=8"]
    methods = "ce,la,focal,cb-sampling,tau-norm,ce-drw,ldam,crt,lws,mixup,ce+sam,ce+ema"
    made = tw.compare(data, methods, seeds=1, settings=settings, out=place / "s", threads=1, store=Store(place / "store"))
    return dict(made.runs)


def test_rows_of_a_comparison_differ_in_what_their_methods_need(study):
    found = differences(study, "ce")
    assert {text for text, phrases in found.items() if not phrases} == {"ce", "la", "focal", "cb-sampling", "tau-norm", "ce-drw"}
    assert found["ldam"] == ("normalised head, not linear",)
    assert found["crt"] == ("8 steps more: 2 epochs more on the head",)
    assert found["lws"] == ("scaled linear head, not linear", "8 steps more: 2 epochs more on the head scale")
    assert found["mixup"] == ("rows mixed by Mixup(alpha=1)",)
    assert found["ce+sam"] == ("2 passes an image, not 1",)
    assert found["ce+ema"][0].startswith("weights averaged by EMA(decay=0.999")


def test_records_hold_what_a_row_took(study):
    efforts = {text: Effort.of(runs) for text, runs in study.items()}
    assert efforts["ce"].steps == 12  # 29 training rows in batches of 8, three epochs
    assert {text: effort.images_seen for text, effort in efforts.items()} == {t: 145.0 if t in ("crt", "lws") else 87.0 for t in study}
    assert efforts["ce+sam"].passes == 174
    for text, runs in study.items():
        record = runs[0].record
        for field in ("images_seen", "passes"):
            assert record[field] == sum(stage[field] for stage in record["legs"]), text
    assert efforts["la"].seconds == efforts["ce"].seconds > 0  # the same training, stored by the one and found by the other
    assert efforts["crt"].seconds > efforts["ce"].seconds


def test_the_sentence_of_a_comparison(study):
    assert equal_setting(study) == (
        "All rows: recipe head (3 epochs, batch 8); second stage (2 epochs, batch 8) in crt, lws; features; linear head but for ldam, lws; "
        "feature vectors; 29 training images; no augmentation; rows mixed by Mixup(alpha=1) in mixup; "
        "weights averaged by EMA(decay=0.999) in ce+ema; last epoch; cpu, 1 thread; seed 0."
    )
