"""The registry: every method, modifier and recipe by name. Names are file names, read without importing anything.

A method comes from a file in `tailwise/methods/`, from an entry point in the group `tailwise.methods`, or from a user's own file.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.machinery import FileFinder, ModuleSpec, SourceFileLoader
from importlib.util import decode_source
from pathlib import Path
from types import ModuleType
from typing import Any

from tailwise.errors import BadData, BadValue, Clash, TailwiseError, UnknownName
from tailwise.knobs import display_name, with_knobs
from tailwise.method import Card, Method, Modifier, year_of
from tailwise.specification import PACKAGE

ENTRY_POINTS = "tailwise.methods"
CHECK_POINTS = "tailwise.checks"
ROOMS: dict[str, str] = {"method": "methods", "modifier": "modifiers", "recipe": "recipes", "check": "checks/findings"}
_CARDS = ("Card", "Check")


@dataclass(frozen=True)
class Entry:
    """A named thing, known from its syntax tree alone.

    Attributes:
        name: what one types.
        module: dotted name of the module that defines it.
        title: of the card.
        family: of the card.
        paper: of the card.
        arxiv: of the card.
        year: of the first paper, or None.
        status: of the card.
        aliases: of the card.
        presets: names of the card's presets.
    """

    name: str
    module: str
    title: str = ""
    family: str = ""
    paper: str = ""
    arxiv: str = ""
    year: int | None = None
    status: str = ""
    aliases: tuple[str, ...] = ()
    presets: tuple[str, ...] = ()


# --- names, without importing -----------------------------------------------------------------------------------------


@functools.cache
def entries(kind: str) -> Mapping[str, Entry]:
    """List what a room of the package offers: name -> entry, in alphabetical order."""
    found = {}
    for path in sorted((PACKAGE / ROOMS[kind]).glob("*.py")):
        if not path.stem.startswith("_"):
            name = path.stem.replace("_", "-")
            module = f"tailwise.{ROOMS[kind].replace('/', '.')}.{path.stem}"
            found[name] = _read_entry(name, module, path.read_text(encoding="utf-8"))
    if group := {"method": ENTRY_POINTS, "check": CHECK_POINTS}.get(kind):
        found |= {e.name: e for e in _entry_points(group) if e.name not in found}
    return found


def _read_entry(name: str, module: str, source: str) -> Entry:
    """Read the literal fields of the card in a module's source."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _CARDS:
            said = {k.arg: k.value for k in node.keywords if k.arg}
            presets = said.get("presets")
            keys = [k.value for k in presets.keys if isinstance(k, ast.Constant)] if isinstance(presets, ast.Dict) else []
            words = {field: str(_literal(said.get(field), "")) for field in ("title", "family", "paper", "arxiv")}
            return Entry(
                name,
                module,
                **words,
                year=year_of(words["paper"]),
                status=_literal(said.get("status"), Card.status) if node.func.id == "Card" else "",
                aliases=tuple(_literal(said.get("aliases"), ())),
                presets=tuple(str(k) for k in keys),
            )
    return Entry(name, module)


def _literal(node: ast.expr | None, default: Any) -> Any:
    try:
        return default if node is None else ast.literal_eval(node)
    except ValueError:
        return default


def _entry_points(group: str) -> Iterator[Entry]:
    """Yield what other packages offer; their modules are imported only when one is used."""
    from importlib.metadata import entry_points

    for point in entry_points(group=group):
        yield Entry(point.name.lower().replace("_", "-"), point.value)


def names(kind: str) -> list[str]:
    """List all names of a kind, aliases included."""
    return sorted({n for entry in entries(kind).values() for n in (entry.name, *entry.aliases)})


def find(kind: str, name: str) -> Entry:
    """Look a name or alias up.

    Raises:
        UnknownName: with the nearest names.
    """
    wanted = name.strip().lower().replace("_", "-")
    for entry in entries(kind).values():
        if wanted == entry.name or wanted in entry.aliases:
            return entry
    see = f"`tailwise {kind}s` lists all {len(entries(kind))}." if kind == "method" else ""
    raise UnknownName(kind, name, names(kind), see=see)


# --- things, imported when they are used ------------------------------------------------------------------------------


@functools.cache
def load(kind: str, name: str) -> Any:
    """Import the class, or recipe, behind a name."""
    entry = find(kind, name)
    if not _is_ours(entry):
        return _check_of_package(entry) if kind == "check" else _load_of_package(entry)
    module = importlib.import_module(entry.module)
    return getattr(module, kind.upper()) if kind in ("recipe", "check") else _defined_in(module, kind)


def _is_ours(entry: Entry) -> bool:
    return entry.module.startswith("tailwise.")


def _load_of_package(entry: Entry) -> type[Method]:
    """Import a method of another package; whatever is wrong there is said in one line."""
    where = f"method {entry.name!r} is {entry.module} of another package"
    made = _import_of_package(entry, ENTRY_POINTS, where)
    if isinstance(made, ModuleType):
        made = _defined_in(made, "method")
    if not (isinstance(made, type) and issubclass(made, Method) and hasattr(made, "card")):
        raise BadData(f"{where}, and that is no method: expected a class with @method(Card(...)) over @dataclass(frozen=True)")
    made.catalogue_name = entry.name
    return made


def _check_of_package(entry: Entry) -> Any:
    """Import a check of another package, or the `CHECK` of a module of it; whether it is one, those who run checks say."""
    made = _import_of_package(entry, CHECK_POINTS, f"check {entry.name!r} is {entry.module} of another package")
    return getattr(made, "CHECK", None) if isinstance(made, ModuleType) else made


def _import_of_package(entry: Entry, group: str, where: str) -> Any:
    from importlib.metadata import EntryPoint

    try:
        return EntryPoint(entry.name, entry.module, group).load()
    except TailwiseError:
        raise
    except Exception as error:  # any code of theirs may run here
        raise BadData(f"{where}, which cannot be loaded: {_one_line(error)}; mend or remove that package") from error


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _defined_in(module: ModuleType, kind: str) -> Any:
    """Find the one method, or modifier, that a module defines."""
    base = Method if kind == "method" else Modifier
    made = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, base) and value is not base and value.__module__ == module.__name__
    ]
    carded = [value for value in made if "card" in vars(value)]
    if len(carded) != 1:
        raise BadData(
            f"{module.__file__} defines {len(carded)} {kind}s with a card, expected one: "
            f"a class with @{kind}(Card(...)) over @dataclass(frozen=True)"
        )
    return carded[0]


def load_file(path: Path | str) -> type[Method]:
    """Load a user's own method from a Python file; its name in the catalogue is the file's name.

    The file, and the modules beside it that it imports, are compiled from the very text that their digests are taken of, afresh at
    each call: an edit between two calls in one process is seen, and no stale bytecode is.

    Raises:
        BadData: no such file, or it does not define exactly one method.
    """
    if not Path(path).is_file():
        raise BadData(f"no file {path}; --method takes a name of `tailwise methods` or the path of a Python file")
    made: type[Method] = _defined_in(load_module(path), "method")
    made.catalogue_name, made.catalogue_file = Path(path).stem.replace("_", "-"), str(path)
    return made


def load_module(path: Path | str) -> ModuleType:
    """Import a user's file, afresh at each call, as `load_file` says.

    Raises:
        BadData: no such file, or it cannot be imported.
    """
    path = Path(path).resolve()
    if not path.is_file():
        raise BadData(f"no file {path}; give the path of a Python file")
    name = f"tailwise_user_{path.stem}_{hashlib.sha256(str(path.parent).encode()).hexdigest()[:8]}"
    folder = _FolderFinder(path.parent)
    folder.forget()
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module
    sys.meta_path.insert(0, folder)
    try:
        _FreshLoader(name, str(path)).exec_module(module)
    except SyntaxError as error:
        raise BadData(f"{error.filename}:{error.lineno}: {error.msg}; the file is no Python module") from None
    except TailwiseError:
        raise
    except Exception as error:  # any code of theirs runs here
        raise BadData(f"{path} cannot be loaded: {_one_line(error)}; mend the file, --debug shows where") from error
    finally:
        sys.meta_path.remove(folder)
    return module


class _FreshLoader(SourceFileLoader):
    """Compiles a module from its source, never from cached bytecode, and leaves the source with the module."""

    beside_users_file = True

    def exec_module(self, module: ModuleType) -> None:
        source = decode_source(self.get_data(self.path))
        module.__dict__["__tailwise_source__"] = source
        exec(compile(source, self.path, "exec", dont_inherit=True), module.__dict__)


class _FolderFinder:
    """Finds the modules of one folder before all others, while a user's file is being loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Find a module in the folder, or in a package inside it."""
        places = [str(self.folder)] if path is None else [p for p in path if self.folder in Path(p).resolve().parents]
        finders = (FileFinder(place, (_FreshLoader, [".py"])) for place in places)
        return next((spec for finder in finders if (spec := finder.find_spec(name)) is not None and spec.loader is not None), None)

    def forget(self) -> None:
        """Drop what was loaded afresh before from this folder, or under a name that this folder's own modules have."""
        mine = {p.stem for p in self.folder.glob("*.py")} | {p.parent.name for p in self.folder.glob("*/__init__.py")}
        for name, module in list(sys.modules.items()):
            if isinstance(getattr(module, "__loader__", None), _FreshLoader):
                inside = self.folder in Path(str(module.__file__)).parents
                if inside or name.split(".")[0] in mine:
                    del sys.modules[name]


# --- the grammar: ldam, ldam(max_margin=0.3), ldam(paper), la(base=ldam-drw), ldam-drw+sam(rho=0.1), ./mine.py ------------


@dataclass(frozen=True)
class Row:
    """A row of a comparison: a method and the modifiers over it.

    Attributes:
        method: the method, knobs set.
        modifiers: applied in order.
        text: what people call it, in tables and folders.
        is_listed: whether nobody named it: it came with `all` or with a family, and may be left out where it does not fit.
    """

    method: Method
    modifiers: tuple[Modifier, ...] = ()
    text: str = field(default="")
    is_listed: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        taken: dict[str, str] = {}
        for changed in self.modifiers:
            name = str(changed)
            if changed.sets in taken:
                raise Clash(f"{taken[changed.sets]} and {name} both set a stage's {changed.sets}; keep one of them")
            taken[changed.sets] = name
        if not self.text:
            object.__setattr__(self, "text", "+".join(str(part) for part in (self.method, *self.modifiers)))

    @property
    def typed(self) -> str:
        """The row as one types it again."""
        return "+".join(part.typed for part in (self.method, *self.modifiers))


def split_outside(text: str, separator: str) -> list[str]:
    """Split at a separator, but not inside brackets.

    >>> split_outside("ce,ldam(max_margin=0.3,scale=10),crt", ",")
    ['ce', 'ldam(max_margin=0.3,scale=10)', 'crt']
    """
    parts, depth, start = [], 0, 0
    for i, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0 and letter == separator:
            parts.append(text[start:i])
            start = i + 1
    if depth != 0:
        raise BadValue(f"brackets do not match in {text!r}")
    return [*parts, text[start:]]


def parse_row(text: str) -> Row:
    """Read a row: a method, then modifiers after `+`.

    >>> parse_row("ldam(max_margin=0.3)").text
    'ldam(max_margin=0.3)'
    """
    first, *rest = split_outside(text, "+")
    return Row(parse_method(first), tuple(parse_modifier(part) for part in rest))


def parse_rows(text: str) -> list[Row]:
    """Read rows separated by commas; `all` is every method of the catalogue, a family's name is its methods."""
    named = {part.strip() for part in split_outside(text, ",")}
    rows = [replace(parse_row(row), is_listed=row not in named) for row in expand(text)]
    seen = [row.text for row in rows]
    twice = sorted({text for text in seen if seen.count(text) > 1})
    if twice:
        raise BadValue(f"{', '.join(twice)} named twice; each row of a comparison stands once")
    return rows


def expand(text: str) -> list[str]:
    """Split a list of rows, with `all` and the names of families spelt out, and check every name; nothing is imported for it.

    Raises:
        UnknownName: no such method, modifier or file.

    >>> expand("logit adjustment,ldam+sam(rho=0.1)")
    ['balanced-softmax', 'la', 'ldam+sam(rho=0.1)']
    """
    rows: list[str] = []
    for word in (part.strip() for part in split_outside(text, ",")):
        family = [e.name for e in entries("method").values() if e.family and e.family == word.replace("_", " ")]
        rows += list(entries("method")) if word == "all" else family if family and word not in names("method") else [word]
    for row in rows:
        for place, part in enumerate(split_outside(row, "+")):
            _check_names("modifier" if place else "method", part)
    return rows


def _check_names(kind: str, text: str) -> None:
    """Refuse a name or a preset that no card has; knobs, and presets of other packages, are checked when the thing is made."""
    name, arguments = _name_and_arguments(text)
    if name.endswith(".py"):
        if not Path(name).is_file():
            raise BadData(f"no file {name}; a method is a name of `tailwise methods` or the path of a Python file")
        return
    entry = find(kind, name)
    known = entry.presets
    for argument in arguments if _is_ours(entry) else ():
        if "=" not in argument and argument not in known:
            raise UnknownName(f"preset of {name}", argument, known, see="A knob is set as in (knob=value).")


def parse_method(text: str) -> Any:
    """Read a method with its knobs, as in `ldam`, `ldam(paper)`, `la(base=ldam-drw)` or `./mine.py(width=2)`."""
    name, arguments = _name_and_arguments(text)
    kind = load_file(name) if name.endswith(".py") else load("method", name)
    return _with_arguments(kind(), arguments, name)


def parse_modifier(text: str) -> Any:
    """Read a modifier with its knobs, as in `sam(rho=0.1)`."""
    name, arguments = _name_and_arguments(text)
    return _with_arguments(load("modifier", name)(), arguments, name)


def _name_and_arguments(text: str) -> tuple[str, list[str]]:
    text = text.strip()
    name, bracket, rest = text.partition("(")
    if not bracket:
        return name, []
    if not rest.endswith(")"):
        raise BadValue(f"brackets do not match in {text!r}")
    return name.strip(), [part.strip() for part in split_outside(rest[:-1], ",") if part.strip()]


def _with_arguments(thing: Any, arguments: list[str], name: str) -> Any:
    settings: dict[str, Any] = {}
    for argument in arguments:
        knob_name, equals, value = argument.partition("=")
        if equals:
            settings[knob_name.strip()] = value.strip()
            continue
        if argument not in thing.card.presets:
            raise UnknownName(f"preset of {name}", argument, thing.card.presets, see="A knob is set as in (knob=value).")
        settings |= thing.card.presets[argument]
    return with_knobs(thing, settings, name)


def with_settled(row: str, settled: Mapping[str, Any]) -> str:
    """Write a row, as one types it, with other values of its method's knobs; nothing is imported for it.

    >>> with_settled("tau-norm(tau=val,base=ldam(scale=20))+sam", {"tau": 0.7})
    'tau-norm(base=ldam(scale=20),tau=0.7)+sam'
    """
    method, *modifiers = split_outside(row, "+")
    name, knobs = _name_and_arguments(method)
    kept = [knob for knob in knobs if knob.partition("=")[0] not in settled]
    written = ",".join([*kept, *(f"{knob}={value:g}" for knob, value in settled.items())])
    return "+".join([f"{name}({written})" if written else name, *modifiers])


def apply_settings(rows: Sequence[Row], settings: Sequence[str], recipe: Any) -> tuple[list[Row], Any]:
    """Apply `--set [METHOD.]KNOB=VALUE` and `--set recipe.FIELD=VALUE`, in order.

    A knob without its owner's name belongs to the method when there is one row only.

    Raises:
        BadValue: a setting without `=`, or one that does not say whose it is.
        UnknownName: no such knob, with the nearest ones.
    """
    rows = list(rows)
    for setting in settings:
        path, equals, value = setting.partition("=")
        if not equals:
            raise BadValue(f"--set takes KNOB=VALUE, got {setting!r}")
        owner, dot, inner = path.partition(".")
        if owner == "recipe" and dot:
            recipe = with_knobs(recipe, {inner: value}, "recipe")
        elif dot and any(owner in _owners(row) for row in rows):
            rows = [_set(row, owner, inner, value) for row in rows]
        elif len(rows) == 1:
            rows = [_set(rows[0], _owners(rows[0])[0], path, value)]
        else:
            known = sorted({"recipe", *(name for row in rows for name in _owners(row))})
            raise BadValue(f"--set {setting} does not say whose knob it is; write one of {', '.join(f'{n}.KNOB' for n in known)}")
    return rows, recipe


def _owners(row: Row) -> list[str]:
    return [display_name(type(part)) for part in (row.method, *row.modifiers)]


def _set(row: Row, owner: str, knob: str, value: str) -> Row:
    def changed(part: Any) -> Any:
        return with_knobs(part, {knob: value}, owner) if display_name(type(part)) == owner else part

    return Row(changed(row.method), tuple(changed(modifier) for modifier in row.modifiers), is_listed=row.is_listed)
