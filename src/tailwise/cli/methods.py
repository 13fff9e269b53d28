"""`tailwise methods`: what can be named."""

from __future__ import annotations


def methods(*, json: bool = False) -> None:
    """List all methods by the survey's families, then all modifiers, from their cards; nothing is imported for it.

    Parameters
    ----------
    json
        Print the list as JSON.
    """
    from dataclasses import asdict

    from tailwise.registry import entries

    if json:
        from tailwise.cli.tables import print_json

        print_json({kind + "s": [asdict(e) for e in entries(kind).values()] for kind in ("method", "modifier")})
        return
    from rich.table import Table

    from tailwise.cli.tables import console, say
    from tailwise.method import SURVEY

    order = [family for families in SURVEY.values() for family in families]
    for kind in ("method", "modifier"):
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("family", kind, "title", "paper", "year", "status", "also called"):
            table.add_column(column, no_wrap=column in ("family", kind))
        before = ""
        for entry in sorted(entries(kind).values(), key=lambda e: order.index(e.family) if e.family in order else len(order)):
            family = entry.family if entry.family != before else ""
            year = "" if entry.year is None else str(entry.year)
            table.add_row(family, entry.name, entry.title, entry.paper, year, entry.status, ", ".join(entry.aliases))
            before = entry.family
        console.print(table)
        console.print()
    say("`tailwise show NAME` shows a card with its knobs; a method of your own is a Python file: --method ./mine.py")
