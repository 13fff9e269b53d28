"""Whether rows of a table were made alike: what each took, and what differs beside the method; read from the runs' records alone.

A method's loss, sampler and post-hoc part are the method. All else is setting or budget: data, network and head, recipe, augmentation,
seeds, steps and images, device and versions. Where it is not equal, the row says so.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from tailwise.errors import UnknownName

if TYPE_CHECKING:
    from tailwise.study.runs import Run

NAMED = 3
"""Fields of a recipe, or rows, that are named; the others are counted."""

ELSEWHERE = {"part", "name", "net", "pretrained", "image_size", "augment", "normalise", "threads", "cuts", "second", "sources"}
"""Fields of a recipe that reach no result, or that are compared as what became of them: network, image size, steps, threads."""


@dataclass(frozen=True)
class Effort:
    """What a seed of a row took, all its folds together, whether it was trained alone or shared with others: the mean over seeds.

    Attributes:
        steps: optimiser steps.
        images_seen: rows shown, over all stages and streams; each view of a row counts. None where an earlier version left no count.
        passes: rows of which a gradient was taken: twice as many as were shown under SAM. None likewise.
        seconds: of training, by whichever command it was done; frozen features, decoding and test passes are not in it.
    """

    steps: float
    images_seen: float | None
    passes: float | None
    seconds: float

    @classmethod
    def of(cls, runs: Sequence[Run]) -> Effort:
        """Average over the runs of a row, of which there is at least one."""
        records = [run.record for run in runs]
        folds = (records[0].get("fold") or {"of": 1})["of"]
        images_seen, passes = (_mean([record.get(name) for record in records]) for name in ("images_seen", "passes"))
        return cls(
            steps=folds * statistics.fmean(record["steps"] for record in records),
            images_seen=None if images_seen is None else folds * images_seen,
            passes=None if passes is None else folds * passes,
            seconds=folds * statistics.fmean(sum(leg["seconds"] for leg in record["legs"]) for record in records),
        )

    def to_dict(self) -> dict[str, float | None]:
        """Give plain values by name."""
        return asdict(self)

    def __str__(self) -> str:
        said = [f"{self.steps:,.0f} steps"]
        said += [f"{self.images_seen:,.0f} images"] if self.images_seen is not None else []
        said += [f"{self.passes:,.0f} passes"] if self.passes not in (None, self.images_seen) else []
        return ", ".join([*said, f"{self.seconds:,.1f} s"])

    @property
    def images_a_step(self) -> float | None:
        """Rows shown in a step; None where they were not counted."""
        return None if self.images_seen is None else self.images_seen / self.steps

    @property
    def passes_an_image(self) -> float | None:
        """Gradients taken of a row that is shown; None where they were not counted."""
        return None if self.passes is None or self.images_seen is None else self.passes / self.images_seen


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if len(known) == len(values) else None


def differences(rows: Mapping[str, Sequence[Run]], against: str) -> dict[str, tuple[str, ...]]:
    """Say of each row what is not as in one of them, beside the method itself.

    Args:
        rows: row's text -> its runs.
        against: the row that the others are held against.

    Returns:
        Row's text -> phrases: of the data, the network, the recipe, the seeds, the budget, the machine, each only where it differs. None
        for the row itself, and for rows without runs.

    Raises:
        UnknownName: no row is called like `against`.
    """
    if against not in rows:
        raise UnknownName("row", against, rows)
    return {text: tuple(_differing(runs, rows[against])) if text != against else () for text, runs in rows.items()}


def equal_setting(rows: Mapping[str, Sequence[Run]]) -> str:
    """Say in a sentence what most rows have in common, and which rows do not.

    Args:
        rows: row's text -> its runs; rows without runs are left out.
    """
    facts = {text: _facts(runs) for text, runs in rows.items() if runs}
    if not facts:
        return ""
    said = (_common({text: found[topic] for text, found in facts.items()}) for topic in next(iter(facts.values())))
    return f"All rows: {'; '.join(phrase for phrase in said if phrase)}."


# --- what is compared -------------------------------------------------------------------------------------------------


class _Fact(NamedTuple):
    """Something of a row's setting: in words, and as the value that is compared; None where there is nothing of the kind."""

    words: str
    value: Any


def _facts(runs: Sequence[Run]) -> dict[str, _Fact]:
    """Give what a row was made with, by topic; where its runs are not alike, all that there is."""
    facts = {}
    for topic, read in TOPICS.items():
        found = {repr(fact.value): fact for fact in (read(run.record) for run in runs)}
        words = dict.fromkeys(fact.words for fact in found.values())
        facts[topic] = _Fact(" or ".join(words), [found[value].value for value in sorted(found)])
    seeds = sorted({run.record["seed"] for run in runs})
    return {**facts, "seeds": _Fact(_seeds(seeds), seeds)}


def _data(record: Mapping[str, Any]) -> _Fact:
    data, fold = record["data"], record.get("fold")
    if fold:
        return _Fact(f"{fold['of']} folds of {sum(data['splits'].values()):,} images", data["identity"])
    real, shown = sum(data["train_counts"]), data["splits"]["train"]
    generated = f" and {shown - real:,} generated" if shown != real else ""
    return _Fact(f"{real:,} training images{generated}", data["identity"])


def _network(record: Mapping[str, Any]) -> _Fact:
    network, extractor = record["network"], record["extractor"]
    if extractor is not None:
        return _Fact(f"frozen {extractor['network']}", [extractor["network"], extractor.get("weights")])
    weights, branches = network["weights"], network["branches"]
    tag = f" from {weights['name']}" if weights else ""
    split = f" in {branches['count']} branches" if branches else ""
    return _Fact(f"{network['backbone']}{tag}{split}", [network["backbone"], weights and weights["sha256"], network["branches"]])


def _head(record: Mapping[str, Any]) -> _Fact:
    """Name a head as one says it: `ScaledLinearHead` is a scaled linear head."""
    head = record["network"]["head"]
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in head["part"]).strip()
    return _Fact(words, head)


def _size(record: Mapping[str, Any]) -> _Fact:
    """Give the size of images, and how they are normalised."""
    if record["extractor"] is not None:
        shape, normalise = [record["extractor"]["size"]] * 2, record["extractor"]["normalise"]
    else:
        shape, normalise = record["data"]["shape"][:-1], record["recipe"]["normalise"]
    return _Fact(f"{' x '.join(map(str, shape))} pixels" if shape else "feature vectors", [shape, normalise])


def _recipe(record: Mapping[str, Any]) -> _Fact:
    recipe = record["recipe"]
    return _Fact(f"recipe {recipe['name']} ({_number(recipe['epochs'], 'epoch')}, batch {recipe['batch_size']})", _fields(recipe))


def _second(record: Mapping[str, Any]) -> _Fact:
    """Give the recipe of second stages; nothing of a row that has none."""
    if not any(leg.get("recipe") == "second" for leg in record["legs"]):
        return _Fact("", None)
    recipe = record["recipe"]["second"]
    return _Fact(f"second stage ({_number(recipe['epochs'], 'epoch')}, batch {recipe['batch_size']})", _fields(recipe, "second."))


def _fields(part: Mapping[str, Any], inside: str = "") -> dict[str, Any]:
    """Lay the fields of a recipe out, those of its parts by dotted names."""
    found: dict[str, Any] = {}
    for name, value in part.items():
        if isinstance(value, Mapping) and "part" in value and name not in ELSEWHERE:
            found[f"{inside}{name}"] = value["part"]
            found |= _fields(value, f"{inside}{name}.")
        elif name not in ELSEWHERE:
            found[f"{inside}{name}"] = value
    return found


def _augmentation(record: Mapping[str, Any]) -> _Fact:
    augment = record["recipe"]["augment"]
    return _Fact(f"augmentation {' + '.join(part['part'] for part in augment)}" if augment else "no augmentation", augment or None)


def _mixing(record: Mapping[str, Any]) -> _Fact:
    """Give what mixes rows: augmentation, even where it is what the method adds."""
    found = _of_legs(record, "mixing")
    return _Fact(f"rows mixed by {' and '.join(found)}" if found else "", found or None)


def _averaging(record: Mapping[str, Any]) -> _Fact:
    found = _of_legs(record, "average")
    return _Fact(f"weights averaged by {' and '.join(found)}" if found else "", found or None)


def _epoch(record: Mapping[str, Any]) -> _Fact:
    """Give which epoch was kept."""
    found = [leaves for leaves in _of_legs(record, "leaves") if leaves != "last"]
    words = " and ".join(found).replace("best by", "best epoch by").replace("_", " ")
    return _Fact(words or "last epoch", found)


def _of_legs(record: Mapping[str, Any], field: str) -> list[str]:
    return list(dict.fromkeys(leg[field] for leg in record["legs"] if leg.get(field)))


def _machine(record: Mapping[str, Any]) -> _Fact:
    numerics = record["numerics"]
    threads = _number(int(numerics["threads"]), "thread")
    processes = f", {numerics['processes']} processes" if numerics["processes"] != "1" else ""
    precision = "" if numerics["precision"] == "float32" else f", {numerics['precision']}"
    speed = "" if numerics.get("speed", "fast") == "fast" else f", {numerics['speed']}"
    return _Fact(f"{numerics['device']}{processes}, {threads}{precision}{speed}", {**numerics, "tailwise": record["version"]})


TOPICS: Mapping[str, Callable[[Mapping[str, Any]], _Fact]] = {
    "recipe": _recipe,
    "second": _second,
    "network": _network,
    "head": _head,
    "size": _size,
    "data": _data,
    "augmentation": _augmentation,
    "mixing": _mixing,
    "averaging": _averaging,
    "epoch": _epoch,
    "machine": _machine,
}


# --- in words ---------------------------------------------------------------------------------------------------------


def _differing(runs: Sequence[Run], base: Sequence[Run]) -> Iterator[str]:
    """Say what differs between two rows, a phrase for each group of topics."""
    if not runs or not base:
        return
    mine, theirs = _facts(runs), _facts(base)

    def plainly(*topics: str) -> Iterator[str]:
        return (_instead(topic, mine[topic], theirs[topic]) for topic in topics if mine[topic].value != theirs[topic].value)

    groups: tuple[Iterable[str], ...] = (
        plainly("data"),
        plainly("network", "head", "size"),
        _other_recipe(runs[0].record, base[0].record),
        plainly("augmentation", "mixing", "averaging", "epoch"),
        plainly("seeds"),
        _other_budget(runs, base),
        _other_machine(mine["machine"].value, theirs["machine"].value),
    )
    yield from filter(None, map(", ".join, groups))


def _instead(topic: str, mine: _Fact, theirs: _Fact) -> str:
    """Say what stands in the place of what, or what is there at all; where the words are the same, that it is another."""
    if theirs.value == [None]:
        return mine.words
    if mine.value == [None]:
        return mine.words or f"no {theirs.words}"
    return f"{mine.words}, not {_short(theirs.words, mine.words)}" if mine.words != theirs.words else f"other {OTHERS.get(topic, topic)}"


def _short(words: str, beside: str) -> str:
    """Leave out the first word and the last ones where two phrases share them; numbers stay.

    >>> _short("augmentation Flip", "augmentation PadCrop"), _short("292 training images", "352 training images")
    ('Flip', '292')
    """
    mine, others = words.split(), beside.split()
    if len(mine) > 1 and mine[0] == others[0] and mine[0].isalpha():
        mine = mine[1:]
    while len(mine) > 1 and others and mine[-1] == others[-1] and mine[-1].isalpha():
        mine, others = mine[:-1], others[:-1]
    return " ".join(mine)


OTHERS = {
    "data": "images, or another split",
    "network": "weights",
    "head": "constants of the head",
    "size": "normalisation",
    "augmentation": "strength of augmentation",
}
"""What differs where the words are the same."""


def _other_recipe(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[str]:
    """Name the recipe where it is another, and the fields that differ; a second stage is compared where both rows have one."""
    fields, others = ({**_recipe(record).value, **(_second(record).value or {})} for record in (mine, theirs))
    changed = [name for name in fields if name in others and fields[name] != others[name]]
    name, other = mine["recipe"]["name"], theirs["recipe"]["name"]
    said = [f"{field} {_value(fields[field])} (not {_value(others[field])})" for field in changed[:NAMED]]
    more = [f"{len(changed) - NAMED} more fields"] if len(changed) > NAMED else []
    if name != other:
        yield ": ".join(filter(None, [f"recipe {name}, not {other}", ", ".join([*said, *more])]))
    elif len(changed) == 1:
        yield f"recipe.{changed[0]} {_value(fields[changed[0]])}, not {_value(others[changed[0]])}"
    elif changed:
        yield f"recipe: {', '.join([*said, *more])}"


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        return "(" + ", ".join(f"{name}={_value(item)}" for name, item in value.items() if name != "part") + ")"
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _other_budget(runs: Sequence[Run], base: Sequence[Run]) -> Iterator[str]:
    """Compare steps, with the stages that make the difference, and images and passes a step."""
    mine, theirs = Effort.of(runs), Effort.of(base)
    if round(mine.steps) != round(theirs.steps):
        why = " and ".join(_other_epochs(runs, base))
        yield f"{_more(mine.steps - theirs.steps, 'step')}{f': {why}' if why else ''}"
    for what, here, there in (
        ("images a step", mine.images_a_step, theirs.images_a_step),
        ("passes an image", mine.passes_an_image, theirs.passes_an_image),
    ):
        if here is not None and there is not None and f"{here:.3g}" != f"{there:.3g}":
            yield f"{here:.3g} {what}, not {there:.3g}"


def _other_epochs(runs: Sequence[Run], base: Sequence[Run]) -> Iterator[str]:
    """Compare epochs, all parameters learning or a part of them alone."""
    mine, theirs = _epochs(runs), _epochs(base)
    for learning in dict.fromkeys([*theirs, *mine]):
        change = mine.get(learning, 0) - theirs.get(learning, 0)
        if change:
            yield _more(change, "epoch") + (f" on {learning}" if learning else "")


def _epochs(runs: Sequence[Run]) -> dict[str, float]:
    """Count epochs of a run by what learns: nothing is said where it is what the recipe says."""
    found: dict[str, float] = {}
    for record in (run.record for run in runs):
        usual = [entry["pattern"] for entry in record["recipe"]["learn"]]
        for leg in record["legs"]:
            patterns = leg.get("learn", usual)
            learning = "" if patterns == usual or "*" in patterns else " and ".join(dict.fromkeys(map(_parameters, patterns)))
            found[learning] = found.get(learning, 0) + leg.get("epochs", 0) / len(runs)
    return found


def _parameters(pattern: str) -> str:
    """Name a pattern of parameters: `net.head.*` is the head, `net.head.scale` its scale, `net.branches.1.head.*` one of the heads."""
    name = re.sub(r"^branches\.\d+\.head", "heads", pattern.removeprefix("net.").removesuffix(".*"))
    return f"the {name.removeprefix('objective.').replace('.', ' ').replace('_', ' ')}"


def _other_machine(mine: Sequence[Mapping[str, str]], theirs: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """Compare device, processes, threads, precision and versions."""
    for name in dict.fromkeys(name for found in (*mine, *theirs) for name in found):
        here, there = (" and ".join(dict.fromkeys(found.get(name, "none") for found in of_row)) for of_row in (mine, theirs))
        if here != there:
            yield f"{MACHINE.get(name, name + ' {}').format(here)}, not {there}"


MACHINE = {"device": "on {}", "capability": "CPU with {}", "precision": "in {}", "speed": "by the {} loop"}
"""What is said of the machine; of all else its name and value, as in `threads 2` or `torch 2.9`."""


def _common(facts: Mapping[str, _Fact]) -> str:
    """Say what most rows have, the first among equals, and which have not; of what is nothing usual, which rows have it."""
    groups: dict[str, list[str]] = {}
    for text, fact in facts.items():
        groups.setdefault(repr(fact.value), []).append(text)
    usual = max(groups.values(), key=len)
    words = {value: facts[group[0]].words for value, group in groups.items()}
    if len(groups) > 1 and (nothing := repr([None])) in groups:
        return "; ".join(f"{words[value]} in {_some(group)}" for value, group in groups.items() if value != nothing)
    others = [text for group in groups.values() if group is not usual for text in group]
    return facts[usual[0]].words + (f" but for {_some(others)}" if others else "")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _seeds(seeds: Sequence[int]) -> str:
    """Name seeds, three or more in a row by the first and the last.

    >>> _seeds([0]), _seeds([0, 1]), _seeds([0, 1, 2])
    ('seed 0', 'seeds 0, 1', 'seeds 0-2')
    """
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"seeds {seeds[0]}-{seeds[-1]}"
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _more(number: float, what: str) -> str:
    return f"{_number(abs(number), what)} {'more' if number > 0 else 'fewer'}"


def _number(number: float, what: str) -> str:
    return f"{number:,.4g} {what}{'' if number == 1 else 's'}" if number < 1000 else f"{number:,.0f} {what}s"
