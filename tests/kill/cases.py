"""Commands that are killed: words of `tailwise train`, one for each thing that a resumption could get wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

METHODS = Path(__file__).parent / "methods"
DIGITS = ("digits", "--split", "50/10/40", "--tail", "exponential:50")


def file(name: str) -> str:
    """Name a user's file."""
    return str(METHODS / f"{name}.py")


def digits(method: str, *words: str, recipe: str = "demo", epochs: int = 8, second: int = 3) -> tuple[str, ...]:
    """Train a method on digits for a second or two."""
    length = (f"--set=recipe.epochs={epochs}", f"--set=recipe.second.epochs={second}")
    return ("train", *DIGITS, "--recipe", recipe, *length, "--method", method, *words, "--out", "run")


def frozen(method: str, *words: str) -> tuple[str, ...]:
    """Train a head on frozen features of the photographs in the folder above."""
    length = ("--set=recipe.epochs=6", "--set=recipe.second.epochs=3", "--set=recipe.image_size=64")
    return ("train", "../photos", "--split", "60/20/20", "--recipe", "head", *length, "--method", method, *words, "--out", "run")


IN_PARTS = ("--set=recipe.batch_size=64", "--set=recipe.accumulate=3")
EVERYTHING = digits(file("everything"), "--with", "sam", "--with", "ema", *IN_PARTS, epochs=4, second=6)
CRT = digits("crt", epochs=6)
CASES = {
    "plain": digits("ce"),
    "two threads": digits("ce", "--threads", "2"),
    "a boundary that continues": digits("ldam-drw"),
    "a stage that restarts": CRT,
    "accumulated": digits("ce-drw", "--set=recipe.accumulate=3"),
    "averaged": digits("crt", "--with", "ema"),
    "sharpness-aware": digits("ldam-drw", "--with", "sam", epochs=5),
    "sharpness-aware and averaged": digits("crt", "--with", "sam", "--with", "ema", epochs=5),
    "mixed": digits("crt", "--with", "mixup"),
    "clipped, warmed up, in colours": digits("ce", "--net", "resnet8", "--set=recipe.image_size=16", recipe="quick", epochs=4),
    "dropout and dropped paths": digits(file("dropped")),
    "a queue and a momentum copy": digits(file("remembering"), "--with", "ema", "--set=recipe.accumulate=2", epochs=5),
    "two streams": digits(file("two_streams"), epochs=6),
    "a step of its own": digits(file("bilevel"), epochs=5),
    "the best epoch": digits(file("chosen"), "--with", "ema"),
    "decided by results": digits(file("decided")),
    "everything": EVERYTHING,
    "frozen features": frozen("crt"),
}


def said(run: Path) -> dict[str, Any]:
    """Give all that a run's folder says but for times: every file's bytes, and the record."""
    files = {str(path.relative_to(run)): path for path in sorted(run.rglob("*")) if path.is_file()}
    found: dict[str, Any] = {name: path.read_bytes() for name, path in files.items()}
    record = json.loads(found.pop("run.json"))
    for word in ("finished", "steps_trained", "seal"):
        del record[word]
    for leg in record["legs"]:
        del leg["seconds"]
    return found | {f"run.json: {name}": value for name, value in record.items()}


def differing(run: Path, undisturbed: Path) -> list[str]:
    """Name the files and fields in which two runs differ."""
    one, other = said(run), said(undisturbed)
    return [name for name in sorted(one | other) if name not in one or name not in other or one[name] != other[name]]
