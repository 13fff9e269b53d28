"""Every way in which tailwise refuses, on one screen.

    TailwiseError                     one line for the user; `exit_code` 2 unless said
    ├── BadData        (ValueError)   a file, table, image or array is not what it should be
    ├── BadValue       (ValueError)   a knob, option or field has a value that it cannot have
    ├── UnknownName    (LookupError)  no method, network, recipe, knob ... has this name
    ├── Clash          (ValueError)   two things that cannot be combined
    ├── NoSpecification (TypeError)   a part that cannot be described, hence not be remembered
    ├── OutputExists   (FileExistsError)  an output that something else made
    ├── Unwritable     (OSError)      an output that cannot be written
    └── Stopped        (RuntimeError) training stopped on the way (exit code 3)

Each also derives from the built-in that it resembles, so that callers need not know ours.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TailwiseError(Exception):
    """Base of all errors that are the input's fault: one line saying what, where, what was expected, what to do."""

    exit_code = 2

    def __str__(self) -> str:
        return " ".join(str(arg) for arg in self.args)


class BadData(TailwiseError, ValueError):
    """A file, table, image or array is not what it should be."""


class BadValue(TailwiseError, ValueError):
    """A knob, option or field has a value that it cannot have."""


class UnknownName(TailwiseError, LookupError):
    """No thing of this kind has this name; the message suggests the nearest ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str], see: str = "") -> None:
        """Say that no `kind` is called `name`; `see` ends the message with where all names are listed."""
        known = sorted(known)
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        if near:
            hint = f" Did you mean {' or '.join(repr(n) for n in near)}?"
        elif known and len(known) <= 12:
            hint = f" Known: {', '.join(known)}."
        else:
            hint = ""
        super().__init__(f"no {kind} is called {name!r}.{hint}{' ' + see if see else ''}")
        self.name = name
        self.suggestions = tuple(near)


class Clash(TailwiseError, ValueError):
    """Two things were combined that cannot be."""


class NoSpecification(TailwiseError, TypeError):
    """A part cannot be written down as plain values, so no result made with it could be remembered."""


class OutputExists(TailwiseError, FileExistsError):
    """The output exists and was not made by the same command."""


class Unwritable(TailwiseError, OSError):
    """The output cannot be written where it was asked for."""


class Stopped(TailwiseError, RuntimeError):
    """Training stopped on the way: a loss that is not finite, a full disk. What was stored stays."""

    exit_code = 3
