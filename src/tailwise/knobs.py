"""Knobs: typed fields with a range and one line of help, coerced and checked when a method or modifier is made."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
import weakref
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any, ClassVar, Literal, TypeVar

from tailwise.errors import BadValue, UnknownName


def knob(default: Any, *, low: float | None = None, high: float | None = None, above: float | None = None, help: str) -> Any:
    """Declare a knob: a typed field with its range and one line of help.

    Args:
        default: the default; the card says where it comes from.
        low: smallest value allowed.
        high: largest value allowed.
        above: values must exceed this one.
        help: one line, with the unit.
    """
    return field(default=default, metadata={"low": low, "high": high, "above": above, "help": help})


class Knobbed:
    """A frozen dataclass whose fields are knobs: coerced to their types and checked when it is made."""

    catalogue_name: ClassVar[str] = ""
    catalogue_file: ClassVar[str] = ""
    """Path of the user's file that it was loaded from, as it was given; empty where a name finds it."""

    def __post_init__(self) -> None:
        for name, (kind, knob_field) in knobs(type(self)).items():
            value = coerce(getattr(self, name), kind, f"{display_name(type(self))}.{name}")
            _check_range(value, knob_field, f"{display_name(type(self))}.{name}")
            object.__setattr__(self, name, value)

    def __str__(self) -> str:
        """Write the thing as people call it: its name and the knobs that are not at their defaults."""
        return self._written(display_name)

    @property
    def typed(self) -> str:
        """The thing as one types it again: a user's own by the path of its file, which alone finds it."""
        return self._written(lambda kind: kind.catalogue_file or display_name(kind))

    def _written(self, name: Callable[[type[Knobbed]], str]) -> str:
        changed = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if getattr(self, f.name) != default_of(f)}  # type: ignore[arg-type]
        knobs = [f"{k}={v._written(name) if isinstance(v, Knobbed) else 'none' if v is None else v}" for k, v in changed.items()]
        return name(type(self)) + (f"({','.join(knobs)})" if knobs else "")


def display_name(kind: type) -> str:
    """Give the catalogue's name of a method or modifier: its file's name with dashes, unless it was loaded under another."""
    return getattr(kind, "catalogue_name", "") or kind.__module__.rsplit(".", 1)[-1].replace("_", "-")


def default_of(knob_field: dataclasses.Field[Any]) -> Any:
    """Give a field's default value."""
    if knob_field.default_factory is not dataclasses.MISSING:
        return knob_field.default_factory()
    return knob_field.default


_known_knobs: weakref.WeakKeyDictionary[type, dict[str, tuple[Any, dataclasses.Field[Any]]]] = weakref.WeakKeyDictionary()


def knobs(kind: type) -> dict[str, tuple[Any, dataclasses.Field[Any]]]:
    """List the knobs of a dataclass: name -> (declared type, field). Types are looked up once, while the module is at hand."""
    if kind not in _known_knobs:
        hints = typing.get_type_hints(kind)
        _known_knobs[kind] = {f.name: (hints[f.name], f) for f in dataclasses.fields(kind)}
    return _known_knobs[kind]


def with_knobs(thing: Any, settings: Mapping[str, Any], what: str) -> Any:
    """Copy a dataclass with other fields, given as values or as text; `a.b` sets field b of field a.

    Raises:
        UnknownName: no such field, with the nearest ones.
        BadValue: a value of the wrong type or out of range.
    """
    for path, value in settings.items():
        first, _, rest = path.partition(".")
        known = knobs(type(thing))
        if first not in known:
            raise UnknownName(f"knob of {what}", first, known, see=f"`tailwise show {what}` lists them.")
        if rest:
            inner = getattr(thing, first)
            if not dataclasses.is_dataclass(inner):
                raise BadValue(f"{what}.{first} has no fields inside, so {path!r} names nothing")
            value = with_knobs(inner, {rest: value}, f"{what}.{first}")
        elif isinstance(value, str) and dataclasses.is_dataclass(getattr(thing, first)) and known[first][0] is Any:
            raise BadValue(f"{what}.{first} is {getattr(thing, first)}; set what is inside it, as in {first}.FIELD=VALUE")
        thing = dataclasses.replace(thing, **{first: coerce(value, known[first][0], f"{what}.{first}")})
    return thing


def coerce(value: Any, kind: Any, where: str) -> Any:
    """Turn a value, or the text that a user typed, into the declared type; 1 becomes 1.0 for a float, never the reverse.

    Raises:
        BadValue: the value is not of that type; `where` names the knob.
    """
    origin = typing.get_origin(kind)
    if kind is Any or isinstance(kind, TypeVar):
        return value
    if origin is Literal:
        for choice in typing.get_args(kind):
            if value == choice or str(choice) == value:
                return choice
        raise BadValue(f"{where} is one of {', '.join(map(repr, typing.get_args(kind)))}, got {value!r}")
    if origin in (typing.Union, types.UnionType):
        return _coerce_union(value, typing.get_args(kind), where)
    if origin is tuple and isinstance(value, tuple | list):
        item = typing.get_args(kind)[0]
        return tuple(coerce(v, item, f"{where}[{i}]") for i, v in enumerate(value))
    if kind in (bool, int, float, str):
        return _coerce_plain(value, kind, where)
    if isinstance(value, str) and hasattr(kind, "from_text"):
        return kind.from_text(value)
    expected = origin or kind
    if isinstance(expected, type) and not isinstance(value, expected):
        raise BadValue(f"{where} is a {expected.__name__}, got {value!r}")
    return value


def _coerce_union(value: Any, kinds: tuple[Any, ...], where: str) -> Any:
    if type(None) in kinds and (value is None or value == "none"):
        return None
    reasons = []
    for kind in kinds:
        if kind is type(None):
            continue
        try:
            return coerce(value, kind, where)
        except BadValue as reason:
            reasons.append(str(reason).removeprefix(f"{where} is ").rsplit(", got", 1)[0])
    raise BadValue(f"{where} is {' or '.join(reasons)}, got {value!r}")


def _coerce_plain(value: Any, kind: type, where: str) -> Any:
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}
    wrong = BadValue(f"{where} is {words[kind]}, got {value!r}")
    if kind is bool:
        truth = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in truth:
            return truth[value.lower()]
        raise wrong
    if isinstance(value, bool) or (kind is str and not isinstance(value, str)):
        raise wrong
    try:
        made = kind(value)
    except (TypeError, ValueError, OverflowError):
        raise wrong from None
    if (kind is int and not isinstance(value, str) and made != value) or made != made:
        raise wrong
    return made


def _check_range(value: Any, knob_field: dataclasses.Field[Any], where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    if not math.isfinite(value):
        raise BadValue(f"{where} is a finite number, got {value}")
    low, high, above = (knob_field.metadata.get(name) for name in ("low", "high", "above"))
    outside = (low is not None and value < low) or (high is not None and value > high) or (above is not None and value <= above)
    if outside:
        bounds = [
            *([f"at least {low:g}"] if low is not None else []),
            *([f"above {above:g}"] if above is not None else []),
            *([f"at most {high:g}"] if high is not None else []),
        ]
        raise BadValue(f"{where} is {' and '.join(bounds)}, got {value:g}")
