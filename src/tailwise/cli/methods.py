"""`tailwise methods`: what can be named."""

from __future__ import annotations


def methods(*, json: bool = False) -> None:
    """List all methods and modifiers, from their cards; nothing is imported for it.

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

    for kind in ("method", "modifier"):
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in (kind, "family", "title", "also called"):
            table.add_column(column)
        for entry in entries(kind).values():
            table.add_row(entry.name, entry.family, entry.title, ", ".join(entry.aliases))
        console.print(table)
        console.print()
    say("`tailwise show NAME` shows a card with its knobs; a method of your own is a Python file: --method ./mine.py")
