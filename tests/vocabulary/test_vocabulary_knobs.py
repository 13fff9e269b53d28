"""Knobs: what a typed word becomes, what is out of range, and how a thing is written down again."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tailwise.errors import BadValue, TailwiseError, UnknownName
from tailwise.knobs import coerce, display_name, knob, knobs, with_knobs
from tailwise.losses import CrossEntropyLoss
from tailwise.method import Best, Card, Method, Stage, Stream, method
from tailwise.optim import SGD


@method(Card(title="Toy", family="baseline"))
@dataclass(frozen=True)
class Toy(Method):
    """A method with a knob of each kind."""

    margin: float = knob(0.5, low=0.0, high=1.0, help="a margin")
    scale: float = knob(30.0, above=0.0, help="a scale")
    each: int = knob(4, low=1, help="a number")
    mirrored: bool = knob(False, help="yes or no")
    mode: Literal["mean", "sum"] = knob("mean", help="one of two")
    tau: float | Literal["val"] = knob(1.0, low=0.0, help="a number or val")
    start: float | None = knob(0.5, low=0.0, help="a share or none")
    betas: tuple[float, ...] = knob((0.9, 0.999), help="two numbers")
    inner: SGD = knob(SGD(0.1), help="a part")

    def stages(self, about):
        yield Stage(criterion=CrossEntropyLoss())


def refused(raising: Any, *named: str) -> str:
    """Check that a call is refused in one line that names things."""
    with pytest.raises(TailwiseError) as caught:
        raising()
    said = str(caught.value)
    assert "\n" not in said
    for name in named:
        assert name in said
    return said


# --- coercion -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "kind", "made"),
    [
        ("0.5", float, 0.5),
        ("1e-3", float, 1e-3),
        ("-2", float, -2.0),
        (1, float, 1.0),
        ("7", int, 7),
        (3.0, int, 3),
        ("-3", int, -3),
        ("true", bool, True),
        ("No", bool, False),
        ("1", bool, True),
        (False, bool, False),
        ("a word", str, "a word"),
        ("sum", Literal["mean", "sum"], "sum"),
        ("2", Literal[1, 2], 2),
        ("val", float | Literal["val"], "val"),
        ("0.25", float | Literal["val"], 0.25),
        ("none", float | None, None),
        (None, float | None, None),
        ("2", float | None, 2.0),
        ([1, 2], tuple[float, ...], (1.0, 2.0)),
        ((), tuple[float, ...], ()),
        (object, Any, object),
    ],
)
def test_values_become_their_type(value, kind, made):
    result = coerce(value, kind, "toy.knob")
    assert result == made
    assert type(result) is type(made)


@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        ("abc", float, "a number"),
        (True, float, "a number"),
        (None, float, "a number"),
        ([1.0], float, "a number"),
        ("nan", float, "a number"),
        (float("nan"), float, "a number"),
        ("2.5", int, "a whole number"),
        (2.5, int, "a whole number"),
        (False, int, "a whole number"),
        (float("nan"), int, "a whole number"),
        (float("inf"), int, "a whole number"),
        ("maybe", bool, "true or false"),
        (1, bool, "true or false"),
        (5, str, "a word"),
        ("median", Literal["mean", "sum"], "'mean', 'sum'"),
        ("vel", float | Literal["val"], "'val'"),
        ("vel", float | Literal["val"], "a number"),
        ("some", float | None, "a number"),
        (3, tuple[float, ...], "tuple"),
        ([1, "x"], tuple[float, ...], "toy.knob[1]"),
        (3, SGD, "SGD"),
    ],
)
def test_what_is_not_of_the_type_is_refused_in_one_line(value, kind, said):
    line = refused(lambda: coerce(value, kind, "toy.knob"), "toy.knob", said)
    assert "got" in line


@pytest.mark.fuzz
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_comes_back_from_its_text(value):
    assert coerce(repr(value), float, "x") == value


@pytest.mark.fuzz
@given(st.one_of(st.text(max_size=8), st.floats(), st.integers(), st.booleans(), st.none(), st.lists(st.integers(), max_size=2)))
@example(float("inf"))
@example(-float("inf"))
def test_coercion_gives_the_type_or_one_line(value):
    for kind, allowed in ((int, int), (float, float), (bool, bool), (str, str)):
        said = "toy.knob is "
        try:
            assert type(coerce(value, kind, "toy.knob")) is allowed
        except BadValue as reason:
            said = str(reason)
        assert said.startswith("toy.knob is ")


# --- ranges -------------------------------------------------------------------------------------------------------------


def toy(**fields: Any) -> Toy:
    return Toy(**fields)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"margin": -0.1}, "at least 0 and at most 1, got -0.1"),
        ({"margin": 1.01}, "at least 0 and at most 1, got 1.01"),
        ({"scale": 0}, "above 0, got 0"),
        ({"scale": -1}, "above 0, got -1"),
        ({"each": 0}, "at least 1, got 0"),
        ({"tau": -1}, "at least 0, got -1"),
        ({"start": -0.5}, "at least 0, got -0.5"),
    ],
)
def test_out_of_range_is_refused_with_the_range(fields, said):
    name = next(iter(fields))
    line = refused(lambda: toy(**fields), f"{display_name(Toy)}.{name} is ")
    assert line.endswith(said)


@pytest.mark.parametrize(
    "fields", [{"margin": 0}, {"margin": 1}, {"scale": 1e-9}, {"each": 1}, {"tau": 0}, {"tau": "val"}, {"start": None}]
)
def test_bounds_themselves_are_allowed(fields):
    made = toy(**fields)
    assert {name: getattr(made, name) for name in fields} == fields


def test_whole_numbers_become_floats_when_it_is_made():
    assert type(toy(margin=1).margin) is float
    assert toy(margin=1) == toy(margin="1") == toy(margin=1.0)
    assert type(toy(each=2.0).each) is int


def test_knobs_are_the_fields():
    assert list(knobs(Toy)) == [f.name for f in dataclasses.fields(Toy)]
    assert knobs(Toy)["each"][0] is int


# --- setting ------------------------------------------------------------------------------------------------------------


def test_settings_are_copied_in_and_leave_the_original():
    original = toy()
    made = with_knobs(original, {"margin": "0.25", "tau": "val", "inner.rate": "0.3"}, "toy")
    assert (made.margin, made.tau, made.inner.rate) == (0.25, "val", 0.3)
    assert original == toy()


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("margn", "1", ("margn", "'margin'", "toy")),
        ("inner.rat", "1", ("rat", "'rate'", "toy.inner")),
        ("inner.rate", "fast", ("toy.inner.rate", "a number", "'fast'")),
        ("margin", "two", ("toy.margin", "a number", "'two'")),
        ("margin", "2", ("margin", "at most 1")),
        ("margin.low", "2", ("toy.margin", "no fields inside")),
    ],
)
def test_wrong_settings_are_refused_in_one_line(path, value, named):
    refused(lambda: with_knobs(toy(), {path: value}, "toy"), *named)


def test_an_unknown_knob_suggests_the_nearest():
    with pytest.raises(UnknownName) as caught:
        with_knobs(toy(), {"scal": 1}, "toy")
    assert "scale" in caught.value.suggestions


# --- written down -------------------------------------------------------------------------------------------------------


def test_a_thing_is_written_as_one_would_type_it():
    name = display_name(Toy)
    assert str(toy()) == name
    assert str(toy(margin=0.25, tau="val")) == f"{name}(margin=0.25,tau=val)"


@pytest.mark.parametrize("fields", [{"start": None}, {"mirrored": True}, {"mode": "sum"}, {"margin": 1e-7}, {"tau": "val"}, {"each": 12}])
def test_what_is_written_can_be_typed(fields):
    """The text after the name, read again, is the same thing."""
    text = str(toy(**fields))
    inside = text[text.index("(") + 1 : -1]
    knob_name, _, value = inside.partition("=")
    assert with_knobs(toy(), {knob_name: value}, "toy") == toy(**fields)


# --- stages -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Stage(), "criterion or an objective"),
        (lambda: Stage(criterion=CrossEntropyLoss(), objective=CrossEntropyLoss()), "one of the two"),
        (lambda: Stage(criterion=CrossEntropyLoss(), streams={"other": Stream()}), "main"),
        (lambda: Stage(criterion=CrossEntropyLoss(), until=0.0), "until=0.0"),
        (lambda: Stage(criterion=CrossEntropyLoss(), until=1.5), "until=1.5"),
        (lambda: Best(split="test"), "test"),
    ],
)
def test_impossible_stages_are_refused_in_one_line(make, named):
    refused(make, named)
