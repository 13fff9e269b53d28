"""References: what a run stands on, as BibTeX and as one paragraph for a methods section."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from tailwise.errors import BadData, TailwiseError
from tailwise.method import Card
from tailwise.registry import parse_row
from tailwise.specification import key_of
from tailwise.study.measure import set_of
from tailwise.study.runs import Run
from tailwise.version import __version__

SOFTWARE = f"""@software{{tailwise,
  author = {{{{The tailwise authors}}}},
  title = {{tailwise: the workbench for long-tailed image data}},
  version = {{{__version__}}},
}}"""

NETWORKS = {"resnet": "he2016resnet", "efficientnet": "tan2019efficientnet", "mobilenetv2": "sandler2018mobilenetv2"}
"""How a network's name begins -> its reference; all others are cited through the library that they come from."""

DATA = {r"digits": "pedregosa2011sklearn", r"cifar-?100?(-lt)?": "krizhevsky2009cifar"}
"""What a data set is called, as a pattern -> its reference; all others are for the author to cite."""

SIGNS = {sign: f"\\{sign}" for sign in "_%#&${}"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "@": r"\char64{}",
}  # fmt: skip
"""What means something in LaTeX -> how it is written."""

PAPERS = {"ema": "polyak1992averaging", "best": "prechelt1998early"}
"""Modifiers whose papers are older than preprints."""


@dataclass(frozen=True)
class Citation:
    """References of runs.

    Attributes:
        bibtex: entry's key -> entry.
        paragraph: what was done, in words for a methods section, with LaTeX's `\\cite`.
        left: what has no entry here and is for the author to cite, a sentence each.
    """

    bibtex: dict[str, str]
    paragraph: str
    left: tuple[str, ...]

    def __str__(self) -> str:
        entries = "\n\n".join(self.bibtex.values())
        return "\n\n".join(part for part in (self.paragraph, *self.left, entries) if part)


def cite(runs: Sequence[Run]) -> Citation:
    """Give the references of everything that runs used: methods and their bases, modifiers, network, corrections, data, statistics.

    Args:
        runs: one or more. Those of one set, network and recipe are told together, and others in sentences of their own.

    Raises:
        BadData: no run is given.
    """
    if not runs:
        raise BadData("cite needs at least one run; give a folder that `tailwise train` or `tailwise compare` made")
    library = references()
    rows = {run.record["method"]: _cards(run) for run in runs}
    entries: dict[str, str] = {}

    def key(of: str) -> str:
        entries.setdefault(of, library[of])
        return rf"\cite{{{of}}}"

    methods = {}
    for text, cards in rows.items():
        keys = list(dict.fromkeys(_key(name, card, library, entries) for name, card in cards if card.arxiv or name in PAPERS))
        methods[text] = _title(text) + (rf"~\cite{{{','.join(keys)}}}" if keys else "")
    told = _told_together(runs)
    sentences = []
    for group in told:
        first, names = group[0].record, dict.fromkeys(run.record["method"] for run in group)
        trained = _and([methods[name] for name in names])
        sentences += [f"We trained {trained} on {_escaped(first['data']['name'])}{_data(first, key)}.", _training(group, key)]
    versions = _and(sorted({run.record["version"] for run in runs}))
    sentences += [*_corrections(runs, key), _measured(told, key)]
    sentences.append(f"All of it ran in tailwise {versions}~\\cite{{tailwise}}, on PyTorch~{key('paszke2019pytorch')}.")
    left = [f"% {text} is a method of its own file: cite its paper too." for text, cards in rows.items() if not cards]
    sets = dict.fromkeys(run.record["data"]["name"] for run in runs)
    left += [f"% Cite the source of the data set {name!r} too." for name in sets if _source(name) is None]
    return Citation({"tailwise": SOFTWARE, **entries}, " ".join(filter(None, sentences)), tuple(left))


def _told_together(runs: Sequence[Run]) -> list[list[Run]]:
    """Put runs together of which one sentence is true: of one set, one network and one recipe."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        record = run.record
        network = record["extractor"]["network"] if record["extractor"] else record["network"]["backbone"]
        groups.setdefault(key_of(set_of(run), network, record["recipe"], record["chosen"]), []).append(run)
    return list(groups.values())


@functools.cache
def references() -> dict[str, str]:
    """Read the entries that come with the package: key -> BibTeX."""
    text = files("tailwise.ship").joinpath("references.bib").read_text(encoding="utf-8")
    return {re.match(r"@\w+\{([^,]+),", entry)[1]: entry.strip() for entry in re.split(r"\n\n(?=@)", text.strip())}  # type: ignore[index]


def _cards(run: Run) -> list[tuple[str, Card]]:
    """Give name and card of a row's method, of the bases under it, and of its modifiers; nothing of a user's own file."""
    found: list[tuple[str, Card]] = []
    for text in {(run.record.get("trained_as") or run.record)["method"]: 0, run.record["method"]: 0}:
        try:
            row = parse_row(text)
        except TailwiseError:
            continue
        found += [pair for part in (row.method, *row.modifiers) for pair in _of_part(part)]
    return found


def _of_part(part: Any) -> Iterator[tuple[str, Card]]:
    yield str(part).partition("(")[0], part.card
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if hasattr(value, "card"):
            yield from _of_part(value)


def _key(name: str, card: Card, library: dict[str, str], entries: dict[str, str]) -> str:
    """Give the key of a card's paper, and put its entry among the others; of a package's own method an entry is made of its card."""
    found = PAPERS.get(name) or next((key for key, entry in library.items() if card.arxiv and f"{{{card.arxiv}}}" in entry), None)
    if found is None:
        found = f"arxiv{card.arxiv.replace('.', '')}"
        fields = f"  title = {{{card.title}}},\n  note = {{{card.paper}}},\n  eprint = {{{card.arxiv}}},\n  archiveprefix = {{arXiv}},"
        entries[found] = f"@misc{{{found},\n{fields}\n}}"
    else:
        entries.setdefault(found, library[found])
    return found


def _title(text: str) -> str:
    return rf"\texttt{{{_escaped(text)}}}"


def _escaped(text: str) -> str:
    """Write text so that LaTeX prints it, and BibTeX, which begins an entry at every @, passes it by."""
    return "".join(SIGNS.get(sign, sign) for sign in text)


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _source(data: str) -> str | None:
    return next((of for pattern, of in DATA.items() if re.fullmatch(pattern, data, re.IGNORECASE)), None)


def _data(record: Any, key: Any) -> str:
    data = record["data"]
    known = _source(data["name"])
    source = "" if known is None else f"~{key(known)}"
    splits = data["splits"]
    rest = "".join(f", {splits[name]:,} for {what}" for name, what in (("val", "validation"), ("test", "test")) if name in splits)
    ratio = f", imbalance ratio {data['imbalance_ratio']:.0f}" if data["imbalance_ratio"] else ""
    return f"{source} ({data['classes']:,} classes, {splits['train']:,} training images{rest}{ratio})"


def _training(runs: Sequence[Run], key: Any) -> str:
    record = runs[0].record
    network, recipe, extractor = record["network"], record["recipe"], record["extractor"]
    name = plain = (extractor["network"] if extractor else network["backbone"]).partition("@")[0]
    known = next((of for begin, of in NETWORKS.items() if plain.startswith(begin)), "wightman2019timm")
    source = "" if plain == "features" else f"~{key(known)}"
    what = f"a head on frozen features of {_title(name)}{source}" if extractor else f"{_title(name)}{source}"
    optimiser = recipe["optimiser"]
    seeds = sorted({run.record["seed"] for run in runs})
    chosen = "the last epoch counts" if not record["chosen"] else record["chosen"].replace("%", r"\%")
    in_a_row = len(seeds) > 2 and seeds[-1] - seeds[0] == len(seeds) - 1
    seeded = f"seeds {seeds[0]} to {seeds[-1]}" if in_a_row else f"seed{'s' if len(seeds) > 1 else ''} {_and([str(s) for s in seeds])}"
    how = f"{recipe['epochs']} epochs by {optimiser['part']} at a rate of {optimiser['rate']:g} in batches of {recipe['batch_size']}"
    return f"Each trained {what} for {how} (recipe {_title(recipe['name'])}; {seeded}; {chosen})."


def _corrections(runs: Sequence[Run], key: Any) -> Iterator[str]:
    said = {run.record["posthoc"] for run in runs if run.record["posthoc"]}
    parts = {(run.record["correction"] or {}).get("part") for run in runs}
    if said:
        yield f"After training: {'; '.join(sorted(said)).replace('%', chr(92) + '%')}."
    if parts & {"Temperature", "PriorShift"}:
        yield f"Scores were calibrated by one temperature~{key('guo2017calibration')}."
    if "PriorShift" in parts:
        yield f"Answers were moved to the class prior at test~{key('saerens2002adjusting')}."


def _measured(told: Sequence[Sequence[Run]], key: Any) -> str:
    if not any(run.is_measured for runs in told for run in runs):
        return ""
    has_rows = any(len({run.record["method"] for run in runs}) > 1 for runs in told)
    held = f", differences by Holm's procedure~{key('holm1979simple')}" if has_rows else ""
    return (
        "Accuracies are means over classes with 95\\,\\% intervals from the variances of a crossed, class-stratified bootstrap of images"
        f" and seeds~{key('owen2012bootstrapping')}{held}."
    )


def runs_of(found: Iterable[Any]) -> list[Run]:
    """Flatten runs and studies into runs."""
    runs: list[Run] = []
    for one in found:
        runs += [one] if isinstance(one, Run) else [run for of_row in one.runs.values() for run in of_row]
    return runs
