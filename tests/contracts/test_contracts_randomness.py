"""Randomness is a function of the seed and of what is drawn: of nothing that ran before, of no name, of no neighbour."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Any

import numpy as np
import pytest
import timm
import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from surroundings import draw_from_all, untouched
from tailwise import losses, mixing, optim, posthoc, samplers
from tailwise.errors import Clash
from tailwise.losses import CrossEntropyLoss
from tailwise.method import About, Card, Method, Net, Stage, Stream
from tailwise.mixing import Mixup
from tailwise.models import NETWORKS, Branches, build, describe, empty_body, frozen_body, resolve
from tailwise.objective import Batch, Clock, Criterion, Objective, Sample, Term
from tailwise.pixels import Normalise, Rows, View, augment
from tailwise.posthoc import Scores
from tailwise.registry import Row, entries, parse_row
from tailwise.samplers import ClassBalancedSampler
from tailwise.training import Outcome, Root, Splits, plan_method
from tailwise.training.line import make_loop
from tailwise.training.streams import StreamReader, read_batch
from toy import COUNTS, Runner, toy_recipe, toy_splits

pytestmark = pytest.mark.contract
METHODS, MODIFIERS = list(entries("method")), list(entries("modifier"))
ROWS = [*METHODS, *(f"ce+{name}" for name in MODIFIERS)]
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Stages(Method):
    """One stage, whose fields are given."""

    card = Card(title="a stage of a test", family="baseline")

    fields: Any = None

    def stages(self, about: About) -> list[Stage]:
        return [Stage(**({"criterion": CrossEntropyLoss()} if "objective" not in self.fields else {}), **self.fields)]

    def __str__(self) -> str:
        return "a stage of a test"


def row(modifiers: str = "", **fields: Any) -> Row:
    """A row of one stage, under modifiers written as `+sam+ema`."""
    return Row(Stages(fields), parse_row(f"ce{modifiers}").modifiers)


def differing(one: Outcome, other: Outcome) -> list[str]:
    """Name the tensors in which two final states differ in any bit, or that only one has."""
    a, b = one.state.tensors, other.state.tensors
    return [n for n in sorted(set(a) | set(b)) if n not in a or n not in b or a[n].dtype != b[n].dtype or not torch.equal(a[n], b[n])]


# --- alone and in a tree ------------------------------------------------------------------------------------------------


def compare_in_trees(run: Runner, texts: list[str], orders: dict[str, list[str]]) -> None:
    """Train each row alone, then all in one store in each order: the same bits, and fewer steps."""
    recipe = toy_recipe(epochs=3)
    alone = {text: run(text, store=f"alone {number}", recipe=recipe) for number, text in enumerate(texts)}
    for order, sorted_texts in orders.items():
        trained = 0
        for text in sorted_texts:
            outcome, logits = run(text, store=order, recipe=recipe)
            mine, answers = alone[text]
            trained += outcome.trained
            assert differing(outcome, mine) == [], f"{text} in the {order} order"
            assert outcome.log() == mine.log(), f"{text} in the {order} order"
            assert logits.tobytes() == answers.tobytes(), f"{text} in the {order} order"
            raw, own = outcome.predictions(), mine.predictions()
            means = [np.zeros(0) if found is None else found for found in (raw.class_means, own.class_means)]  # none of several branches
            assert np.array_equal(*means, equal_nan=True)
        assert trained < sum(outcome.trained for outcome, _ in alone.values()), f"nothing was shared in the {order} order"


def test_every_row_of_the_catalogue_alone_equals_itself_in_a_shared_tree(run):
    compare_in_trees(run, ROWS, {"catalogue's": ROWS, "reversed": ROWS[::-1]})


@pytest.mark.slow
def test_every_method_under_every_modifier_alone_equals_itself_in_a_shared_tree(run):
    texts = []
    for text in (f"{method}+{modifier}" for method in METHODS for modifier in MODIFIERS):
        try:
            plan_method(Root(toy_splits(), toy_recipe(), "resnet8", 0, {}), (made := parse_row(text)).method, made.modifiers)
        except Clash:
            continue
        texts.append(text)
    shuffled = np.random.default_rng(0).permutation([*ROWS, *texts]).tolist()
    compare_in_trees(run, [*ROWS, *texts], {"shuffled": shuffled})


def test_stages_and_classes_have_names_that_reach_no_bit(run):
    """Equal code under other names: a stage's, a method's, and those of an objective, a criterion and a sampler."""

    def define(prefix: str) -> Row:
        criterion = dataclass(eq=False)(type(f"{prefix}Loss", (_Loss,), {}))
        objective = dataclass(eq=False)(type(f"{prefix}Objective", (Drawing,), {}))
        sampler = dataclass(frozen=True)(type(f"{prefix}Sampler", (ClassBalancedSampler,), {}))
        stage = {"name": prefix, "objective": objective(criterion()), "streams": {"main": Stream(sampler=sampler())}}
        return Row(type(f"{prefix}Method", (Stages,), {})(stage), ())

    one, logits = run(define("One"))
    other, answers = run(define("Other"))
    assert one.leg.line != other.leg.line  # the key may say who drew; the draws do not
    assert differing(one, other) == []
    assert logits.tobytes() == answers.tobytes()


# --- the caller's generators --------------------------------------------------------------------------------------------

LOGITS, LABELS = torch.linspace(-2, 2, 24).reshape(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])


def _descend(optimiser: Any) -> None:
    parameter = nn.Parameter(torch.ones(3))
    made = optimiser.make([{"params": [parameter]}])
    parameter.sum().backward()
    made.step()


def _sample() -> Sample:
    return Sample((torch.arange(24.0).reshape(6, 1, 2, 2),), LABELS, torch.arange(6))


def _scores() -> Scores:
    rng = np.random.default_rng(0)
    features, weight, means = rng.normal(size=(6, 3)), rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    return Scores((features @ weight.T).astype(np.float32), LABELS.numpy(), features, weight, np.zeros(4), means)


def _view(augmentation: Any) -> Tensor:
    images = torch.arange(6 * 64 * 3).reshape(6, 8, 8, 3).to(torch.uint8)
    return View((augmentation,), Normalise((0.5,), (0.5,)))(images, np.random.default_rng, slice(None), 6)


PARTS: dict[str, Callable[[], Any]] = {
    "BalancedSoftmaxLoss": lambda: losses.BalancedSoftmaxLoss(COUNTS)(LOGITS, LABELS),
    "ClassWeighted": lambda: losses.ClassWeighted(CrossEntropyLoss(), COUNTS)(LOGITS, LABELS),
    "CrossEntropyLoss": lambda: CrossEntropyLoss()(LOGITS, LABELS),
    "FocalLoss": lambda: losses.FocalLoss()(LOGITS, LABELS),
    "FrequencyWeighted": lambda: losses.FrequencyWeighted(CrossEntropyLoss(), COUNTS)(LOGITS, LABELS),
    "LDAMLoss": lambda: losses.LDAMLoss(COUNTS)(LOGITS, LABELS),
    "LabelAwareSmoothingLoss": lambda: losses.LabelAwareSmoothingLoss(COUNTS)(LOGITS, LABELS),
    "WeightedByClass": lambda: losses.WeightedByClass,
    "effective_number_weights": lambda: losses.effective_number_weights(COUNTS),
    "focal_factor": lambda: losses.focal_factor(-LOGITS[:, 0].abs(), 2.0),
    "frequency_weights": lambda: losses.frequency_weights(COUNTS),
    "class_temperatures": lambda: losses.class_temperatures(COUNTS, 0.5),
    "divergences": lambda: losses.divergences(LOGITS, LOGITS[:, None]),
    "diversity": lambda: losses.diversity(LOGITS[:, None], torch.ones(4)),
    "inverse_prior": lambda: losses.inverse_prior(COUNTS),
    "skill_shifts": lambda: losses.skill_shifts(COUNTS),
    "paco_losses": lambda: losses.paco_losses(LOGITS, LABELS, LOGITS, LOGITS[:2], LABELS[:2]),
    "label_smoothing_factors": lambda: losses.label_smoothing_factors(COUNTS, 0.4, 0.1),
    "ClassBalancedSampler": lambda: ClassBalancedSampler().rows(LABELS.numpy(), np.random.default_rng(0), 0, 1),
    "EpochSampler": lambda: list(samplers.EpochSampler(LABELS)),
    "BalancedSubsetSampler": lambda: samplers.BalancedSubsetSampler(1).rows(LABELS.numpy(), np.random.default_rng(0), 0, 1),
    "LearntRateSampler": lambda: samplers.LearntRateSampler(0.5).rows(LABELS.numpy(), np.random.default_rng(0), 0, 1),
    "chance_of_draw": lambda: samplers.chance_of_draw(torch.zeros(4), torch.zeros(2, 4), torch.tensor([0, 3])),
    "first_rate_logits": lambda: samplers.first_rate_logits(COUNTS, 0.5),
    "straight_through": lambda: samplers.straight_through(torch.ones(2)),
    "PowerSampler": lambda: samplers.PowerSampler().rows(LABELS.numpy(), np.random.default_rng(0), 0, 1),
    "ReversedSampler": lambda: samplers.ReversedSampler().rows(LABELS.numpy(), np.random.default_rng(0), 0, 1),
    "class_probabilities": lambda: samplers.class_probabilities(COUNTS, 0.5),
    "CutMix": lambda: mixing.CutMix()(_sample(), np.random.default_rng(0)),
    "Mixup": lambda: Mixup()(_sample(), np.random.default_rng(0)),
    "SGD": lambda: _descend(optim.SGD(0.1)),
    "Adam": lambda: _descend(optim.Adam(0.1)),
    "AdamW": lambda: _descend(optim.AdamW(0.1)),
    "SAM": lambda: optim.SAM()(lambda statistics: {"w": torch.ones(3)}, {"w": nn.Parameter(torch.ones(3))}),
    "EMA": lambda: optim.EMA().update({"w": torch.ones(3)}, {"w": torch.zeros(3)}, 1),
    "Constant": lambda: optim.Constant().factor(1, 5),
    "Cosine": lambda: optim.Cosine().factor(1, 5),
    "Steps": lambda: optim.Steps().factor(1, 5),
    "GRID": lambda: posthoc.GRID,
    "Tau": lambda: posthoc.Tau,
    "PostHoc": lambda: posthoc.PostHoc,
    "Scores": _scores,
    "Adjusted": lambda: posthoc.Adjusted,
    "Moved": lambda: posthoc.Moved,
    "adjust": lambda: posthoc.adjust(LOGITS.numpy(), list(COUNTS)),
    "LogitAdjustment": lambda: posthoc.LogitAdjustment(COUNTS, "val").fit(_scores())[0].apply(_scores()),
    "adjust_logits": lambda: posthoc.adjust_logits(LOGITS.numpy(), COUNTS, 1.0),
    "EstimatedPrior": lambda: posthoc.EstimatedPrior,
    "FittedTemperature": lambda: posthoc.FittedTemperature,
    "Temperature": lambda: posthoc.Temperature().fit(_scores())[0].apply(_scores()),
    "expected_prior": lambda: posthoc.expected_prior("reversed", COUNTS),
    "fit_temperature": lambda: posthoc.fit_temperature(LOGITS.numpy(), LABELS.numpy()),
    "prior_shares": lambda: posthoc.prior_shares(COUNTS, "counts"),
    "PriorShift": lambda: posthoc.PriorShift(COUNTS, COUNTS, 2.0).apply(_scores()),
    "estimate_prior": lambda: posthoc.estimate_prior(LOGITS.numpy(), COUNTS),
    "shift_logits": lambda: posthoc.shift_logits(LOGITS.numpy(), COUNTS, COUNTS, 2.0),
    "MeanOfViews": lambda: posthoc.MeanOfViews().fit(_scores())[0].apply(replace(_scores(), views=_scores().logits[:, None])),
    "NearestMean": lambda: posthoc.NearestMean().fit(_scores())[0].apply(_scores()),
    "nearest_mean_logits": lambda: posthoc.nearest_mean_logits(_scores().features, _scores().class_means),
    "TauNorm": lambda: posthoc.TauNorm("val").fit(_scores())[0].apply(_scores()),
    "normalise_weight": lambda: posthoc.normalise_weight(_scores().head_weight, 1.0),
    "tau_normalised_logits": lambda: posthoc.tau_normalised_logits(_scores().features, _scores().head_weight, 1.0),
    "AutoAugment": lambda: _view(augment.AutoAugment()),
    "Blur": lambda: _view(augment.Blur(share=1.0)),
    "Cutout": lambda: _view(augment.Cutout(3)),
    "RandAugment": lambda: _view(augment.RandAugment()),
    "ColourJitter": lambda: _view(augment.ColourJitter(0.2, 0.2, 0.2)),
    "Flip": lambda: _view(augment.Flip()),
    "Grey": lambda: _view(augment.Grey()),
    "PadCrop": lambda: _view(augment.PadCrop(1)),
    "ResizedCrop": lambda: _view(augment.ResizedCrop()),
}
"""How each public part is made and used."""


@pytest.mark.parametrize("name", sorted(name for room in (losses, samplers, mixing, optim, posthoc, augment) for name in room.__all__))
def test_a_part_alone_leaves_its_surroundings_as_they_were(name):
    assert name in PARTS, f"teach this test how {name} is used"
    with untouched():
        PARTS[name]()


@pytest.mark.parametrize("name", [*NETWORKS, "resnet18", "test_vit", "test_convnext"])
def test_describing_a_network_draws_nothing(name):
    with untouched():
        describe(name)


def test_a_pre_trained_body_draws_nothing():
    with untouched():
        body = frozen_body("efficientnet-lite0", (32, 32, 3))
        empty = empty_body("efficientnet-lite0", (32, 32, 3))
        empty.load_state_dict(body.state_dict())
        assert not torch.equal(body(torch.ones(1, 3, 32, 32)), body(torch.zeros(1, 3, 32, 32)))


@pytest.mark.parametrize("name", ["resnet8", "test_vit", "test_efficientnet"])
def test_building_a_network_draws_from_torch_alone_as_a_layer_of_torch_does(name):
    net = resolve(Net(), name)
    with untouched(but=("torch",)):
        build(net, (32, 32, 3), 4)


def test_planning_an_objective_that_makes_layers_from_its_fields_draws_nothing():
    method = Stages({"objective": Early(CrossEntropyLoss())})
    with untouched():
        plan_method(Root(toy_splits(), toy_recipe(), "resnet8", 0, {}), method)


# --- whatever state the caller is in ------------------------------------------------------------------------------------


@contextlib.contextmanager
def double() -> Iterator[None]:
    """Make float64 what torch makes."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    "mode",
    [torch.no_grad, torch.inference_mode, partial(torch.autocast, "cpu", torch.bfloat16), double, partial(torch.device, "meta")],
    ids=["no_grad", "inference_mode", "autocast", "default float64", "default device"],
)
def test_the_callers_modes_of_torch_reach_no_result(run, mode):
    plain, logits = run("ce", store="plain")
    with mode():
        inside, answers = run("ce", store="inside")
    assert differing(plain, inside) == []
    assert logits.tobytes() == answers.tobytes()


def test_predictions_are_made_with_the_recipe_s_number_of_threads(run):
    seen: list[int] = []

    @dataclass(eq=False)
    class Counting(_Plain):
        def predictor(self, net: nn.Module) -> nn.Module:
            net.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
            return net

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        run(row(objective=Counting(CrossEntropyLoss())))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {1}


# --- dropout, drop-path, timm's initialisers ----------------------------------------------------------------------------


@dataclass(eq=False)
class _Loss(Criterion):
    def rows(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor | None]:
        return cross_entropy(logits, targets, reduction="none"), None


@dataclass(eq=False)
class _Plain(Objective):
    criterion: Criterion

    def loss(self, net: nn.Module, batch: Batch, now: Clock) -> Any:
        return self.criterion.term(net(batch["main"].images).logits, batch["main"].labels)


@dataclass(eq=False)
class Early(_Plain):
    """Makes a layer from its fields, before any network is there."""

    def __post_init__(self) -> None:
        self.layer = nn.Linear(3, 3)


MASKS = 64


@dataclass(eq=False)
class Drawing(_Plain):
    """Owns dropout, a layer of its own and a draw of NumPy's, and remembers the masks of its steps."""

    def build(self, net: nn.Module, about: About) -> None:
        self.drop = nn.Dropout(0.5)
        self.mix = nn.Linear(len(about.classes), len(about.classes))
        self.register_buffer("masks", torch.zeros(MASKS, 5))
        self.register_buffer("forwards", torch.zeros((), dtype=torch.long))
        self.register_buffer("at", torch.zeros((), dtype=torch.long))

    def loss(self, net: nn.Module, batch: Batch, now: Clock) -> Term:
        rows = len(batch["main"])
        mask = self.drop(torch.ones(rows))
        noise = torch.from_numpy(now.rng("noise").normal(size=rows)).float()
        self.keep(mask=mask)
        logits = net(batch["main"].images).logits
        return self.criterion.term(logits + 0.1 * mask[:, None] * noise[:, None] * self.mix(logits), batch["main"].labels)

    def settle(self, net: nn.Module, kept: Any, now: Clock) -> None:
        self.masks[self.at, : len(kept["mask"])] = kept["mask"]
        self.at += 1


@pytest.fixture
def dropping(monkeypatch) -> str:
    """timm's smallest ViT with the dropout and the stochastic depth that it has by request."""
    asked = {"drop_path_rate": 0.4, "proj_drop_rate": 0.2, "pos_drop_rate": 0.2}
    monkeypatch.setattr(timm, "create_model", partial(timm.create_model, **asked))
    return "test_vit"


def colour_splits() -> Splits:
    """The toy set at the smallest size that a ViT takes: 16 pixels, three channels."""
    plain = toy_splits((7, 4, 2))
    rows = {
        name: Rows(r.ids, np.repeat(np.asarray(r.packed).repeat(2, 1).repeat(2, 2), 3, axis=3), r.positions, r.targets)
        for name, r in plain.rows.items()
    }
    return replace(plain, rows=rows)


@pytest.fixture
def run_dropping(run, dropping) -> Runner:
    def make(text: str | Row, store: str = "store", **fields: Any) -> tuple[Outcome, np.ndarray]:
        settings = {name: fields.pop(name) for name in ("interrupted", "seed") if name in fields}
        recipe = replace(toy_recipe(epochs=2, **fields), net=dropping)
        return run(text, store=store, splits=colour_splits(), recipe=recipe, **settings)

    return make


def test_the_patched_network_drops_and_only_while_it_trains(dropping):
    torch.manual_seed(0)
    net = build(resolve(Net(), dropping), (16, 16, 3), 4)
    assert any(isinstance(m, DropPath) and m.drop_prob > 0 for m in net.modules())
    images = torch.ones(8, 3, 16, 16)
    assert not torch.equal(net.train()(images).features, net(images).features)
    with untouched():
        assert torch.equal(net.eval()(images).features, net(images).features)


@pytest.mark.parametrize(("modifiers", "accumulate"), [("", 1), ("+sam+ema", 2)])
def test_dropped_paths_are_the_same_when_resumed_and_in_a_shared_tree(run_dropping, modifiers, accumulate):
    draw_from_all(1)
    alone, logits = run_dropping(f"ldam-drw{modifiers}", "alone", accumulate=accumulate)
    steps = count(1)
    draw_from_all(2)
    while True:
        try:
            resumed, answers = run_dropping(
                f"ldam-drw{modifiers}", "stopped", accumulate=accumulate, interrupted=lambda: next(steps) in (1, 3, 4)
            )
            break
        except KeyboardInterrupt:
            draw_from_all(9)
    assert resumed.trained < alone.trained
    assert differing(alone, resumed) == []
    assert logits.tobytes() == answers.tobytes()
    run_dropping(f"crt{modifiers}", "tree", accumulate=accumulate)
    run_dropping(f"ldam{modifiers}", "tree", accumulate=accumulate)
    shared, answers = run_dropping(f"ldam-drw{modifiers}", "tree", accumulate=accumulate)
    assert shared.trained < alone.trained
    assert differing(alone, shared) == []
    assert logits.tobytes() == answers.tobytes()


def test_both_forwards_of_sam_drop_the_same(run_dropping):
    """At radius zero the second gradient is the first one, if nothing else was drawn."""
    plain, _ = run_dropping("ce", "plain")
    twice, _ = run_dropping("ce+sam(rho=0)", "sam")
    assert differing(plain, twice) == []


def test_predicting_drops_nothing_and_draws_nothing(run_dropping):
    outcome, logits = run_dropping("ce")
    with untouched():
        assert outcome.predictions().splits["test"].logits.tobytes() == logits.tobytes()


def test_every_step_draws_masks_of_its_own_and_a_run_the_same_again(run):
    drawing = row(objective=Drawing(CrossEntropyLoss()))
    draw_from_all(1)
    outcome, _ = run(drawing, store="one")
    draw_from_all(2)
    again, _ = run(drawing, store="two")
    other, _ = run(drawing, store="three", seed=1)
    assert differing(outcome, again) == []
    masks, steps = outcome.state.tensors["objective.masks"], int(outcome.state.tensors["objective.at"])
    assert steps == 25
    assert 0.3 < float((masks[:steps] > 0).float().mean()) < 0.6
    assert len(masks[:steps].unique(dim=0)) > 10  # of 2**5 masks, drawn 25 times: 17 or so by chance
    assert not torch.equal(masks, other.state.tensors["objective.masks"])


@pytest.mark.parametrize("modifiers", ["", "+sam+ema"])
def test_an_objective_that_draws_is_resumed_to_the_same_bits(run, modifiers):
    drawing, recipe = row(modifiers, objective=Drawing(CrossEntropyLoss()), mixing=Mixup()), toy_recipe(accumulate=2, epochs=2)
    whole, _ = run(drawing, store="whole", recipe=recipe)
    steps = count(1)
    while True:
        try:
            resumed, _ = run(drawing, store="stopped", recipe=recipe, interrupted=lambda: next(steps) in (1, 4, 5, 8))
            break
        except KeyboardInterrupt:
            draw_from_all(7)
    assert resumed.trained < whole.trained
    assert differing(whole, resumed) == []


def started(net: Net, seed: int = 0, step: int = 0) -> dict[str, Tensor]:
    """Give a network's tensors as a line begins with them."""
    root = Root(colour_splits(), replace(toy_recipe(), net="test_vit"), "test_vit", seed, {})
    leg = plan_method(root, Stages({"net": net})).legs[0]
    return {n: t.clone() for n, t in make_loop(root, replace(leg, origin=step), None, CPU).net.state_dict().items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> set[str]:
    return {name for name in one if torch.equal(one[name], other[name])}


@pytest.mark.parametrize("backbone", ["test_vit", "test_efficientnet", "resnet8"])
def test_values_that_are_drawn_depend_on_seed_and_step_alone(backbone):
    draw_from_all(1)
    first = started(Net(backbone))
    draw_from_all(2)
    started(Net("test_resnet"))
    assert equal(first, started(Net(backbone))) == set(first)
    drawn = {name for name, tensor in first.items() if tensor.ndim > 1 and len(tensor.unique()) > 1}
    assert len(drawn) > 5
    assert equal(first, started(Net(backbone), seed=1)) & drawn == set()
    assert equal(first, started(Net(backbone), step=4)) & drawn == set()


def test_two_branches_of_a_timm_network_begin_with_values_of_their_own():
    made = started(Net("test_efficientnet", branches=Branches(2, 1)))
    pairs = [(n, n.replace("branches.0", "branches.1")) for n, t in made.items() if n.startswith("branches.0") and t.ndim > 1]
    assert pairs
    assert not any(torch.equal(made[one], made[other]) for one, other in pairs)


def test_crt_draws_a_head_of_its_own_on_a_timm_network_and_keeps_the_body(run_dropping):
    first, _ = run_dropping("ce", "one")
    second, _ = run_dropping("crt", "one")
    again, _ = run_dropping("crt", "two")
    assert differing(second, again) == []
    start = started(Net("test_vit"))
    moved = second.state.tensors["net.head.weight"]
    assert not torch.allclose(moved, start["head.weight"], atol=0.02)
    body = [name for name in first.state.tensors if name.startswith("net.blocks") and "num_batches" not in name]
    assert all(torch.equal(first.state.tensors[name], second.state.tensors[name]) for name in body)


# --- what weighs nothing ------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Nothing(_Plain):
    """A second term whose factor is zero: not finite, drawn, or batch-level, before or after the first."""

    values: str
    first: bool = False
    factor: float = 0.0
    with_it: bool = True

    def loss(self, net: nn.Module, batch: Batch, now: Clock) -> dict[str, Term]:
        logits, labels = net(batch["main"].images).logits, batch["main"].labels
        main = {"main": self.criterion.term(logits, labels)}
        if not self.with_it:
            return main
        plain = logits.sum(1)
        drawn = torch.from_numpy(now.rng("nothing").normal(size=len(labels))).float() * plain
        made = {
            "nan": Term(plain * float("nan"), factor=self.factor),
            "infinite": Term(plain / 0, plain.detach().abs(), "weights", self.factor),
            "zero weights": Term(plain, torch.zeros(len(labels)), "weights", self.factor),
            "drawn": Term(drawn, factor=self.factor),
            "batch": Term(plain.mean() * float("inf"), None, "batch", self.factor),
        }[self.values]
        return {"nothing": made, **main} if self.first else {**main, "nothing": made}


@pytest.mark.limit
@pytest.mark.parametrize(
    ("values", "accumulate", "first"),
    [
        (v, a, v in ("nan", "drawn"))
        for v in ("nan", "infinite", "zero weights", "drawn", "batch")
        for a in (1, 2)
        if (v, a) != ("batch", 2)
    ],
)
def test_a_term_that_weighs_nothing_changes_no_bit(run, values, accumulate, first):
    recipe = toy_recipe(epochs=1, accumulate=accumulate)
    plain, logits = run(row("+sam", objective=Nothing(CrossEntropyLoss(), values, with_it=False)), store="a", recipe=recipe)
    beside, answers = run(row("+sam", objective=Nothing(CrossEntropyLoss(), values, first)), store="b", recipe=recipe)
    assert differing(plain, beside) == []
    assert plain.log() == beside.log()
    assert logits.tobytes() == answers.tobytes()


@dataclass(eq=False)
class Weighing(_Plain):
    """Weighs the rows of class 0 with nothing, and scales what their loss would be."""

    scale: float

    def loss(self, net: nn.Module, batch: Batch, now: Clock) -> Term:
        labels = batch["main"].labels
        values = cross_entropy(net(batch["main"].images).logits, labels, reduction="none")
        return Term(torch.where(labels == 0, self.scale * values, values), (labels != 0).float(), "weights")


@pytest.mark.limit
@pytest.mark.parametrize("accumulate", [1, 2])
def test_rows_that_weigh_nothing_change_no_bit(run, accumulate):
    """Whatever their loss is; two rows of five weighed with one hundredth would show."""
    made = [
        run(row(objective=Weighing(CrossEntropyLoss(), scale)), store=str(scale), recipe=toy_recipe(accumulate=accumulate, epochs=2))
        for scale in (1.0, 1e6)
    ]
    assert differing(made[0][0], made[1][0]) == []


@pytest.mark.limit
def test_what_rows_that_weigh_nothing_show_changes_no_gradient():
    """Without normalisation over the batch, other pixels in these rows give the same gradients, and so does leaving them out."""
    splits = toy_splits()
    weights = np.array([1.0, 0.0, 2.0, 1.0], np.float32)[splits.rows["train"].labels]
    flat = {
        n: Rows(r.ids, np.asarray(r.packed).reshape(len(r), -1).astype(np.float32) / 255, r.positions, r.targets)
        for n, r in splits.rows.items()
    }
    shown = replace(flat["train"], weights=weights)
    other = np.asarray(shown.packed).copy()
    other[weights == 0] = 7.0
    kept = np.flatnonzero(weights)
    made = []
    for rows in (
        shown,
        replace(shown, packed=other),
        replace(
            shown,
            positions=shown.positions[kept],
            targets=shown.targets[kept],
            weights=weights[kept],
            ids=tuple(shown.ids[i] for i in kept),
        ),
    ):
        root = Root(replace(splits, rows={**flat, "train": rows}), toy_recipe(batch_size=len(rows)), "features", 0, {})
        leg = plan_method(root, Stages({})).legs[0]
        loop = make_loop(root, leg, None, CPU)
        readers = {name: StreamReader(name, stream, root, leg, CPU) for name, stream in leg.stage.streams.items()}
        made.append(loop.gradients(*read_batch(readers, leg, 0, 0)))
    for name, gradient in made[0].items():
        assert torch.equal(gradient, made[1][name])
        torch.testing.assert_close(gradient, made[2][name])
