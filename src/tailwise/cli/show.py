"""`tailwise show`: one card."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

from tailwise.errors import UnknownName

NETWORKS = ("resnet8", "resnet20", "resnet32", "resnet44", "resnet56", "resnet20-half", "features", "efficientnet-lite0")
"""Names of `models.NETWORKS`, which a test holds equal, so that cards of other things need no torch."""


def show(name: str, /, *, json: bool = False) -> None:
    """Show one card: a method's plan, formula, source and knobs; a recipe's values and where they come from; a network's blocks.

    Parameters
    ----------
    name
        Of a method, modifier, recipe or network (timm's too), or the path of a method's Python file.
    json
        Print it as JSON.
    """
    found = describe(name)
    if json:
        from tailwise.cli.tables import print_json

        print_json(found)
        return
    _print(found)


def describe(name: str) -> dict[str, Any]:
    """Describe what has this name.

    Raises:
        UnknownName: nothing has it.
    """
    from tailwise.registry import entries, find, load, load_file, names

    if name.endswith(".py"):
        return _describe_card("method", name, load_file(name))
    wanted = name.strip().lower().replace("_", "-")
    for kind in ("method", "modifier"):
        if wanted in names(kind):
            return _describe_card(kind, find(kind, wanted).name, load(kind, wanted))
    if wanted in entries("recipe"):
        return {"kind": "recipe", "name": wanted, "values": _describe_recipe(load("recipe", wanted))}
    known = [*names("method"), *names("modifier"), *entries("recipe"), *NETWORKS]
    asked = name.strip()
    return {"kind": "network", **_describe_network(asked.lower() if asked.lower() in NETWORKS else asked, known)}


def _describe_network(name: str, known: list[str]) -> dict[str, Any]:
    """Describe a network of ours or of timm's, whose weights are not looked for.

    Raises:
        UnknownName: there is none, and no card of anything else among the `known`.
    """
    from tailwise.models import describe, is_network, names_near

    if not is_network(name.partition("@")[0].partition(".")[0]):
        see = "`tailwise methods` and `tailwise networks` list names."
        raise UnknownName("method, modifier, recipe or network", name, {*known, *names_near(name)}, see=see)
    return describe(name)


def _describe_card(kind: str, name: str, made: Any) -> dict[str, Any]:
    from tailwise.knobs import default_of, knobs

    listed = [
        {
            "name": knob_name,
            "default": _plain(default_of(field)),
            **{bound: field.metadata.get(bound) for bound in ("low", "above", "high")},
            "help": field.metadata.get("help", ""),
        }
        for knob_name, (_, field) in knobs(made).items()
    ]
    about = (made.__doc__ or "").strip().splitlines()[0]
    card = {**_plain_card(made.card), "year": made.card.year, "file": _file(made), "plan": _plan(kind, made)}
    return {"kind": kind, "name": name, "about": about, **card, "knobs": listed}


def _file(made: Any) -> str:
    """Give the file that a card stands in."""
    return str(made.catalogue_file or sys.modules[made.__module__].__file__)


def _plan(kind: str, made: Any) -> list[str]:
    """Plan a method, or cross-entropy under a modifier, on a set that everybody knows; what another package gets wrong is said."""
    from tailwise.registry import Row, load
    from tailwise.study.typical import typical_plan

    return list(typical_plan(Row(made()) if kind == "method" else Row(load("method", "ce")(), (made(),))))


def _plain(value: Any) -> Any:
    """Give numbers and words as they are, and a method as one would type it."""
    return value if isinstance(value, bool | int | float | None) else str(value)


def _plain_card(card: Any) -> dict[str, Any]:
    from tailwise.records import plain

    return {k: v for k, v in plain(card).items() if k != "part"}


def _describe_recipe(recipe: Any) -> list[dict[str, Any]]:
    """List every value with its source; of the recipe inside, for second stages, only what differs."""
    listed = []
    for field in dataclasses.fields(recipe):
        value = getattr(recipe, field.name)
        source = recipe.sources.get(field.name, "the default of recipes")
        if field.name == "second" and value is not None:
            listed += [
                {"name": f"second.{inner.name}", "value": _plain(getattr(value, inner.name)), "source": source}
                for inner in dataclasses.fields(value)
                if inner.name not in ("name", "sources", "second") and getattr(value, inner.name) != getattr(recipe, inner.name)
            ]
        elif field.name not in ("sources", "name"):
            listed.append({"name": field.name, "value": _plain(value), "source": source})
    return listed


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{name}: {', '.join(f'{k}={v}' for k, v in inner.items())}" for name, inner in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else f"{value:,}" if isinstance(value, int) else str(value)


def _print(found: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    from tailwise.cli.tables import console, say

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for key, value in found.items():
        if key not in ("knobs", "plan", "values") and value not in ("", [], {}, None):
            table.add_row(key, Text(str(value) if key == "year" else _said(value)))
    console.print(table)
    listed = found.get("knobs") or found.get("values") or []
    if listed:
        console.print()
        inner = Table(box=None, pad_edge=False, header_style="bold")
        for column in listed[0]:
            inner.add_column(column, no_wrap=column == "name")
        for entry in listed:
            inner.add_row(*(Text("" if v is None else str(v)) for v in entry.values()))
        console.print(inner)
    if found.get("plan"):
        from tailwise.study.typical import TRAINED_ON

        over = "" if found["kind"] == "method" else " over ce"
        say(f"\nplan{over} on {TRAINED_ON}:")
        for sentence in found["plan"]:
            say(f"  {sentence}")
    if found["kind"] == "method":
        say(f"\nuse: tailwise train DATA --method {found['name']}")
