"""Specifications: a stage written down as plain values, so that equal work can be recognised and stored.

A specification is canonical JSON of dataclass fields plus a digest of the code behind each dataclass. Two equal specifications
promise equal results; when in doubt they differ, because one recomputation too many is fine and one stale result is not.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import json
import math
import sys
import sysconfig
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from tailwise.counts import SHOWN
from tailwise.errors import NoSpecification

PACKAGE = Path(__file__).parent

UNDECIDED = {"decides": False}
"""Field metadata of what must not reach a key: names for people, and the step at which a stage ends."""


def spec(value: Any, where: str = "") -> Any:
    """Write a value as plain JSON values; the same value always gives the same ones.

    None, bool, int and str stand for themselves, a float is written in hexadecimal, an array or tensor as dtype, shape and SHA-256,
    a dataclass as its name, the digest of its code and its fields. Anything else has no specification.

    Raises:
        NoSpecification: for a lambda, a class, a bare `nn.Module`, NaN and the like; `where` names the field.
    """
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            if math.isnan(value):
                raise NoSpecification(f"{where or 'a field'} is NaN; NaN equals nothing, so no result could be found again")
            return {"float": value.hex()}
        case list() | tuple():
            return [spec(item, f"{where}[{i}]") for i, item in enumerate(value)]
        case Mapping():
            if not all(isinstance(key, str) for key in value):
                raise NoSpecification(f"{where or 'a field'} is a dictionary with keys that are no strings")
            return {key: spec(value[key], f"{where}.{key}" if where else key) for key in sorted(value)}
    if value is SHOWN:
        return "SHOWN"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _dataclass_spec(value, where)
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return _array_spec(value, where)
    raise NoSpecification(
        f"{where or 'a value'} is {type(value).__module__}.{type(value).__qualname__}, which has no specification; "
        "use plain values, arrays, or a dataclass defined in a file"
    )


def _dataclass_spec(value: Any, where: str) -> dict[str, Any]:
    kind = type(value)
    fields = {
        field.name: spec(getattr(value, field.name), f"{where or kind.__qualname__}.{field.name}")
        for field in dataclasses.fields(value)
        if field.metadata.get("decides", True)
    }
    return {"part": f"{kind.__module__}:{kind.__qualname__}", "code": code_digest(kind), **({"fields": fields} if fields else {})}


def _array_spec(array: Any, where: str) -> dict[str, Any]:
    kind = str(array.dtype).removeprefix("torch.")
    if kind == "object":
        raise NoSpecification(f"{where or 'an array'} holds Python objects, which have no bytes to compare; use numbers")
    if hasattr(array, "detach"):
        data = bytes(array.detach().cpu().contiguous().reshape(-1).view(dtype=_torch_bytes()).numpy())
    else:
        data = array.tobytes()
    return {"array": kind, "shape": list(array.shape), "sha256": hashlib.sha256(data).hexdigest()}


def _torch_bytes() -> Any:
    """Give torch's byte type; only a tensor asks for it, so torch is loaded already."""
    return sys.modules["torch"].uint8


def canonical(value: Any) -> str:
    """Dump plain values as JSON with sorted keys and no spaces: the bytes that are hashed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def key_of(*values: Any) -> str:
    """Hash plain values into a key of 32 hexadecimal digits."""
    return hashlib.sha256(canonical(values).encode()).hexdigest()[:32]


def fresh(value: Any, **replaced: Any) -> Any:
    """Make a dataclass part anew from its fields, parts inside it too: what one stage's copy learnt stays there."""
    return _rebuilt(value, lambda leaf: leaf, replaced)


def fill_shown(value: Any, shown: tuple[float, ...]) -> Any:
    """Copy a description with the counts that the stage shows in every field that says `SHOWN`."""
    return _rebuilt(value, lambda leaf: shown if leaf is SHOWN else leaf)


_NUMBERS = frozenset((int, float))


def _rebuilt(value: Any, leaf: Callable[[Any], Any], replaced: Mapping[str, Any] | None = None) -> Any:
    """Make a description anew, walking through dataclasses, lists and dictionaries; `replaced` fields of the outermost are given."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _rebuilt(getattr(value, f.name), leaf) for f in dataclasses.fields(value) if f.init}
        return type(value)(**{**fields, **(replaced or {})})
    if type(value) is tuple and all(type(item) in _NUMBERS for item in value):
        return value  # class counts: as long as there are classes, and in every part of every plan
    if isinstance(value, tuple | list):
        return type(value)(_rebuilt(item, leaf) for item in value)
    if isinstance(value, Mapping):
        return {name: _rebuilt(item, leaf) for name, item in value.items()}
    return leaf(value)


def awaits_shown(value: Any) -> bool:
    """Say whether a field of this dataclass, or of a part inside it, still waits for its stage's counts."""
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value is SHOWN
    return any(awaits_shown(getattr(value, f.name)) for f in dataclasses.fields(value))


# --- the code behind a part -------------------------------------------------------------------------------------------


@functools.cache
def _package_sources() -> dict[str, str]:
    """Read all of our own source once, when this module is imported: what runs is what was there then."""
    sources = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ("tailwise", *path.relative_to(PACKAGE).with_suffix("").parts)
        sources[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text(encoding="utf-8")
    return sources


_package_sources()
_digests: weakref.WeakKeyDictionary[type, str] = weakref.WeakKeyDictionary()


def code_digest(kind: type) -> str:
    """Digest the code of a class: its module and all modules of ours, or of the user's own, that the module imports.

    Taken from the syntax trees without docstrings and comments, once for each class object, at the latest when it is first
    described; parts and methods ask for it when they are defined, so that a file edited under a running process changes nothing.

    Raises:
        NoSpecification: the class was not defined in a file.
    """
    if kind not in _digests:
        _digests[kind] = modules_digest(_closure(kind.__module__))
    return _digests[kind]


def modules_digest(sources: Mapping[str, str]) -> str:
    """Digest named sources; docstrings, comments and layout do not count."""
    return key_of({name: _tree_digest(text) for name, text in sources.items()})


def room_digest(*rooms: str) -> str:
    """Digest whole rooms or modules of tailwise by name, as in `room_digest("training", "objective")`."""
    prefixes = tuple(f"tailwise.{room}" for room in rooms)
    own = {n: t for n, t in _package_sources().items() if any(n == p or n.startswith(p + ".") for p in prefixes)}
    return modules_digest(own)


@functools.cache
def _tree_digest(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and body:
            first = body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
                body[:1] = [] if len(body) > 1 else [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _closure(module: str) -> dict[str, str]:
    """Collect the sources of a module and of everything of ours, or of the user's own, that it imports, transitively."""
    found: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        source = _source(name, required=name == module)
        if source is None:
            continue
        found[name] = source
        waiting.extend(_imports(name, source))
    return found


def _source(name: str, required: bool) -> str | None:
    if name in _package_sources():
        return _package_sources()[name]
    module = sys.modules.get(name)
    text = getattr(module, "__tailwise_source__", None)
    if text is not None:
        return str(text)
    found = _found(name)
    path = getattr(module, "__file__", None) or (found.origin if found else None)
    if path is None or not path.endswith(".py"):
        if required:
            raise NoSpecification(f"the code of module {name!r} is in no file, so it cannot be recognised again; move it to a .py file")
        return None
    return Path(path).read_text(encoding="utf-8")


def _imports(name: str, source: str) -> Iterator[str]:
    """Yield the imported modules that count: tailwise's, those of the importing module's own package, and the user's own.

    Raises:
        NoSpecification: a module beside a user's file that is imported inside a function, where it is not at hand when it runs.
    """
    for target, members, at_top in _imported_names(name, source):
        if target == "tailwise" or target.startswith("tailwise."):
            yield from _ours(target, members)
        elif _is_local(name, target):
            found = _found(target)
            if not at_top and getattr(found and found.loader, "beside_users_file", False):
                raise NoSpecification(f"{target!r} is imported inside a function; import it at the top of the file, so that it counts")
            yield from (".".join(target.split(".")[:depth]) for depth in range(1, target.count(".") + 2))
            yield from (f"{target}.{member}" for member in members)


def _ours(target: str, members: Iterable[str]) -> Iterator[str]:
    """Resolve an import from tailwise; a name taken from a room itself may come from any file of it, so all count."""
    sources = _package_sources()
    inside = [f"{target}.{member}" for member in members if f"{target}.{member}" in sources]
    yield from inside
    if len(inside) < len(tuple(members)) or not members:
        yield target
        yield from (name for name in sources if name.startswith(f"{target}."))


@functools.cache
def _imported_names(name: str, source: str) -> tuple[tuple[str, tuple[str, ...], bool], ...]:
    """List what a module imports: target, names taken from it, and whether it stands at the top of the file."""
    spec_of = getattr(sys.modules.get(name), "__spec__", None) or _found(name)
    is_package = spec_of is not None and spec_of.submodule_search_locations is not None
    tree = ast.parse(source)
    inside = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef) for n in ast.walk(f)}
    found: list[tuple[str, tuple[str, ...], bool]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, (), id(node) not in inside) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = name.split(".")
                parent = parent[: len(parent) - node.level + is_package]
                base = ".".join([*parent, *([base] if base else [])])
            found.append((base, tuple(alias.name for alias in node.names), id(node) not in inside))
    return tuple(found)


def _is_local(name: str, target: str) -> bool:
    """Say whether an imported module is the user's own: of the same package, or in a place that no installation owns."""
    top = target.split(".")[0]
    if "." in name and name.split(".")[0] == top:
        return True
    found = _found(top)
    if found is None:
        return False
    places = [found.origin] if found.has_location else list(found.submodule_search_locations or [])
    return bool(places) and not any(_is_installed(Path(place)) for place in places if place)


def _is_installed(path: Path) -> bool:
    """Say whether a file is the standard library's or a package's, followed through links or not."""
    return any(
        place in version.parents or {"site-packages", "dist-packages"} & set(version.parts)
        for version in (path, path.resolve())
        for place in _installed()
    )


@functools.cache
def _installed() -> tuple[Path, ...]:
    places = sysconfig.get_paths()
    return tuple(Path(places[name]).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib"))


def _found(name: str) -> ModuleSpec | None:
    """Find a module as an import would, package by package, and import nothing."""
    found, path = None, None
    for depth in range(1, name.count(".") + 2):
        full = ".".join(name.split(".")[:depth])
        found = getattr(sys.modules.get(full), "__spec__", None)
        if found is None:
            finders = (finder for finder in sys.meta_path if hasattr(finder, "find_spec"))
            found = next((made for finder in finders if (made := finder.find_spec(full, path)) is not None), None)
        if found is None:
            return None
        try:
            path = list(found.submodule_search_locations or [])
        except KeyError:  # a namespace inside a package that is not imported
            return found
    return found
