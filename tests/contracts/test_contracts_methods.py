"""What every method of the catalogue promises, found and not listed."""

from __future__ import annotations

import dataclasses
import typing
from typing import Literal

import numpy as np
import pytest
import torch

from tailwise.errors import Clash
from tailwise.knobs import knobs
from tailwise.method import Method
from tailwise.registry import entries, find, load, parse_method, parse_modifier, parse_row
from tailwise.training import Root, plan_method
from toy import toy_recipe, toy_splits

pytestmark = pytest.mark.contract
METHODS = list(entries("method"))
MODIFIERS = list(entries("modifier"))
CLASHES = {
    *((method, modifier) for method in ("mixup", "mislas") for modifier in ("mixup", "cutmix")),
    *(("paco", modifier) for modifier in ("drw", "mixup", "cutmix")),
}
"""Methods and modifiers that set the same thing, or of which one has nothing for the other to take hold of."""
CHOOSES = {"best"}
"""Modifiers that choose among the states of a training, and may well choose the last; `test_methods_best` holds their knobs."""

SLOW_KNOBS = {"balms": {"second.epochs": 30, "second.optimiser.rate": 0.01}}
"""Methods whose knobs act on which rows are drawn: it takes some steps until one draw is another."""

LONGER = {"bbn": {"epochs": 10}}
"""What learns in more than five epochs: BBN spends the last of them on rows of rare classes."""

ROWS = METHODS + [f"ce+{name}" for name in MODIFIERS]

ANOTHER = {"rsg.cut": "stage2_1", "rsg.head_ratio": 0.5, "ride.own_stages": 1, "sade.own_stages": 1}
"""Second values that no rule finds: a block of the demo's network, a share of four classes that is another number of them, and as many
stages as the demo's network has."""

BESIDE = {"sade.rate": {"aggregate": True}, "sade.decay": {"aggregate": True}}
"""Knobs of a stage that another knob asks for -> that one."""


def another(kind: object, field: dataclasses.Field, where: str) -> object:
    """A value of a knob that is not its default, well inside its range."""
    if where in ANOTHER:
        return ANOTHER[where]
    default, high = field.default, field.metadata.get("high")
    if isinstance(kind, type) and issubclass(kind, Method):
        return parse_method("ce" if str(default) != "ce" else "balanced-softmax")
    if typing.get_origin(kind) is not None and float in typing.get_args(kind):
        return 0.5
    if isinstance(default, bool):
        return not default
    if isinstance(default, int):
        return default + 1 if default < 100 else max(10, field.metadata["low"])  # a length of hundreds is beyond the toy's rows
    if isinstance(default, float):
        wanted = default * 0.5 if default > 0 else 0.5
        return wanted if high is None or wanted <= high else high
    if typing.get_origin(kind) is Literal:
        return next(choice for choice in typing.get_args(kind) if choice != default)
    raise AssertionError(f"teach this test a second value for a knob of type {kind}")


def knob_cases() -> list[tuple[str, str]]:
    cases = []
    for kind, names in (("method", METHODS), ("modifier", MODIFIERS)):
        for name in sorted(set(names) - CHOOSES):
            cases += [(f"{kind}:{name}", knob) for knob in knobs(load(kind, name))]
    return cases


@pytest.mark.parametrize("text", ROWS)
def test_lowers_its_loss_and_learns_separable_classes(run, text):
    outcome, logits = run(text, recipe=toy_recipe(**LONGER.get(text, {})))
    first_stage = [record["loss"] for record in outcome.logs[0]]
    assert first_stage[-1] < first_stage[0]
    assert np.isfinite(logits).all()
    labels = outcome.root.splits.rows["test"].labels
    assert (logits.argmax(1) == labels)[labels < 2].mean() > 0.5  # two classes with images, chance is a quarter


@pytest.mark.parametrize("text", ROWS)
def test_resumes_to_the_same_bits_wherever_it_was_stopped(run, text):
    whole, _ = run(text, store="whole")
    stops = iter(sorted(np.random.default_rng(len(text)).choice(24, size=4, replace=False)))
    calls, stop = 0, next(stops)

    def interrupted() -> bool:
        nonlocal calls, stop
        calls += 1
        if calls > stop:
            stop = next(stops, 10**9)
            return True
        return False

    for _ in range(8):
        try:
            resumed, _ = run(text, store="stopped", interrupted=interrupted)
            break
        except KeyboardInterrupt:
            continue
    assert sorted(resumed.state.tensors) == sorted(whole.state.tensors)
    different = [n for n, t in whole.state.tensors.items() if not torch.equal(t, resumed.state.tensors[n])]
    assert different == []
    assert resumed.log() == whole.log()


@pytest.mark.parametrize("text", METHODS)
def test_shared_beginning_equals_training_alone_to_the_bit(run, text):
    alone, _ = run(text, store="alone")
    run("ce", store="shared")
    run("ldam", store="shared")
    shared, _ = run(text, store="shared")
    assert all(torch.equal(tensor, shared.state.tensors[name]) for name, tensor in alone.state.tensors.items())


@pytest.mark.parametrize("text", ROWS)
def test_predictor_holds_nothing_of_the_scaffold(run, text):
    outcome, _ = run(text)
    network = {name.removeprefix("net.") for name in outcome.state.tensors if name.startswith("net.")}
    exported = {name.removeprefix("net.") for name in outcome.predictor.state_dict()}
    assert exported == network


@pytest.mark.parametrize(("owner", "knob"), knob_cases())
def test_every_knob_changes_the_answers(run, owner, knob):
    kind, _, name = owner.partition(":")
    made = load(kind, name)
    value = another(*knobs(made)[knob], f"{name}.{knob}")
    plain = dataclasses.replace(made(), **BESIDE.get(f"{name}.{knob}", {}))
    changed = dataclasses.replace(plain, **{knob: value})
    if kind == "method":
        recipe, splits = toy_recipe(**SLOW_KNOBS.get(name, {})), dataclasses.replace(toy_splits(), allowed=frozenset({"test"}))
        _, before = run(dataclasses.replace(parse_row(name), method=plain, text="plain"), recipe=recipe, splits=splits)
        _, after = run(dataclasses.replace(parse_row(name), method=changed, text="changed"), recipe=recipe, splits=splits)
    else:
        _, before = run(parse_row(f"ce+{name}"))
        _, after = run(dataclasses.replace(parse_row("ce"), modifiers=(changed,), text="changed"))
    assert not np.array_equal(before, after)


@pytest.mark.parametrize("text", METHODS)
@pytest.mark.parametrize("modifier", MODIFIERS)
def test_every_modifier_trains_and_changes_the_answers(run, text, modifier):
    _, plain = run(text)
    if (text, modifier) in CLASHES:
        with pytest.raises(Clash, match=modifier):
            run(f"{text}+{modifier}")
        return
    _, logits = run(f"{text}+{modifier}")
    assert np.isfinite(logits).all()
    assert modifier in CHOOSES or not np.array_equal(logits, plain)


@pytest.mark.parametrize("text", METHODS)
@pytest.mark.parametrize("counts", [(2, 1), (7, 0, 2), (1,) * 12], ids=["two classes", "an empty class", "one image a class"])
def test_survives_odd_class_counts(run, text, counts):
    outcome, logits = run(text, splits=toy_splits(counts), recipe=toy_recipe(batch_size=4))
    assert np.isfinite(logits).all()
    assert outcome.state.step > 0


@pytest.mark.parametrize("text", METHODS)
def test_survives_batches_of_one_row_and_of_one_class(run, text):
    outcome, logits = run(text, recipe=toy_recipe(batch_size=1, epochs=2))
    assert np.isfinite(logits).all()
    assert outcome.legs[0].steps == 23


@pytest.mark.parametrize("text", ROWS)
def test_leaves_the_callers_generators_alone(run, text):
    torch.manual_seed(3)
    np.random.seed(3)
    expected = torch.rand(2), np.random.rand(2)
    torch.manual_seed(3)
    np.random.seed(3)
    run(text)
    assert torch.equal(torch.rand(2), expected[0])
    assert np.array_equal(np.random.rand(2), expected[1])


@pytest.mark.parametrize("text", METHODS)
def test_seed_decides_and_repeats(run, text):
    _, first = run(text, store="a")
    _, again = run(text, store="b")
    _, other = run(text, store="c", seed=1)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(("kind", "name"), [("method", n) for n in METHODS] + [("modifier", n) for n in MODIFIERS])
def test_card_is_complete_and_found_without_importing(kind, name):
    made = load(kind, name)
    entry = find(kind, name)
    card = made.card
    assert entry.title == card.title
    assert entry.family == card.family
    assert entry.aliases == tuple(card.aliases)
    assert set(entry.presets) == set(card.presets)
    assert (entry.paper, entry.arxiv, entry.year, entry.status) == (card.paper, card.arxiv, card.year, card.status)
    assert card.formula
    assert card.cost
    if kind == "method":
        assert card.why, "say why it helps the tail"
        assert card.avoid, "say when not to use it"
    assert card.paper or card.family == "baseline"
    assert made.__doc__
    for knob, (_, field) in knobs(made).items():
        assert field.metadata.get("help"), f"{name}.{knob} has no line of help"
    for preset in card.presets:
        parse_method(f"{name}({preset})") if kind == "method" else parse_modifier(f"{name}({preset})")
    if any(field.default is not dataclasses.MISSING for _, field in knobs(made).values()):
        assert card.defaults


@pytest.mark.parametrize("text", METHODS)
def test_plan_before_equals_what_is_run(run, text):
    recipe = toy_recipe()
    row = parse_row(text)
    root = Root(toy_splits(), recipe, recipe.net, 0, {"test": "yes"})
    plan = plan_method(root, row.method)
    outcome, _ = run(text)
    assert [leg.line for leg in plan.legs] == [leg.line for leg in outcome.legs]
    assert plan.steps == sum(leg.length for leg in outcome.legs)
    assert len(plan.sentences()) >= len(plan.legs)
