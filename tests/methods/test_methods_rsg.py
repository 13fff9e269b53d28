"""RSG: one step against loops over the formula, who gets gradients, its limits, and what goes from stage to stage."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tailwise.counts import ClassCounts
from tailwise.errors import BadData, Clash
from tailwise.groups import thirds
from tailwise.losses import ClassWeighted, CrossEntropyLoss, LDAMLoss
from tailwise.method import About, Learn, Net, Stage, Start
from tailwise.methods.crt import CRT
from tailwise.methods.rsg import RSG, Generation, TransferToRare
from tailwise.models import Branches
from tailwise.models.chain import Chain
from tailwise.objective import Clock, Sample
from tailwise.registry import entries, parse_method, parse_row
from tailwise.training import Outcome, Root, plan_method
from tailwise.training.states import load_state
from toy import toy_recipe, toy_splits
from training import seam_objectives as seams
from training import seam_runs

COUNTS = (4, 30, 9, 20, 2)
ABOUT = About(ClassCounts(COUNTS), thirds(COUNTS), tuple("abcde"), 10, (6, 5, 2))
NOW = Clock(0, 1, 0, 1, 0, 0)
GENERATION = Generation(0.4, 1.0, 0.01, False)
"""Of five classes two are of the head: 1 and 3."""


class Pool(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean((2, 3))


def small_net() -> Chain:
    blocks = {"low": nn.Conv2d(2, 3, 3, padding=1), "high": nn.Conv2d(3, 4, 3, stride=2, padding=1)}
    return Chain(blocks, Pool(), nn.Linear(4, 5), 4).double()


def built(
    generation: Generation | None = None, criterion: object = None, width: int = 4, weight: float = 0.01
) -> tuple[TransferToRare, Chain]:
    """An objective that has learnt something, and its network."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.set_default_dtype(torch.float64)
        try:
            net = small_net()
            objective = TransferToRare(criterion or CrossEntropyLoss(), "", 2, weight, width, generation)
            objective.build(net, ABOUT)
            nn.init.normal_(objective.centres, std=0.3)
        finally:
            torch.set_default_dtype(torch.float32)
    return objective.double(), net


def sample(labels: list[int], **extra: Tensor) -> Sample:
    images = torch.randn(8, 2, 6, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Sample((images[: len(labels)],), torch.tensor(labels), torch.arange(len(labels)), extra)


def step(objective: TransferToRare, net: Chain, rows: Sample) -> dict[str, Tensor]:
    """The reduced terms, before their factors."""
    terms = objective.loss(net, {"main": rows}, NOW)
    return {name: term.numerator() / term.denominator().clamp_min(1e-300) for name, term in terms.items()}


MIXED = [3, 0, 1, 2, 3, 4, 1]
"""Four head rows and three tail rows: an odd batch."""


# --- one step ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def looped(objective: TransferToRare, net: Chain, rows: Sample, head: set[int], generating: bool) -> dict[str, float]:
    """The formulas row by row, from the paper, with nothing of ours but the layers."""
    maps, labels = net.blocks["low"](rows.images).detach(), rows.labels.tolist()
    positions = [(h, w) for h in range(maps.shape[2]) for w in range(maps.shape[3])]
    shares, nearest, centre_loss = [], [], 0.0
    for one, label in zip(maps, labels, strict=True):
        mean = one.mean((1, 2))
        scores = [float((mean * objective.assignment[label, :, k]).sum() + objective.bias[label, k]) for k in range(2)]
        total = sum(math.exp(score) for score in scores)
        shares.append([math.exp(score) / total for score in scores])
        nearest.append(objective.centres[label, int(np.argmax(shares[-1]))].detach())
        for k in range(2):
            apart = sum(float(((one[:, h, w] - objective.centres[label, k]) ** 2).sum()) for h, w in positions)
            centre_loss += shares[-1][k] * apart / len(labels)
    found, batch, targets = {"centres": centre_loss}, list(maps), list(labels)
    if not generating:
        half, judged = len(labels) // 2, 0.0
        for one, other in zip(range(half), range(half, 2 * half), strict=True):
            logits = objective.judge(maps[one : one + 1], maps[other : other + 1])[0]
            judged -= float(torch.log_softmax(logits, 0)[int(labels[one] == labels[other])]) / half
        found["judge"] = judged
    else:
        heads = [i for i, label in enumerate(labels) if label in head]
        tails = [i for i, label in enumerate(labels) if label not in head]
        few = min(len(heads), len(tails))
        segments = max(len(heads), len(tails)) // few
        vectors = 0.0
        for j in range(segments):
            chosen_heads = heads[j * few : (j + 1) * few] if len(heads) >= len(tails) else heads
            chosen_tails = tails if len(heads) >= len(tails) else tails[j * few : (j + 1) * few]
            for h, t in zip(chosen_heads, chosen_tails, strict=True):
                variation, aim = maps[h] - nearest[h][:, None, None], maps[t] - nearest[t][:, None, None]
                moved = objective.transformation(variation[None])[0]
                batch.append(maps[t] + moved)
                targets.append(labels[t])
                error = -float(torch.log_softmax(objective.judge(maps[h : h + 1], moved[None])[0], 0)[0])
                for y, x in positions:
                    before, after, wanted = (tensor[:, y, x] for tensor in (variation, moved, aim))
                    error += abs(float(after.norm() - before.norm())) + 1 - float(after @ wanted / after.norm() / wanted.norm())
                vectors += error / few / segments
        found["vectors"] = vectors
    logits = net.finish(torch.stack(batch), start="high").logits
    found["class"] = sum(-float(torch.log_softmax(row, 0)[y]) for row, y in zip(logits, targets, strict=True)) / len(targets)
    return found


@pytest.mark.parametrize("labels", [MIXED, [1, 3, 3, 1, 2], [0, 1, 2, 4, 0, 2, 4, 3], [4, 1]], ids=len)
@pytest.mark.parametrize("generating", [False, True])
def test_a_step_is_the_papers(labels, generating):
    objective, net = built(GENERATION if generating else None)
    found = step(objective, net, sample(labels))
    expected = looped(objective, net, sample(labels), {1, 3}, generating)
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert float(found[name].detach()) == pytest.approx(value, rel=1e-10), name


def test_it_begins_as_published_and_takes_head_classes_by_real_images():
    objective, net = built()
    about = replace(ABOUT, counts=ClassCounts(COUNTS, (50.0, 1.0, 50.0, 1.0, 1.0)))
    objective = TransferToRare(CrossEntropyLoss(), "", 7, 0.1, 4, GENERATION)
    objective.build(net.float(), about)
    assert objective.is_head.tolist() == [False, True, False, True, False]
    shapes = {name: tuple(parameter.shape) for name, parameter in objective.named_parameters() if "." not in name}
    assert shapes == {"assignment": (5, 3, 7), "bias": (5, 7), "centres": (5, 7, 3)}
    assert float(objective.centres.detach().abs().max()) == 0
    assert float((objective.bias - 1).detach().abs().max()) == 0
    layers = {"transformation": (3, 3, 3, 3), "judge.first": (4, 6, 1, 1), "judge.second": (4, 4, 3, 3), "judge.last": (2, 4)}
    for name, shape in layers.items():
        assert objective.get_parameter(f"{name}.weight").shape == shape
        assert float(objective.get_parameter(f"{name}.bias").detach().abs().max()) == 0


def test_the_terms_have_their_weights():
    learning, generating = built(weight=0.1), built(GENERATION, weight=0.1)
    assert {n: t.factor for n, t in learning[0].loss(learning[1], {"main": sample(MIXED)}, NOW).items()} == {
        **{"class": 1.0, "centres": 0.1, "judge": 0.1}
    }
    assert {n: t.factor for n, t in generating[0].loss(generating[1], {"main": sample(MIXED)}, NOW).items()} == {
        **{"class": 1.0, "centres": 0.1, "vectors": 0.01}
    }


def test_generated_rows_go_on_after_the_real_ones_and_cost_one_forward_above_the_cut():
    objective, net = built(GENERATION)
    seen: dict[str, list[Tensor]] = {"low": [], "high": []}
    for name, block in net.blocks.items():
        block.register_forward_hook(lambda module, given, made, name=name: seen[name].append(given[0]))
    for labels, generated in ((MIXED, 3), ([1, 1, 3, 1, 3, 1, 0, 2], 6), ([1, 0, 2, 4, 0, 2], 5), ([1, 3], 0), ([0], 0)):
        rows = sample(labels)
        for images in seen.values():
            images.clear()
        step(objective, net, rows)
        assert [len(given) for given in seen["low"]] == [len(labels)]
        assert [len(given) for given in seen["high"]] == [len(labels) + generated]
        assert len(labels) + generated <= 2 * len(labels)  # what the card says
        assert torch.equal(seen["high"][0][: len(labels)], net.blocks["low"](rows.images))


@pytest.mark.parametrize("labels", [[1, 3, 3, 1], [0, 2, 4], [1], [0]], ids=["heads", "tails", "one head", "one tail"])
def test_a_batch_of_one_group_is_the_bases_and_leaves_the_transformation_at_rest(labels):
    objective, net = built(GENERATION)
    rows = sample(labels)
    terms = objective.loss(net, {"main": rows}, NOW)
    assert torch.equal(terms["class"].values, CrossEntropyLoss().term(net(rows.images).logits, rows.labels).values)
    assert terms["vectors"].values.shape == (0,)
    total = sum(term.numerator() for term in terms.values())
    assert torch.autograd.grad(total, list(objective.transformation.parameters()), allow_unused=True) == (None, None)


def test_one_row_leaves_the_judge_at_rest_and_an_odd_one_has_no_partner():
    objective, net = built()
    alone = objective.loss(net, {"main": sample([1])}, NOW)
    assert alone["judge"].values.shape == (0,)
    held = list(objective.judge.parameters())
    assert torch.autograd.grad(sum(term.numerator() for term in alone.values()), held, allow_unused=True) == (None,) * len(held)
    assert objective.loss(net, {"main": sample([1, 0, 2])}, NOW)["judge"].values.shape == (1,)
    odd, even = (objective.loss(net, {"main": sample(labels)}, NOW)["judge"].values for labels in ([1, 1, 2], [1, 1]))
    torch.testing.assert_close(odd, even, rtol=1e-12, atol=0)


def test_an_identity_adds_the_variation_and_a_head_row_at_its_centre_adds_nothing():
    objective, net = built(GENERATION)
    nn.init.dirac_(objective.transformation.weight)
    seen = []
    net.blocks["high"].register_forward_hook(lambda module, given, made: seen.append(given[0].detach()))
    rows = sample([1, 0])
    maps = net.blocks["low"](rows.images).detach()
    with torch.no_grad():
        objective.centres.zero_()
    step(objective, net, rows)
    torch.testing.assert_close(seen[0][2], maps[1] + maps[0])
    flat = Sample((rows.images.clone(),), rows.targets, rows.index)
    with torch.no_grad():  # a row that is the same everywhere, and both centres of its class there
        for parameter in net.blocks["low"].parameters():
            parameter.zero_()
        net.blocks["low"].bias.fill_(0.5)
        objective.centres.fill_(0.5)
    step(objective, net, flat)
    torch.testing.assert_close(seen[1][2], seen[1][1])


# --- who gets gradients -----------------------------------------------------------------------------------------------


def gradients(objective: TransferToRare, net: Chain, rows: Sample, *names: str) -> dict[str, Tensor]:
    terms = step(objective, net, rows)
    held = {**{f"net.{n}": p for n, p in net.named_parameters()}, **dict(objective.named_parameters())}
    made = torch.autograd.grad(sum(terms[name] for name in names), list(held.values()), allow_unused=True)
    return {name: g for name, g in zip(held, made, strict=True) if g is not None}


def parts(found: Mapping[str, Tensor]) -> set[str]:
    return {".".join(name.split(".")[: 3 if name.startswith("net.blocks") else 1]) for name in found}


def test_each_loss_reaches_its_own_and_nothing_else():
    for generation in (None, GENERATION):
        objective, net = built(generation)
        assert parts(gradients(objective, net, sample(MIXED), "centres")) == {"assignment", "bias", "centres"}
    objective, net = built()
    assert parts(gradients(objective, net, sample(MIXED), "judge")) == {"judge"}
    assert parts(gradients(objective, net, sample(MIXED), "class")) == {"net.blocks.low", "net.blocks.high", "net"}
    objective, net = built(GENERATION)
    assert parts(gradients(objective, net, sample(MIXED), "vectors")) == {"transformation"}
    assert parts(gradients(objective, net, sample(MIXED), "class")) == {"net.blocks.low", "net.blocks.high", "net", "transformation"}


def test_generated_rows_send_no_gradient_below_the_cut():
    """Only real rows move the lower network: its gradient is that of the same step in which generated maps are constants."""
    objective, net = built(GENERATION)
    images = sample(MIXED).images.clone().requires_grad_()
    rows = Sample((images,), torch.tensor(MIXED), torch.arange(7))
    logits: list[Tensor] = []
    net.head.register_forward_hook(lambda module, given, made: logits.append(made))
    objective.loss(net, {"main": rows}, NOW)
    assert float(torch.autograd.grad(logits[0][7:].square().sum(), images, allow_unused=True, retain_graph=True)[0].abs().max()) == 0
    assert float(torch.autograd.grad(logits[0][:7].square().sum(), images)[0].abs().min()) > 0


def test_head_rows_give_and_tail_rows_name():
    """A generated row has the label, the weight and the mixing of its tail row."""
    objective, net = built(GENERATION, ClassWeighted(CrossEntropyLoss(), COUNTS, 0.9))
    rows = sample(MIXED, weight=torch.arange(1.0, 8.0, dtype=torch.float64))
    logits: list[Tensor] = []
    net.head.register_forward_hook(lambda module, given, made: logits.append(made))
    term = objective.loss(net, {"main": rows}, NOW)["class"]
    labels = torch.tensor([*MIXED, 0, 2, 4])
    weights = torch.tensor([1.0, 2, 3, 4, 5, 6, 7, 2, 4, 6], dtype=torch.float64)
    own = objective.criterion.term(logits[0], labels)
    assert term.divisor == "weights"
    torch.testing.assert_close(term.numerator(), (own.values * own.weights * weights).sum())
    torch.testing.assert_close(term.denominator(), (own.weights * weights).sum())


def test_a_mixed_row_is_of_the_class_with_the_larger_share_and_keeps_both_labels():
    objective, net = built(GENERATION)
    share = torch.tensor([0.9, 0.2, 0.5], dtype=torch.float64)
    rows = sample([1, 3, 0], mixed_targets=torch.tensor([0, 2, 1]), share=share)  # of class 1, 2 and 0: one head, two tails
    logits: list[Tensor] = []
    net.head.register_forward_hook(lambda module, given, made: logits.append(made))
    term = objective.loss(net, {"main": rows}, NOW)["class"]
    made = torch.log_softmax(logits[0], 1)
    first, second, shares = [1, 3, 0, 3, 0], [0, 2, 1, 2, 1], [0.9, 0.2, 0.5, 0.2, 0.5]
    expected = [-s * made[i, a] - (1 - s) * made[i, b] for i, (a, b, s) in enumerate(zip(first, second, shares, strict=True))]
    torch.testing.assert_close(term.values, torch.stack(expected))


def test_a_class_that_fills_a_batch_of_large_maps_moves_its_centres_no_further_than_fewer_positions_would():
    """Else a step overshoots: `2 x weight x rate x positions x share`, of which the last three's product is at most 1."""
    objective, net = built(weight=1 / 128)
    for size, counted in ((8, 64), (16, 128), (40, 128)):
        images = torch.randn(4, 2, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        rows = Sample((images,), torch.tensor([1, 1, 1, 1]), torch.arange(4))
        (gradient,) = torch.autograd.grad(step(objective, net, rows)["centres"], objective.centres)
        maps = net.blocks["low"](images).detach().mean((2, 3))
        shares = (torch.einsum("bc,ck->bk", maps, objective.assignment[1]) + objective.bias[1]).softmax(1)
        expected = sum(2 * counted * shares[i, :, None] * (objective.centres[1] - maps[i]) for i in range(4)) / 4
        torch.testing.assert_close(gradient[1], expected.detach(), rtol=1e-9, atol=1e-12)


def test_the_code_of_the_authors_can_be_had_too():
    published, _ = built(replace(GENERATION, memory_chunks=True))
    intended, net = built(GENERATION)
    one, other = step(published, net, sample(MIXED)), step(intended, net, sample(MIXED))
    assert torch.equal(one["class"], other["class"])
    assert abs(float((one["vectors"] - other["vectors"]).detach())) > 1e-3


# --- stages, limits, what is carried ----------------------------------------------------------------------------------


def stages_of(text: str, shape: tuple[int, ...] = (8, 8, 1)) -> list[Stage]:
    return list(parse_method(text).stages(replace(toy_splits().about(5), shape=shape)))


def outline(text: str) -> list[tuple[float, str, bool]]:
    return [(s.until, type(s.objective.criterion).__name__, s.objective.generation is not None) for s in stages_of(text)]


def test_generation_begins_at_the_threshold_wherever_the_bases_stages_end():
    assert outline("rsg") == [(0.8, "LDAMLoss", False), (1.0, "ClassWeighted", True)]
    assert outline("rsg(base=ce)") == [(0.8, "CrossEntropyLoss", False), (1.0, "CrossEntropyLoss", True)]
    assert outline("rsg(threshold=0.5)") == [(0.5, "LDAMLoss", False), (0.8, "LDAMLoss", True), (1.0, "ClassWeighted", True)]
    assert outline("rsg(threshold=0.9)") == [(0.8, "LDAMLoss", False), (0.9, "ClassWeighted", False), (1.0, "ClassWeighted", True)]
    assert outline("rsg(threshold=0)") == [(0.8, "LDAMLoss", True), (1.0, "ClassWeighted", True)]
    assert outline("rsg(threshold=1)") == [(0.8, "LDAMLoss", False), (1.0, "ClassWeighted", False)]
    said = seam_runs.plan(parse_row("rsg").method).sentences()
    assert ["learning centres" in said[0], "generating rows" in said[1]] == [True, True]
    assert all("TransferToRare(" in sentence for sentence in said)
    first, second = stages_of("rsg(base=ldam)")
    assert first.net is not None
    assert second.net is None


@pytest.mark.parametrize(("preset", "epochs", "begins"), [("imagenet-lt", 100, 80), ("places-lt", 30, 10), ("inaturalist", 180, 140)])
def test_presets_begin_in_the_published_epoch_with_the_weights(preset, epochs, begins):
    first, second = stages_of(f"rsg({preset})")
    assert toy_recipe(epochs=epochs).epoch_at(first.until) == begins
    assert first.objective.generation is None
    assert isinstance(second.objective.criterion, ClassWeighted)
    assert isinstance(first.objective.criterion, LDAMLoss)


def same_network(one: Outcome, other: Outcome) -> bool:
    return all(torch.equal(t, one.state.tensors[n]) for n, t in other.state.tensors.items() if n.startswith("net."))


@pytest.mark.parametrize(
    ("limit", "simpler"),
    [
        ("rsg(threshold=1)", "ldam-drw"),
        ("rsg(threshold=1,centre_weight=0)", "ldam-drw"),
        ("rsg(threshold=1,base=ce,cut=stage1_1)", "ce"),
        ("rsg(threshold=1,base=crt)", "crt"),
        ("rsg(base=crt)", "crt(base=rsg(base=ce))"),
        ("rsg(base=ldam)+drw", "rsg"),
        ("rsg(threshold=1,base=mixup)", "mixup"),
    ],
)
@pytest.mark.parametrize("clip", [None, 0.5], ids=["unclipped", "clipped"])
def test_without_generation_the_network_is_the_bases_to_the_bit(run, limit, simpler, clip):
    """Clipped too: the centres' gradients are far larger than the network's."""
    one, one_logits = run(limit, store="one", recipe=toy_recipe(clip=clip))
    other, other_logits = run(simpler, store="other", recipe=toy_recipe(clip=clip))
    assert same_network(one, other)
    assert np.array_equal(one_logits, other_logits)


def test_it_shares_the_time_before_generation_with_itself_at_other_settings(run):
    legs = {
        text: plan_method(Root(toy_splits(), toy_recipe(), "resnet8", 0, {}), parse_method(text)).legs
        for text in (*("rsg", "rsg(strength=0.5,head_ratio=0.5,vector_weight=1,memory_chunks=yes)", "rsg(width=8)"),)
    }
    own, other, narrow = ([leg.line for leg in found] for found in legs.values())
    assert own[0] == other[0] != narrow[0]
    assert own[1] != other[1]


def state_at(outcome: Outcome, leg: int) -> Mapping[str, Tensor]:
    """The stored state that a leg left."""
    found = load_state(outcome.settings.store, outcome.legs[leg].line, outcome.legs[leg].stop)
    assert found is not None
    return found.tensors


def test_what_was_learnt_goes_on_and_the_judge_rests(run):
    """Weight decay and momentum would move it, were its gradient zero instead of none."""
    outcome, _ = run("rsg")
    before, after = state_at(outcome, 0), outcome.state.tensors
    assert float(before["objective.centres"].abs().max()) > 0
    judged = [name for name in after if name.startswith(("objective.judge.", "opt/main/objective.judge."))]
    assert len(judged) == 12
    assert [name for name in judged if not torch.equal(after[name], before[name])] == []
    assert not torch.equal(after["objective.transformation.weight"], before["objective.transformation.weight"])
    assert not any(name.startswith("opt/main/objective.transformation") for name in before)  # it has learnt nothing yet
    beyond, _ = run("rsg(threshold=0.4)")
    assert [leg.stage.objective.generation is not None for leg in beyond.legs] == [False, True, True]
    moved = state_at(beyond, 1)
    assert not torch.equal(moved["objective.transformation.weight"], state_at(beyond, 0)["objective.transformation.weight"])


def test_the_second_stage_begins_with_the_centres_of_the_first(run):
    """Two runs of different lengths of generation hold the same centres where the first stage ends."""
    short, _ = run("rsg(base=ce,centre_weight=0)", store="short")
    assert float(short.state.tensors["objective.centres"].abs().max()) == 0
    recipe = toy_recipe(epochs=10, **{"optimiser.rate": 0.05, "schedule.factors": (1e-12, 1e-12)})  # after 0.8 next to nothing moves
    outcome, _ = run("rsg", recipe=recipe, store="still")
    before, after = state_at(outcome, 0)["objective.centres"], outcome.state.tensors["objective.centres"]
    assert float(before.abs().max()) > 1e-3
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-7)


def test_nothing_of_it_is_in_the_exported_model(run):
    outcome, _ = run("rsg")
    base, _ = run("ldam-drw")
    assert {n: t.shape for n, t in outcome.predictor.state_dict().items()} == {n: t.shape for n, t in base.predictor.state_dict().items()}
    kept = {name.split(".")[1] for name in outcome.state.tensors if name.startswith("objective.")}
    assert kept == {"assignment", "bias", "centres", "transformation", "judge"}  # the head classes follow from the knobs
    assert type(outcome.predictor) is type(base.predictor)


@pytest.mark.parametrize(
    "text", ["rsg(cut=stage1_1)", "rsg(cut=stage2_1,base=balanced-softmax)", "rsg(base=focal)+drw+sam+ema", "la(base=rsg)"]
)
def test_any_cut_any_criterion_and_modifiers(run, text):
    outcome, logits = run(text)
    assert np.isfinite(logits).all()
    transformations = [t for n, t in outcome.state.tensors.items() if n == "objective.transformation.weight"]
    assert transformations[0].shape[0] == (16 if "stage" in text else 32)


class Tokens(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(2).transpose(1, 2)


class FirstToken(nn.Module):
    def forward(self, tokens: Tensor) -> Tensor:
        return tokens[:, 0]


@pytest.mark.parametrize("vectors", [False, True])
def test_tokens_and_vectors_are_maps_too(vectors):
    blocks = {"embed": Tokens(), "flat": FirstToken() if vectors else nn.Identity(), "mix": nn.Linear(2, 3)}
    net = Chain(blocks, nn.Identity() if vectors else FirstToken(), nn.Linear(3, 5), 3)
    for generation in (None, GENERATION):
        objective = TransferToRare(CrossEntropyLoss(), "mix", 3, 0.1, 8, generation)
        objective.build(net, ABOUT)
        rows = Sample((sample(MIXED).images.float(),), torch.tensor(MIXED), torch.arange(7))
        terms = objective.loss(net, {"main": rows}, NOW)
        assert len(terms["class"].values) == (7 if generation is None else 10)
        assert all(bool(term.values.isfinite().all()) for term in terms.values())


def test_two_classes_of_which_one_fills_every_batch_train(run):
    splits = toy_splits((60, 1))
    outcome, logits = run("rsg", splits=splits, recipe=toy_recipe(batch_size=16, epochs=10, **{"optimiser.rate": 0.1}))
    assert np.isfinite(logits).all()
    assert outcome.state.step > 0


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ({"objective": seams.Growing(CrossEntropyLoss(), (0,), True)}, "has Growing, an objective of its own"),
        ({"criterion": CrossEntropyLoss(), "net": Net(branches=Branches())}, "has branches"),
    ],
)
def test_a_base_that_it_cannot_go_into_is_refused_before_training(stage, words):
    base = seams.Stages(lambda about: [Stage(**stage)])
    with pytest.raises(Clash, match=words):
        list(RSG(base=base).stages(toy_splits().about(5)))


def test_feature_vectors_and_parts_of_a_batch_are_refused():
    with pytest.raises(Clash, match="feature vectors pass none"):
        stages_of("rsg", (12,))
    with pytest.raises(Clash, match="compares the rows of a batch"):
        plan_method(Root(toy_splits(), toy_recipe(accumulate=2), "resnet8", 0, {}), parse_method("rsg"))
    with pytest.raises(Clash, match="would leave out what la does"):
        plan_method(Root(toy_splits(), toy_recipe(), "resnet8", 0, {}), parse_method("rsg(base=la)"))


def test_a_block_that_is_not_there_is_said_before_the_first_step(run):
    with pytest.raises(LookupError, match="no block is called 'stage9'"):
        run("rsg(cut=stage9)")
    with pytest.raises(BadData, match="no block comes before the cut"):
        run("rsg(cut=stem)")


def test_a_base_that_decides_by_results_hears_of_them():
    heard = []

    def deciding(about: About):
        result = yield Stage(criterion=CrossEntropyLoss(), until=0.6)
        heard.append(result)
        result = yield Stage(criterion=CrossEntropyLoss())
        heard.append(result)

    made = RSG(base=seams.Stages(deciding)).stages(toy_splits().about(5))
    assert next(made).until == 0.6
    assert made.send("first").until == 0.8  # the second one is cut in two
    assert made.send("half").until == 1.0
    with pytest.raises(StopIteration):
        made.send("second")
    assert heard == ["first", "second"]


def test_a_base_whose_clock_restarts_learns_centres_again_first():
    again = seams.Stages(
        lambda about: [Stage(criterion=CrossEntropyLoss()), Stage(criterion=LDAMLoss(COUNTS), start=Start(clock="restart"))]
    )
    made = list(RSG(base=again).stages(toy_splits().about(5)))
    assert [(s.until, s.objective.generation is not None, s.start.clock) for s in made] == [
        *((0.8, False, "continue"), (1.0, True, "continue")),
        *((0.8, False, "restart"), (1.0, True, "continue")),
    ]


def test_a_second_recipe_stays_as_it_is():
    _, _, last = stages_of("rsg(base=crt)")
    (own,) = [stage for stage in CRT().stages(toy_splits().about(5)) if stage.recipe == "second"]
    assert type(last.criterion) is type(own.criterion)
    assert (last.learn, last.recipe, last.start) == (own.learn, own.recipe, own.start)
    assert last.learn == (Learn("net.head.*"),)


def test_the_card_says_why_several_processes_are_not_one():
    assert "one process" in RSG.card.processes
    assert entries("method")["rsg"].family == "information augmentation"
    assert seam_runs.plan(parse_row("rsg").method).legs[0].stage.objective.compares_rows
