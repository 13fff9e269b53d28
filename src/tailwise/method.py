"""The form that every method has: a frozen dataclass with a card, whose stages are data made of parts. No torch here."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeVar

from tailwise.counts import ClassCounts
from tailwise.errors import BadValue, Clash
from tailwise.groups import Groups
from tailwise.knobs import Knobbed, knobs
from tailwise.knobs import knob as knob
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

SURVEY: dict[str, tuple[str, ...]] = {
    "baseline": ("baseline",),
    "class re-balancing": ("re-sampling", "class-sensitive", "logit adjustment"),
    "information augmentation": ("information augmentation",),
    "module improvement": ("representation", "classifier design", "decoupled", "ensemble"),
    "optimisation": ("optimisation",),
}
"""The survey's three branches, with their families in its order, between what comes before and after them."""

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
        why: why it helps the tail, in a sentence or two.
        avoid: when not to use it, in a sentence or two.
        needs: what it needs of the data or the network beyond images and labels.
        defaults: where the knobs' defaults come from.
        departs: how ours departs from the authors' code, and why.
        cost: full-network forwards (with backward) a step, relative to plain training.
        processes: why several processes cannot equal one with the joint batch; empty where they do.
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
    why: str = ""
    avoid: str = ""
    needs: str = "class counts"
    defaults: str = ""
    departs: str = ""
    cost: str = "1 forward"
    processes: str = ""
    aliases: tuple[str, ...] = ()
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    status: Status = "formula"
    prior_twice: str = ""

    @property
    def year(self) -> int | None:
        """The year of the first paper; None for what has none."""
        return year_of(self.paper)


def year_of(paper: str) -> int | None:
    """Give the first year that a reference names.

    >>> year_of("Ren et al., NeurIPS 2020; Menon et al., ICLR 2021"), year_of("")
    (2020, None)
    """
    found = re.search(r"\b(?:19|20)\d\d\b", paper)
    return int(found[0]) if found else None


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
        backbone: name of a network, as in `--net`: ours, a timm model, or one of these with pre-trained weights.
        head: name of a head, or a head's description with other fields.
        branches: a description of where the chain of blocks splits into twins, or None.
        weights: filled in by `models.resolve`: the pre-trained weights that the backbone's name asks for, by the hash of their
            content; None for random values.
    """

    backbone: str | None = None
    head: Any = None
    branches: Any = None
    weights: Any = None

    @property
    def heads(self) -> tuple[str, ...]:
        """Patterns of the tensors of its heads: of the one head, or of those of the branches."""
        return ("net.head.*",) if self.branches is None else tuple(self.branches.heads)

    @property
    def has_one_head(self) -> bool:
        """Whether one head gives the logits, and not one a branch."""
        return self.heads == ("net.head.*",)


@dataclass(frozen=True)
class Stream:
    """Named rows for a step.

    Attributes:
        split: where rows come from; `val` and `test` only when the user allows it.
        sampler: a sampler part, or None for every row once an epoch in random order.
        views: one entry a view: `recipe` for the recipe's augmentation, `plain` for none, or a tuple of augmentations, among which
            `recipe` stands for the recipe's own.
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
        gradient: a gradient rule part such as SAM, or None for the plain gradient; one that takes several a step says so in `passes`.
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


# --- methods and modifiers --------------------------------------------------------------------------------------------


class Undecided(Exception):
    """Raised when a method looks at a result that is not there yet."""


class Pending:
    """Stands for a stage's result while planning; looking at it raises `Undecided`."""

    def __getattr__(self, name: str) -> Any:
        raise Undecided


Stages = Generator["Stage", Any, None]


def advance(stages: Iterator[Stage], result: Any = None) -> Stage | None:
    """Hand over the result of the stage before, and give the next stage, or None at the end."""
    try:
        return stages.send(result) if isinstance(stages, Generator) else next(stages)
    except StopIteration:
        return None


def relay(stages: Iterable[Stage], change: Callable[[Stage], Stage] = lambda stage: stage) -> Stages:
    """Yield stages, each changed, and hand the result of each to the method that may look at it.

    Args:
        stages: a method's; a generator is sent the results, a list does not ask.
        change: applied to each stage.
    """
    made, result = iter(stages), None
    while (stage := advance(made, result)) is not None:
        result = yield change(stage)


def leaving(stages: Iterable[Stage]) -> Generator[Stage, Any, Net]:
    """Yield stages as they are, and return the network that they leave: `net = yield from leaving(self.base.stages(about))`.

    Args:
        stages: a method's, to which more are added; one that names no network keeps the one before, at first the run's.
    """
    nets = [Net()]

    def seen(stage: Stage) -> Stage:
        nets.append(stage.net or nets[-1])
        return stage

    yield from relay(stages, seen)
    return nets[-1]


def known_stages(stages: Iterable[Stage], who: str) -> list[Stage]:
    """List all stages before the first one runs, for a modifier that must know which one is the last.

    Args:
        stages: a method's.
        who: name of the modifier.

    Raises:
        Clash: the method decides by results what follows.
    """
    made: list[Stage] = []
    waiting = relay(stages)
    try:
        while (stage := advance(waiting, Pending() if made else None)) is not None:
            made.append(stage)
    except Undecided:
        raise Clash(f"{who} must know which stage is the last, and this method decides that by results") from None
    return made


class Method(Knobbed):
    """A method of the field. Subclasses are frozen dataclasses with `@method(Card(...))`; their fields are its knobs."""

    card: ClassVar[Card]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let `stages` give any iterable, and others `yield from` it."""
        super().__init_subclass__(**kwargs)
        if "stages" in vars(cls):
            written = vars(cls)["stages"]

            @functools.wraps(written)
            def stages(self: Method, about: About) -> Stages:
                return relay(written(self, about))

            cls.stages = stages  # type: ignore[method-assign]

    @classmethod
    def from_text(cls, text: str) -> Method:
        """Read a method as a user types it, for knobs that are methods."""
        from tailwise.registry import parse_method

        return parse_method(text)

    def stages(self, about: About) -> Iterable[Stage]:
        """Yield the stages, in order. `result = yield stage` gives what the stage left, for methods that decide by it."""
        raise NotImplementedError

    def posthoc(self, about: About) -> Any:
        """Give the post-hoc part applied to the predictions, or None."""
        return None


class Modifier(Knobbed):
    """Maps a method's stages to other stages, as in `--with sam`. Subclasses are frozen dataclasses with `@modifier(Card(...))`."""

    card: ClassVar[Card]
    sets: ClassVar[str] = ""
    """The field of a stage that it sets; two modifiers of the same field clash."""

    def modify(self, stages: Iterable[Stage], about: About) -> Iterable[Stage]:
        """Yield the modified stages."""
        raise NotImplementedError


K = TypeVar("K", bound="type[Method] | type[Modifier]")


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
