"""`tailwise show`: one card."""

from __future__ import annotations

import dataclasses
from typing import Any

from tailwise.errors import UnknownName

NETWORK_FILES = ("resnet8", "resnet20", "resnet32", "resnet44", "resnet56", "features")


def show(name: str, /, *, json: bool = False) -> None:
    """Show one card: a method's formula, source and knobs; a recipe's every value and where it comes from; a network's blocks.

    Parameters
    ----------
    name
        Of a method, modifier, recipe or network.
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
    from tailwise.catalogue import entries, find, load, names

    for kind in ("method", "modifier"):
        if name in names(kind):
            return _describe_card(kind, find(kind, name).name, load(kind, name))
    if name in entries("recipe"):
        return {"kind": "recipe", "name": name, "values": _describe_recipe(load("recipe", name))}
    if name in NETWORK_FILES:
        from tailwise.models import describe as describe_network

        return {"kind": "network", **describe_network(name)}
    known = [*names("method"), *names("modifier"), *entries("recipe"), *NETWORK_FILES]
    raise UnknownName("method, modifier, recipe or network", name, known, see="`tailwise methods` lists all methods.")


def _describe_card(kind: str, name: str, made: type) -> dict[str, Any]:
    from tailwise.method import default_of, knobs

    card = made.card  # type: ignore[attr-defined]
    listed = [
        {
            "name": knob_name,
            "default": str(default_of(field)),
            "low": field.metadata.get("low", field.metadata.get("above")),
            "high": field.metadata.get("high"),
            "help": field.metadata.get("help", ""),
        }
        for knob_name, (_, field) in knobs(made).items()
    ]
    about = (made.__doc__ or "").strip().splitlines()[0]
    return {"kind": kind, "name": name, "about": about, **_plain_card(card), "knobs": listed}


def _plain_card(card: Any) -> dict[str, Any]:
    from tailwise.records import plain

    return {k: v for k, v in plain(card).items() if k != "part"}


def _describe_recipe(recipe: Any) -> list[dict[str, str]]:
    """List every value with its source; of the recipe inside, for second stages, only what differs."""
    listed = []
    for field in dataclasses.fields(recipe):
        value = getattr(recipe, field.name)
        source = recipe.sources.get(field.name, "the default of recipes")
        if field.name == "second" and value is not None:
            listed += [
                {"name": f"second.{inner.name}", "value": str(getattr(value, inner.name)), "source": source}
                for inner in dataclasses.fields(value)
                if inner.name not in ("name", "sources", "second") and getattr(value, inner.name) != getattr(recipe, inner.name)
            ]
        elif field.name not in ("sources", "name"):
            listed.append({"name": field.name, "value": str(value), "source": source})
    return listed


def _print(found: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    from tailwise.cli.tables import console, say

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for key, value in found.items():
        if key in ("knobs", "values") or value in ("", [], {}, None):
            continue
        said = ", ".join(map(str, value)) if isinstance(value, list) else f"{value:,}" if isinstance(value, int) else str(value)
        table.add_row(key, Text(said))
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
    if found["kind"] == "method":
        say(f"\nuse: tailwise train DATA --method {found['name']}")
