"""Profiles: how many training images each class keeps, as pure numbers.

Fractions are cut off, never rounded, as in the field's CIFAR code (`int()` in `imbalance_cifar.py` of Cao et al., NeurIPS 2019).
Powers are computed with 60 decimal digits: in floats 1280 * 64 ** (-5 / 6), which is 40, comes out as 39.999999999999986, and
libraries differ in the last bit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from decimal import ROUND_FLOOR, Context, Decimal
from pathlib import Path
from typing import Any

from tailwise.data.listing import first_five
from tailwise.errors import BadData, BadValue
from tailwise.seeds import generator

PROFILES = ("exponential:R", "step:R", "pareto:A", "uniform:LO:HI", "balanced:N", "counts:FILE")

# No exponents: powers of 1e999999999 would take for ever.
_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,20})?")
_WHOLE = re.compile(r"[0-9]{1,12}")
_EXACT = Context(prec=60)
_CLOSE = Decimal("1e-30")


def profile_counts(profile: str, available: Sequence[int], seed: int = 0, classes: Sequence[str] | None = None) -> list[int]:
    """Compute how many training images each class keeps; n_max is the count of the smallest class.

    The smallest, because every class could then have been the head: how long the tail is never depends on which class happens to
    have most images. All counts are cut to whole numbers, and at least 1. Classes c = 0 .. C-1 are in label order.

    | profile | n_c |
    | --- | --- |
    | `exponential:R` | n_max * R ** (-c / (C - 1)); R is the imbalance ratio |
    | `step:R` | n_max for the first C // 2 classes, n_max / R for the others |
    | `pareto:A` | n_max * (c + 1) ** (-1 / A): Pareto's law by rank, with the exponent A of its tail; the ratio is C ** (1 / A) |
    | `uniform:LO:HI` | a whole number from LO to HI, all equally likely, drawn by seed and label |
    | `balanced:N` | N images in all: N // C each, and one more for the first N mod C classes |
    | `counts:FILE` | as the JSON file says: a list in label order, or a dictionary from label or class name to count |

    ImageNet-LT and Places-LT are no `pareto:6`: their published lists are the data sets, so take their counts from a file.

    Args:
        profile: one of the above.
        available: (C,) training images that there are.
        seed: used by `uniform` alone.
        classes: names for messages and for files that use them; default the labels.

    Returns:
        (C,) counts, each from 1 to what there is.

    Raises:
        BadValue: no such profile, or numbers that it cannot have.
        BadData: a class has fewer images than asked for (with class, wanted, present), or the file is no table of counts.

    >>> profile_counts("exponential:100", [500] * 10)
    [500, 299, 179, 107, 64, 38, 23, 13, 8, 5]
    """
    names = [str(label) for label in range(len(available))] if classes is None else list(classes)
    kind, _, arguments = profile.partition(":")
    if kind not in _MAKERS:
        raise BadValue(f"tail {profile!r} is no profile; write one of {', '.join(PROFILES)}")
    if kind != "counts" and min(available, default=0) < 1:
        empty = [names[label] for label, n in enumerate(available) if n < 1]
        raise BadData(f"tail {profile!r}: class {first_five(empty)} has no training images; give it some, or drop the class first")
    wanted = _MAKERS[kind](arguments, profile, list(available), seed, names)
    for label, (want, present) in enumerate(zip(wanted, available, strict=True)):
        if want > present:
            raise BadData(
                f"tail {profile!r} wants {want:,} training images of class {names[label]!r} (label {label}), "
                f"{present:,} are present; ask for fewer"
            )
    return wanted


def said_profile(profile: str) -> str:
    """Give a profile as provenance has it: of a file of counts its name alone, wherever it lies.

    >>> said_profile("counts:/home/me/cls_label.json")
    'counts:cls_label.json'
    """
    kind, colon, arguments = profile.partition(":")
    return f"{kind}{colon}{Path(arguments).name}" if kind == "counts" else profile


def _number(text: str, profile: str, name: str, lowest: Decimal, what: str) -> Decimal:
    number = Decimal(text) if _NUMBER.fullmatch(text) else None
    if number is None or number < lowest:
        hint = f"; for the inverse write {float(1 / number):g}" if number else ""
        raise BadValue(f"tail {profile!r}: {name} must be {what}, got {text!r}{hint}")
    return number


def _cut(largest: int, base: Decimal, exponent: Decimal) -> int:
    """floor(largest * base ** -exponent), at least 1; exact where the true value is a whole number."""
    value = _EXACT.multiply(Decimal(largest), _EXACT.power(base, _EXACT.minus(exponent)))  # a bare minus would round to 28 digits
    nearest = value.to_integral_value()
    whole = nearest if abs(value - nearest) < _CLOSE else value.to_integral_value(rounding=ROUND_FLOOR)
    return max(1, int(whole))


_RATIO = "an imbalance ratio, largest to smallest class, from 1 on"


def _exponential(arguments: str, profile: str, available: list[int], seed: int, names: list[str]) -> list[int]:
    ratio = _number(arguments, profile, "R", Decimal(1), _RATIO)
    last = max(len(available) - 1, 1)
    return [_cut(min(available), ratio, _EXACT.divide(Decimal(c), Decimal(last))) for c in range(len(available))]


def _step(arguments: str, profile: str, available: list[int], seed: int, names: list[str]) -> list[int]:
    ratio = _number(arguments, profile, "R", Decimal(1), _RATIO)
    head = len(available) // 2
    return [min(available)] * head + [_cut(min(available), ratio, Decimal(1))] * (len(available) - head)


def _pareto(arguments: str, profile: str, available: list[int], seed: int, names: list[str]) -> list[int]:
    power = _number(arguments, profile, "A", Decimal("0.01"), "a power from 0.01 on; smaller is steeper")
    return [_cut(min(available), Decimal(c + 1), _EXACT.divide(Decimal(1), power)) for c in range(len(available))]


def _uniform(arguments: str, profile: str, available: list[int], seed: int, names: list[str]) -> list[int]:
    try:
        low, high = (int(part) for part in arguments.split(":"))
    except ValueError:
        low, high = 0, 0
    if not 1 <= low <= high:
        raise BadValue(f"tail {profile!r}: write uniform:LO:HI with whole numbers 1 <= LO <= HI, for example uniform:10:480")
    scarce = min(range(len(available)), key=available.__getitem__)
    # HI counts, not what the seed draws: whether a profile fits must not depend on luck.
    if high > available[scarce]:
        raise BadData(
            f"tail {profile!r} may want {high:,} training images of class {names[scarce]!r} (label {scarce}), "
            f"{available[scarce]:,} are present; lower HI"
        )
    return [int(generator(seed, "tail-count", label).integers(low, high + 1)) for label in range(len(available))]


def _balanced(arguments: str, profile: str, available: list[int], seed: int, names: list[str]) -> list[int]:
    classes = len(available)
    total = int(arguments) if _WHOLE.fullmatch(arguments) else 0
    if total < classes:
        raise BadValue(f"tail {profile!r}: N must be a whole number of images, one or more for each of {classes:,} classes")
    share, rest = divmod(total, classes)
    return [share + (label < rest) for label in range(classes)]


def _from_file(arguments: str, profile: str, available: list[int], seed: int, names: list[str]) -> list[int]:
    file = Path(arguments)
    table = _read_json(file)
    if isinstance(table, list):
        counts = table
    elif isinstance(table, dict):
        counts = _by_key(table, names, file)
    else:
        raise BadData(f"{file}: expected a JSON list in label order, or a dictionary from label or class name to count")
    if len(counts) != len(available):
        raise BadData(f"{file}: {len(counts):,} counts for {len(available):,} classes; give one a class, in label order")
    for label, count in enumerate(counts):
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise BadData(f"{file}: class {names[label]!r} (label {label}) has the count {count!r}, expected a whole number from 1 on")
    return counts


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=_once)
    except OSError as error:
        raise BadData(f"{str(file)!r} cannot be read ({error.strerror}); write counts:FILE with a JSON file") from error
    except (ValueError, RecursionError) as error:
        raise BadData(f"{file}: no table of counts in JSON ({error}); correct the file") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} is there twice")
    return table


def _by_key(table: dict[str, Any], names: list[str], file: Path) -> list[Any]:
    """Read a dictionary by class name or by label; what can be read both ways, with different results, is refused."""
    readings = [[table[key] for key in keys] for keys in (names, _labels(names)) if set(keys) == set(table)]
    if not readings:
        strange = sorted(set(table) - set(names)) or sorted(set(names) - set(table))
        raise BadData(
            f"{file}: keys do not fit the {len(names):,} classes (first: {first_five(strange)}), expected every class name or every "
            f"label 0..{len(names) - 1} once; correct the keys"
        )
    if readings[0] != readings[-1]:
        raise BadData(f"{file}: keys can be class names and labels, with different counts; give a list in label order")
    return readings[0]


def _labels(names: list[str]) -> list[str]:
    return [str(label) for label in range(len(names))]


_MAKERS: dict[str, Callable[[str, str, list[int], int, list[str]], list[int]]] = {
    "exponential": _exponential,
    "step": _step,
    "pareto": _pareto,
    "uniform": _uniform,
    "balanced": _balanced,
    "counts": _from_file,
}
