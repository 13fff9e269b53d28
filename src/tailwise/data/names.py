"""Data sets that are read by name, without a path."""

NAMES = ("digits",)
"""They win over a file or folder of the same name (write `./digits` for that)."""
