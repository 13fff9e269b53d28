"""The form that every method has: a frozen dataclass with a card, whose stages are data made of parts. No torch here."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
import weakref
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeVar

from tailwise.counts import ClassCounts
from tailwise.errors import BadValue, UnknownName
from tailwise.groups import Groups
from tailwise.specification import UNDECIDED, code_digest

Family = Literal[
    "baseline",
    "re-sampling",
    "class-sensitive",
    "logit adjustment",
    "information augmentation",
    "representation",
    "classifier design",
    "decoupled",
    "ensemble",
    "optimisation",
]
"""The families of the survey *Deep Long-Tailed Learning* (Zhang et al., TPAMI 2023), with two for what it takes as given."""

Status = Literal["formula", "values", "panel", "reproduced"]


@dataclass(frozen=True)
class Card:
    """What a method is, as data: the catalogue, the documentation and the bibliography are made from it.

    Attributes:
        title: the method's name in words.
        family: the survey's family.
        paper: authors, venue and year; empty for what has no paper.
        arxiv: number of the preprint.
        formula: the one formula to remember.
        needs: what it needs of the data or the network beyond images and labels.
        defaults: where the knobs' defaults come from.
        departs: how ours departs from the authors' code, and why.
        cost: full-network forwards (with backward) a step, relative to plain training.
        aliases: other names that people type.
        presets: named settings of the knobs, each with its source in `defaults`.
        status: what backs it: `formula`, `values`, `panel` or `reproduced`.
        prior_twice: why correcting the prior twice is meant here; empty where it is not.
    """

    title: str
    family: Family
    paper: str = ""
    arxiv: str = ""
    formula: str = ""
    needs: str = "class counts"
    defaults: str = ""
    departs: str = ""
    cost: str = "1 forward"
    aliases: tuple[str, ...] = ()
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    status: Status = "formula"
    prior_twice: str = ""


@dataclass(frozen=True)
class About:
    """What a method sees of the data: no name of the set, no paths, no device.

    Attributes:
        counts: real training images a class, and what the stage shows.
        groups: many, medium, few by the real counts.
        classes: class names in label order.
        epochs: length of the recipe.
        shape: of one row: (height, width, channels), or (D,) for feature vectors.
    """

    counts: ClassCounts
    groups: Groups
    classes: tuple[str, ...]
    epochs: int
    shape: tuple[int, ...]


# --- stages: data made of parts ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Net:
    """A network by description: a backbone's name and a head's, or None for those of the run.

    Attributes:
        backbone: name in the catalogue of networks.
        head: name of a head, or a head's description with other fields.
        branches: a description of where the chain of blocks splits into twins, or None.
    """

    backbone: str | None = None
    head: Any = None
    branches: Any = None


@dataclass(frozen=True)
class Stream:
    """Named rows for a step.

    Attributes:
        split: where rows come from; `val` and `test` only when the user allows it.
        sampler: a sampler part, or None for every row once an epoch in random order.
        views: one entry a view: `recipe` for the recipe's augmentation, `plain` for none, or a tuple of augmentations.
        batch_size: rows a step; None for the recipe's times `batch_share`.
        batch_share: share of the recipe's batch, when `batch_size` is None.
        labelled: whether targets are shown.
    """

    split: str = "train"
    sampler: Any = None
    views: tuple[Any, ...] = ("recipe",)
    batch_size: int | None = None
    batch_share: float = 1.0
    labelled: bool = True


@dataclass(frozen=True)
class Learn:
    """Parameters that learn, by name pattern, as in `net.head.*` or `objective.*`; the first pattern that matches decides.

    Attributes:
        pattern: shell-style pattern on names such as `net.blocks.stage1.0.conv1.weight`.
        rate: factor on the optimiser's learning rate.
        weight_decay: instead of the optimiser's, or None.
        optimiser: `main`, or a name in the stage's `optimisers`.
    """

    pattern: str = "*"
    rate: float = 1.0
    weight_decay: float | None = None
    optimiser: str = "main"


@dataclass(frozen=True)
class Start:
    """How a stage begins.

    Attributes:
        clock: `continue` keeps optimisers, averages and the clock; `restart` begins them anew.
        reset: patterns of tensors that are initialised again, the rest is carried over.
        drop: patterns of the earlier network's tensors that a new network does not have.
        carry: (prefix before, prefix here) pairs of tensors that an objective takes up from elsewhere, as in
            `("net.", "objective.teacher.")`; what it learnt itself goes on by name where its class stays.
    """

    clock: Literal["continue", "restart"] = "continue"
    reset: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    carry: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Best:
    """Leave the best state by a metric on a validation split instead of the last one.

    Attributes:
        metric: `macro_accuracy` or `accuracy`.
        split: `val`; a test split never chooses.
    """

    metric: Literal["macro_accuracy", "accuracy"] = "macro_accuracy"
    split: str = "val"

    def __post_init__(self) -> None:
        if self.split == "test":
            raise BadValue(
                "split 'test' cannot choose a state: every figure on it would be too high. "
                "Set some of train aside with --split 80/10/10 and choose on 'val', or keep the last state"
            )


@dataclass(frozen=True)
class Stage:
    """A stretch of training, described.

    Attributes:
        criterion: a criterion part for the ready-made objective; or
        objective: an objective part.
        net: a network to build; None keeps the one found. The first stage fills what is None from the run.
        streams: named streams; `main` sets the length of an epoch, the others go round.
        mixing: a mixing part applied to `main`, or None.
        learn: which parameters learn, first match first; `recipe` stands for the recipe's own entries, as None does for all.
        optimisers: named optimiser parts beside the recipe's `main`.
        gradient: a gradient rule part such as SAM, or None for the plain gradient.
        average: an averaging part such as EMA, or None.
        frozen_norm: whether normalisation in parts that do not learn uses its stored statistics (`eval`) or goes on (`train`).
        until: share of the recipe at which the stage ends.
        recipe: `own name` of a recipe inside the run's recipe, such as `second`; None for the run's.
        start: how it begins.
        leaves: `last`, or `Best(...)`.
        name: for people; reaches no result.
    """

    criterion: Any = None
    objective: Any = None
    net: Net | None = None
    streams: Mapping[str, Stream] = field(default_factory=lambda: {"main": Stream()})
    mixing: Any = None
    learn: tuple[Learn | Literal["recipe"], ...] | None = None
    optimisers: Mapping[str, Any] = field(default_factory=dict)
    gradient: Any = None
    average: Any = None
    frozen_norm: Literal["eval", "train"] = "eval"
    until: float = field(default=1.0, metadata=UNDECIDED)
    recipe: str | None = field(default=None, metadata=UNDECIDED)
    start: Start = Start()
    leaves: Literal["last"] | Best = field(default="last", metadata=UNDECIDED)
    name: str = field(default="", metadata=UNDECIDED)

    def __post_init__(self) -> None:
        if (self.criterion is None) == (self.objective is None):
            raise BadValue("a stage has a criterion or an objective of its own: give one of the two")
        if "main" not in self.streams:
            raise BadValue(f"a stage needs a stream called 'main', got {sorted(self.streams)}")
        if not 0 < self.until <= 1:
            raise BadValue(f"a stage ends at a share of its recipe in (0, 1], got until={self.until}")


# --- knobs ------------------------------------------------------------------------------------------------------------


def knob(default: Any, *, low: float | None = None, high: float | None = None, above: float | None = None, help: str) -> Any:
    """Declare a knob: a typed field with its range and one line of help.

    Args:
        default: the default; the card says where it comes from.
        low: smallest value allowed.
        high: largest value allowed.
        above: values must exceed this one.
        help: one line, with the unit.
    """
    return field(default=default, metadata={"low": low, "high": high, "above": above, "help": help})


class Knobbed:
    """A frozen dataclass whose fields are knobs: coerced to their types and checked when it is made."""

    card: ClassVar[Card]
    catalogue_name: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for name, (kind, knob_field) in knobs(type(self)).items():
            value = coerce(getattr(self, name), kind, f"{display_name(type(self))}.{name}")
            _check_range(value, knob_field, f"{display_name(type(self))}.{name}")
            object.__setattr__(self, name, value)

    def __str__(self) -> str:
        """Write the thing as one would type it: its name and the knobs that are not at their defaults."""
        changed = [
            f"{f.name}={'none' if getattr(self, f.name) is None else getattr(self, f.name)}"
            for f in dataclasses.fields(self)  # type: ignore[arg-type]
            if getattr(self, f.name) != default_of(f)
        ]
        return display_name(type(self)) + (f"({','.join(changed)})" if changed else "")


class Undecided(Exception):
    """Raised when a method looks at a result that is not there yet."""


class Pending:
    """Stands for a stage's result while planning; looking at it raises `Undecided`."""

    def __getattr__(self, name: str) -> Any:
        raise Undecided


Stages = Generator["Stage", Any, None]


def relay(stages: Iterable[Stage], change: Callable[[Stage], Stage] = lambda stage: stage) -> Stages:
    """Yield stages, each changed, and hand the result of each to the method that may look at it.

    Args:
        stages: a method's; a generator is sent the results, a list does not ask.
        change: applied to each stage.
    """
    made = iter(stages)
    result: Any = None
    while True:
        try:
            stage = made.send(result) if isinstance(made, Generator) else next(made)
        except StopIteration:
            return
        result = yield change(stage)


class Method(Knobbed):
    """A method of the field. Subclasses are frozen dataclasses with `@method(Card(...))`; their fields are its knobs."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let `stages` give any iterable, and others `yield from` it."""
        super().__init_subclass__(**kwargs)
        if "stages" in vars(cls):
            written = vars(cls)["stages"]

            @functools.wraps(written)
            def stages(self: Method, about: About) -> Stages:
                return relay(written(self, about))

            cls.stages = stages  # type: ignore[method-assign]

    def stages(self, about: About) -> Iterable[Stage]:
        """Yield the stages, in order. `result = yield stage` gives what the stage left, for methods that decide by it."""
        raise NotImplementedError

    def posthoc(self, about: About) -> Any:
        """Give the post-hoc part applied to the predictions, or None."""
        return None


class Modifier(Knobbed):
    """Maps a method's stages to other stages, as in `--with sam`. Subclasses are frozen dataclasses with `@modifier(Card(...))`."""

    sets: ClassVar[str] = ""
    """The field of a stage that it sets; two modifiers of the same field clash."""

    def modify(self, stages: Iterable[Stage], about: About) -> Iterable[Stage]:
        """Yield the modified stages."""
        raise NotImplementedError


K = TypeVar("K", bound=type[Knobbed])


def method(card: Card) -> Callable[[K], K]:
    """Attach a card to a method and remember its code as it is now."""

    def attach(kind: K) -> K:
        kind.card = card
        code_digest(kind)
        knobs(kind)
        return kind

    return attach


modifier = method
"""Attach a card to a modifier; the same as `method`, under the word that one reads."""


def display_name(kind: type) -> str:
    """Give the catalogue's name of a method or modifier: its file's name with dashes, unless it was loaded under another."""
    return getattr(kind, "catalogue_name", "") or kind.__module__.rsplit(".", 1)[-1].replace("_", "-")


def default_of(knob_field: dataclasses.Field[Any]) -> Any:
    """Give a field's default value."""
    if knob_field.default_factory is not dataclasses.MISSING:
        return knob_field.default_factory()
    return knob_field.default


_known_knobs: weakref.WeakKeyDictionary[type, dict[str, tuple[Any, dataclasses.Field[Any]]]] = weakref.WeakKeyDictionary()


def knobs(kind: type) -> dict[str, tuple[Any, dataclasses.Field[Any]]]:
    """List the knobs of a dataclass: name -> (declared type, field). Types are looked up once, while the module is at hand."""
    if kind not in _known_knobs:
        hints = typing.get_type_hints(kind)
        _known_knobs[kind] = {f.name: (hints[f.name], f) for f in dataclasses.fields(kind)}
    return _known_knobs[kind]


def with_knobs(thing: Any, settings: Mapping[str, Any], what: str) -> Any:
    """Copy a dataclass with other fields, given as values or as text; `a.b` sets field b of field a.

    Raises:
        UnknownName: no such field, with the nearest ones.
        BadValue: a value of the wrong type or out of range.
    """
    for path, value in settings.items():
        first, _, rest = path.partition(".")
        known = knobs(type(thing))
        if first not in known:
            raise UnknownName(f"knob of {what}", first, known, see=f"`tailwise show {what}` lists them.")
        if rest:
            inner = getattr(thing, first)
            if not dataclasses.is_dataclass(inner):
                raise BadValue(f"{what}.{first} has no fields inside, so {path!r} names nothing")
            value = with_knobs(inner, {rest: value}, f"{what}.{first}")
        elif isinstance(value, str) and dataclasses.is_dataclass(getattr(thing, first)) and known[first][0] is Any:
            raise BadValue(f"{what}.{first} is {getattr(thing, first)}; set what is inside it, as in {first}.FIELD=VALUE")
        thing = dataclasses.replace(thing, **{first: coerce(value, known[first][0], f"{what}.{first}")})
    return thing


def coerce(value: Any, kind: Any, where: str) -> Any:
    """Turn a value, or the text that a user typed, into the declared type; 1 becomes 1.0 for a float, never the reverse.

    Raises:
        BadValue: the value is not of that type; `where` names the knob.
    """
    origin = typing.get_origin(kind)
    if kind is Any or isinstance(kind, TypeVar):
        return value
    if origin is Literal:
        for choice in typing.get_args(kind):
            if value == choice or str(choice) == value:
                return choice
        raise BadValue(f"{where} is one of {', '.join(map(repr, typing.get_args(kind)))}, got {value!r}")
    if origin in (typing.Union, types.UnionType):
        return _coerce_union(value, typing.get_args(kind), where)
    if origin is tuple and isinstance(value, tuple | list):
        item = typing.get_args(kind)[0]
        return tuple(coerce(v, item, f"{where}[{i}]") for i, v in enumerate(value))
    if kind in (bool, int, float, str):
        return _coerce_plain(value, kind, where)
    if isinstance(kind, type) and issubclass(kind, Method) and isinstance(value, str):
        from tailwise.catalogue import parse_method

        return parse_method(value)
    expected = origin or kind
    if isinstance(expected, type) and not isinstance(value, expected):
        raise BadValue(f"{where} is a {expected.__name__}, got {value!r}")
    return value


def _coerce_union(value: Any, kinds: tuple[Any, ...], where: str) -> Any:
    if type(None) in kinds and (value is None or value == "none"):
        return None
    reasons = []
    for kind in kinds:
        if kind is type(None):
            continue
        try:
            return coerce(value, kind, where)
        except BadValue as reason:
            reasons.append(str(reason).removeprefix(f"{where} is ").rsplit(", got", 1)[0])
    raise BadValue(f"{where} is {' or '.join(reasons)}, got {value!r}")


def _coerce_plain(value: Any, kind: type, where: str) -> Any:
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}
    wrong = BadValue(f"{where} is {words[kind]}, got {value!r}")
    if kind is bool:
        truth = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in truth:
            return truth[value.lower()]
        raise wrong
    if isinstance(value, bool) or (kind is str and not isinstance(value, str)):
        raise wrong
    try:
        made = kind(value)
    except (TypeError, ValueError, OverflowError):
        raise wrong from None
    if (kind is int and not isinstance(value, str) and made != value) or made != made:
        raise wrong
    return made


def _check_range(value: Any, knob_field: dataclasses.Field[Any], where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    if not math.isfinite(value):
        raise BadValue(f"{where} is a finite number, got {value}")
    low, high, above = (knob_field.metadata.get(name) for name in ("low", "high", "above"))
    outside = (low is not None and value < low) or (high is not None and value > high) or (above is not None and value <= above)
    if outside:
        bounds = [
            *([f"at least {low:g}"] if low is not None else []),
            *([f"above {above:g}"] if above is not None else []),
            *([f"at most {high:g}"] if high is not None else []),
        ]
        raise BadValue(f"{where} is {' and '.join(bounds)}, got {value:g}")
