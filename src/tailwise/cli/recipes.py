"""`tailwise recipes`: what can be named."""

from __future__ import annotations


def recipes(*, json: bool = False) -> None:
    """List all recipes; `tailwise show RECIPE` prints every value and where it comes from.

    Parameters
    ----------
    json
        Print the list as JSON.
    """
    from tailwise.registry import entries, load

    listed = []
    for name in entries("recipe"):
        made = load("recipe", name)
        about = (load_doc(name) or "").splitlines()[0]
        listed.append({"name": name, "about": about, "net": made.net, "epochs": made.epochs, "image_size": made.image_size})
    if json:
        from tailwise.cli.tables import print_json

        print_json({"recipes": listed})
        return
    from rich.table import Table
    from rich.text import Text

    from tailwise.cli.tables import console, say

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("recipe", "network", "epochs", "pixels", "what for"):
        table.add_column(column)
    for one in listed:
        table.add_row(one["name"], one["net"], str(one["epochs"]), str(one["image_size"] or "its own"), Text(one["about"]))
    console.print(table)
    say("`tailwise show RECIPE` prints every value with its source; change one with --set recipe.epochs=20")


def load_doc(name: str) -> str | None:
    """Give the first words of a recipe's file."""
    import importlib

    from tailwise.registry import find

    return importlib.import_module(find("recipe", name).module).__doc__
