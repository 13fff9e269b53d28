"""`tailwise doctor`: what is installed, what runs here, what the store holds, what is under way, and making room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tailwise.errors import BadValue

if TYPE_CHECKING:
    from tailwise.store import Store, Thing
    from tailwise.study.cleaning import Left
    from tailwise.study.live import Announcement


def doctor(*, clean: bool = False, yes: bool = False, json: bool = False) -> None:
    """Say what is installed, what runs here, what the store holds and what is under way; make room in the store.

    Parameters
    ----------
    clean
        List what of the store nothing under way needs; with --yes delete it. Results are never touched.
    yes
        Delete what --clean lists.
    json
        Print it as JSON.
    """
    if yes and not clean:
        raise BadValue("--yes says yes to --clean, which is not there; type tailwise doctor --clean --yes")

    from tailwise.cli.tables import print_json
    from tailwise.store import Store

    store = Store()
    if clean:
        found = clean_record(store, yes)
        print_json(found) if json else print_clean(found)
        return
    found = {"schema": "tailwise.doctor/1", **describe_machine(), **describe_store(store)}
    print_json(found) if json else print_doctor(found)


# --- as plain values --------------------------------------------------------------------------------------------------


def describe_machine() -> dict[str, Any]:
    """Give versions, devices and what holds on this platform as plain values."""
    import platform
    import re
    from importlib.metadata import PackageNotFoundError, requires, version

    import torch
    from torch import distributed

    from tailwise.pixels.cores import cores
    from tailwise.study.numerics import choose_device, describe_numerics
    from tailwise.version import __version__

    def installed(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return "not installed"

    needed = [re.split(r"[^A-Za-z0-9._-]", line)[0] for line in requires("tailwise") or () if "extra ==" not in line]
    device = choose_device("auto")
    has_gloo = distributed.is_available() and distributed.is_gloo_available()
    has_mps = torch.backends.mps.is_available()
    return {
        "tailwise": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: installed(name) for name in needed},
        "device": str(device),
        "gpus": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
        "cores": cores(),
        "gloo": has_gloo,
        "holds": list(holds(platform.system(), platform.release(), has_mps, has_gloo)),
        "numerics": describe_numerics(device, torch.get_num_threads()),
    }


def holds(system: str, release: str, has_mps: bool, has_gloo: bool) -> Iterable[str]:
    """Say what holds on a platform.

    >>> list(holds("Linux", "6.8.0", False, True))
    ['Linux: all of tailwise runs here', 'one run over several processes: --processes, or --gpus']
    """
    if system == "Windows":
        yield "Windows: not supported as it is; run tailwise inside WSL"
    elif system == "Darwin":
        yield "macOS: all of tailwise runs here" + ("; --device mps is tried only, in float32" if has_mps else "")
    elif system == "Linux":
        yield f"Linux{' in WSL' if 'microsoft' in release.lower() else ''}: all of tailwise runs here"
    else:
        yield f"{system}: untried; Linux and macOS are what tailwise is made for"
    yield "one run over several processes: --processes, or --gpus" if has_gloo else "several processes: not here, torch has no gloo"


def describe_store(store: Store) -> dict[str, Any]:
    """Give what the store holds and what is under way as plain values."""
    from tailwise.study.cleaning import left_in, leftovers, needed, needless, things
    from tailwise.study.live import announcements
    from tailwise.study.places import OUT

    found, damaged = announcements(store)
    outputs = {Path.cwd(), OUT.absolute(), *(place for one in found for place in (one.folder.parent, one.folder / "runs"))}
    held = list(things(store))
    return {
        "store": str(store.root),
        "store_limit_bytes": store.limit,
        "store_writable": _reason_not_written(store) is None,
        "store_refusal": _reason_not_written(store),
        "store_bytes": _bytes_by_kind(held),
        "store_things": _count_by_kind(held),
        "live": [_live_record(announced, needed(held, announced)) for announced in found if announced.is_live],
        "damaged_announcements": list(map(str, damaged)),
        "leftovers": [_left_record(left) for left in (*leftovers(store), *left_in(outputs))],
        "clean_would_free_bytes": sum(thing.bytes for thing in needless(store)),
    }


def _reason_not_written(store: Store) -> str | None:
    from tailwise.disk import check_writable, writing
    from tailwise.errors import TailwiseError

    try:
        with writing(store.root):  # even asking whether it is there may be denied
            check_writable(store.root)
    except TailwiseError as error:
        return str(error)
    return None


def _bytes_by_kind(held: Sequence[Thing]) -> dict[str, int]:
    return {kind: sum(thing.bytes for thing in held if thing.kind == kind) for kind in dict.fromkeys(thing.kind for thing in held)}


def _count_by_kind(held: Sequence[Thing]) -> dict[str, int]:
    return dict(Counter(thing.kind for thing in held))


def _live_record(announced: Announcement, size: int) -> dict[str, Any]:
    from datetime import UTC, datetime

    return {
        "command": announced.kind,
        "folder": str(announced.folder),
        "begun": announced.begun.isoformat(),
        "touched": datetime.fromtimestamp(announced.touched, UTC).isoformat(timespec="seconds"),
        "bytes": size,
        "words": None if announced.command is None else list(announced.command),
        "cwd": announced.cwd,
    }


def _left_record(left: Left) -> dict[str, Any]:
    from datetime import UTC, datetime

    touched = datetime.fromtimestamp(left.touched, UTC).isoformat(timespec="seconds")
    return {"place": str(left.place), "bytes": left.size, "touched": touched, "is_dead": left.is_dead}


def clean_record(store: Store, yes: bool) -> dict[str, Any]:
    """List what nothing under way needs, and delete it where one says yes; plain values."""
    from tailwise.study.cleaning import clean, leftovers, needless

    unneeded = needless(store)
    dead = [left for left in leftovers(store) if left.is_dead]
    would = sum(thing.bytes for thing in unneeded) + sum(left.size for left in dead)
    return {
        "schema": "tailwise.clean/1",
        "store": str(store.root),
        "bytes": _bytes_by_kind(unneeded) | ({"leftovers": sum(left.size for left in dead)} if dead else {}),
        "things": _count_by_kind(unneeded) | ({"leftovers": len(dead)} if dead else {}),
        "would_free_bytes": would,
        "freed_bytes": clean(store, unneeded) if yes else None,
    }


# --- on the terminal --------------------------------------------------------------------------------------------------


def print_doctor(found: dict[str, Any]) -> None:
    """Print what `doctor` found, readable in eighty columns."""
    from tailwise.cli.tables import say

    say(f"tailwise {found['tailwise']}, Python {found['python']}")
    say(f"  {found['platform']}")
    _listed("packages", [f"{name} {version}" for name, version in found["packages"].items()])
    gpus = f"{len(found['gpus'])} GPUs: {', '.join(found['gpus'])}" if found["gpus"] else "no GPU that torch can use"
    say(f"device: {found['device']}; {found['cores']} cores, {gpus}")
    for line in found["holds"]:
        say(f"  {line}")
    _listed("numerics", [f"{name} {value}" for name, value in found["numerics"].items() if name not in found["packages"]])
    _print_store(found)
    _print_live(found)
    _print_left(found["leftovers"])
    if found["clean_would_free_bytes"]:
        say(f"tailwise doctor --clean lists {_size(found['clean_would_free_bytes'])} that nothing under way needs")


def _print_store(found: dict[str, Any]) -> None:
    from tailwise.cli.tables import say

    say(f"store: {printable(found['store'])}")
    held = sum(found["store_bytes"].values())
    may = "can be written" if found["store_writable"] else "nothing new is kept:"
    say(f"  {_size(held)} of {_size(found['store_limit_bytes'])} (limit: TAILWISE_STORE_GB); {may}")
    if found["store_refusal"]:
        say(f"  {printable(found['store_refusal'])}")
    for kind, size in found["store_bytes"].items():
        say(f"  {kind + ':':<10} {found['store_things'][kind]:>9,}  {_size(size):>12}")


def _print_live(found: dict[str, Any]) -> None:
    from shlex import join, quote

    from tailwise.cli.tables import say

    say("under way or waiting to be continued:" if found["live"] else "under way: nothing")
    for live in found["live"]:
        say(f"  {live['command']}: {printable(live['folder'])}")
        say(f"    begun {_age(live['begun'])} ago, last written {_age(live['touched'])} ago, {_size(live['bytes'])} in the store")
        if live["words"] is not None:
            where = f"cd {quote(live['cwd'])} && " if live["cwd"] else ""
            say(f"    goes on with: {printable(where + join(live['words']))}")
    if found["damaged_announcements"]:
        say(f"  {len(found['damaged_announcements']):,} announcements are damaged and ignored; --clean removes them")


def _print_left(leftovers: Sequence[dict[str, Any]]) -> None:
    from tailwise.cli.tables import say

    if leftovers:
        say("half-written by a process that works on it or was killed, or put aside by a replacing:")
    for left in leftovers:
        say(f"  {printable(left['place'])}")
        say(f"    {_size(left['bytes'])}, last written {_age(left['touched'])} ago")


def print_clean(found: dict[str, Any]) -> None:
    """Print what was deleted, or would be."""
    from tailwise.cli.tables import say

    say(f"store: {printable(found['store'])}")
    if not found["things"]:
        say("nothing to clean: all that the store holds is needed by something under way" if found["bytes"] else "nothing to clean")
        return
    is_done = found["freed_bytes"] is not None
    say("deleted, since nothing under way needs it:" if is_done else "nothing under way needs, and --yes would delete:")
    for kind, size in found["bytes"].items():
        say(f"  {kind + ':':<10} {found['things'][kind]:>9,}  {_size(size):>12}")
    say(f"freed {_size(found['freed_bytes'])}" if is_done else "nothing was deleted; tailwise doctor --clean --yes deletes it")
    say("Runs and studies are not touched: what goes is computed again where it is wanted.")


def _listed(name: str, words: Iterable[str]) -> None:
    """Print words in as many lines of eighty columns as it takes."""
    from textwrap import wrap

    from tailwise.cli.tables import say

    say(f"{name}:")
    for line in wrap(", ".join(words), 76, break_long_words=False, break_on_hyphens=False):
        say(f"  {line}")


def printable(text: str) -> str:
    """Write what records say so that a terminal shows it and does nothing else.

    >>> printable("photos\\x1b[2J")
    'photos\\\\x1b[2J'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def _size(count: int) -> str:
    return f"{count / 1024**3:,.1f} GB" if count >= 1024**3 else f"{count / 1024**2:,.1f} MB"


def _age(moment: str) -> str:
    from datetime import UTC, datetime

    seconds = max(0.0, (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds())
    number, unit = next(
        ((seconds / s, u) for s, u in ((86400, "day"), (3600, "hour"), (60, "minute")) if seconds >= s), (seconds, "second")
    )
    return f"{int(number):,} {unit}{'' if int(number) == 1 else 's'}"
