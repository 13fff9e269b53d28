"""Pickles read as data: a small machine that knows arrays and plain containers, imports nothing by name, and runs nothing.

A pickle is a program. Python's own unpickler can be told which names to admit, but it still lets a few bytes ask for any amount of
memory, and copies arrays several times. This machine knows only the instructions that plain data needs, gives long byte strings as
views of the file, and counts the memory that all the rest takes.
"""

from __future__ import annotations

import codecs
import math
import mmap
import os
import pickletools
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tailwise.data.readers.opening import first_bytes, read_whole
from tailwise.errors import BadData

MOST_BYTES = 1 << 31
"""Size of a pickle that is read at most."""

MOST_UNPACKED = 1 << 30
"""The same of one inside gzip, which has to be held in memory."""

_BESIDE = 1 << 28
_OBJECT, _CONTAINER, _ELEMENT = 64, 256, 64  # bytes that one takes at most
_LONGEST = 1 << 12  # byte strings that are longer stay views of the file
_MOST_DIGITS = 20
_MOST_AXES = 32
_NUMBERS = re.compile(r"[<>=|]?(b1|[iu][1248]|f[248])")


def read_pickle(file: Path) -> Any:
    """Read a pickle of dictionaries, lists, tuples, sets, numbers, text and arrays of numbers, of any protocol, plain or gzip.

    Keys of dictionaries that are byte strings become text, as those of Python 2 are; other byte strings stay bytes, or views of the
    file where they are long. Arrays are views of the file and read-only; the file is mapped, not copied, unless it is packed.

    Raises:
        BadData: as `first_bytes`; it is too large, asks for anything beside arrays and plain containers, or is damaged.
    """
    return parse_pickle(_contents(file), file)


def parse_pickle(content: bytes | mmap.mmap, where: object) -> Any:
    """Read a pickle that is in memory, as `read_pickle` does."""
    machine = _Machine(content, where)
    try:
        return machine.run()
    except BadData:
        raise
    except (IndexError, KeyError, TypeError, ValueError, OverflowError, MemoryError, struct.error) as error:
        raise BadData(f"{where}: a damaged pickle, at byte {machine.at:,}; download or write it again") from error


def starts_like_pickle(start: bytes, name: str) -> bool:
    """Tell whether a file's first bytes can be a pickle's; those of the oldest protocols are text, so there the name counts too."""
    if start[:1] == b"\x80":
        return start[1:2] <= b"\x05"
    return name.endswith((".pkl", ".pickle")) and start[:1] in (b"(", b"c", b"}", b"]", b"d", b"l")


def as_text(value: object) -> str | None:
    """Give text that Python 2 may have written as bytes; None where it is none. What is no Unicode is replaced."""
    if isinstance(value, str):
        value = value.encode("utf-8", "replace")
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else None


def whole_numbers(value: object, length: int | None = None) -> np.ndarray | None:
    """Give a list or an array of whole numbers as (N,) int64; None where it is none, or of another length."""
    if isinstance(value, (list, tuple)):
        if not all(isinstance(number, (int, np.integer)) and abs(int(number)) < 1 << 62 for number in value):
            return None
        value = np.array(value, dtype=np.int64)
    if not isinstance(value, np.ndarray) or value.ndim != 1 or value.dtype.kind not in "iu":
        return None
    return value.astype(np.int64) if length is None or len(value) == length else None


def _contents(file: Path) -> bytes | mmap.mmap:
    first_bytes(file)
    try:
        with open(file, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > MOST_BYTES:
                raise BadData(f"{file}: a pickle of {size:,} bytes, at most {MOST_BYTES:,} are read; save it as .npz")
            if not size:
                raise BadData(f"{file} is empty, expected a pickle; download or write it again")
            if stream.read(2) != b"\x1f\x8b":
                return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise BadData(f"{file}: cannot be opened ({error.strerror or error}); check the path") from error
    content = read_whole(file, MOST_UNPACKED + 1)
    if len(content) > MOST_UNPACKED:
        raise BadData(f"{file}: a pickle of more than {MOST_UNPACKED:,} bytes inside gzip; unpack it, or save it as .npz")
    return content


@dataclass(frozen=True)
class _Name:
    """A name that was asked for, and is admitted."""

    text: str


@dataclass
class _Kind:
    """A type of numbers; its byte order comes later."""

    text: str
    order: str = "<"

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self.order + self.text)


class _Blank:
    """An array without shape and content, which come later."""

    array: np.ndarray | None = None


class _Machine:
    """Where the reading of a pickle stands.

    Attributes:
        at: byte that is read next.
        stack: values since the last mark; `under` holds the stacks below the marks.
        memo: values that are used again.
        room: bytes that may still be made beside the file.
    """

    def __init__(self, content: bytes | mmap.mmap, where: object) -> None:
        self.content, self.view, self.where = content, memoryview(content), where
        self.at = 0
        self.stack: list[Any] = []
        self.under: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.room = 2 * len(content) + _BESIDE

    def run(self) -> Any:
        """Follow the instructions to their end; give the value on top of the stack."""
        while True:
            code = self.take(1)
            self.spend(_OBJECT)
            if code in _VALUES:
                self.stack.append(_VALUES[code](self))
            elif code in _STEPS:
                _STEPS[code](self)
            elif code == b".":
                return self.stack.pop()
            else:
                known = [opcode.name for opcode in pickletools.opcodes if opcode.code.encode("latin-1") == code]
                self.refuse(f"the instruction {known[0] if known else repr(code)}")

    def refuse(self, what: str) -> None:
        """Refuse what no plain data needs."""
        raise BadData(f"{self.where} asks for {what}; only arrays and plain containers are read")

    def spend(self, size: int) -> None:
        """Count memory; refuse what takes far more than its file."""
        self.room -= size
        if self.room < 0:
            raise BadData(f"{self.where}: a pickle that takes far more memory than its {len(self.view):,} bytes; it is no plain data")

    # What is read from the file.

    def take(self, count: int) -> bytes:
        """Give the next bytes."""
        return bytes(self.span(count))

    def span(self, count: int) -> memoryview:
        """Give a view of the next bytes."""
        left = len(self.view) - self.at
        if count > left:
            raise BadData(
                f"{self.where}: ends inside a record, at byte {self.at:,}: {count:,} bytes are declared, {left:,} left; download it again"
            )
        self.at += count
        return self.view[self.at - count : self.at]

    def line(self) -> bytes:
        """Give the bytes up to the next line break."""
        stop = self.content.find(b"\n", self.at)
        if stop < 0:
            raise BadData(f"{self.where}: ends inside a record, at byte {self.at:,}; download it again")
        return self.take(stop + 1 - self.at)[:-1]

    def number(self, size: int, signed: bool = False) -> int:
        """Give a whole number of so many bytes, the lowest first."""
        return int.from_bytes(self.span(size), "little", signed=signed)

    def long(self, size: int) -> int:
        """Give a number that says its own size; a million digits are no data."""
        if size > 8:
            raise BadData(f"{self.where}: a number of {size:,} bytes at byte {self.at:,} is too long; it is no plain data")
        return self.number(size, signed=True)

    def digits(self) -> int:
        """Give a number written out; 00 and 01 are False and True."""
        text = self.line().rstrip(b"L")
        if len(text) > _MOST_DIGITS:
            raise BadData(f"{self.where}: a number of {len(text):,} digits at byte {self.at:,} is too long; it is no plain data")
        return {b"00": False, b"01": True}.get(text, int(text))

    def quoted(self) -> bytes:
        """Give a byte string written out."""
        text = self.line().strip()
        if len(text) < 2 or text[:1] not in b"'\"" or text[-1:] != text[:1]:
            raise ValueError("no quoted text")
        return codecs.escape_decode(text[1:-1])[0]

    def raw(self, size: int) -> bytes | memoryview:
        """Give a byte string."""
        found = self.span(size)
        return found if size > _LONGEST else bytes(found)

    def text(self, size: int) -> str:
        """Give text."""
        self.spend(size)
        return str(self.span(size), "utf-8", "surrogatepass")

    def name(self, module: str, name: str) -> _Name:
        """Admit a name, or refuse it."""
        text = f"{module}.{name}"
        if text not in _ADMITTED:
            self.refuse(text.encode("unicode_escape").decode()[:100])
        return _Name(text)

    def name_of_lines(self) -> _Name:
        """Admit a name that is written out."""
        return self.name(self.line().decode(), self.line().decode())

    def recall(self, key: int) -> Any:
        """Give a value once more; an array that is complete by now, as such."""
        value = self.memo[key]
        return value.array if isinstance(value, _Blank) and value.array is not None else value

    # What is done with the stack.

    def marked(self) -> list[Any]:
        """Take what lies above the last mark."""
        items, self.stack = self.stack, self.under.pop()
        return items

    def mark(self) -> None:
        """Begin a new stack."""
        self.spend(_CONTAINER)
        self.under.append(self.stack)
        self.stack = []

    def put(self, key: int) -> None:
        """Remember the value on top."""
        self.spend(_OBJECT)
        self.memo[key] = self.stack[-1]

    def push(self, container: Any) -> None:
        """Put a new container on top."""
        self.spend(_CONTAINER)
        self.stack.append(container)

    def last(self, count: int) -> tuple[Any, ...]:
        """Take so many values from the top."""
        if count > len(self.stack):
            raise IndexError
        items = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        return items

    def append(self, items: list[Any] | tuple[Any, ...]) -> None:
        """Add to the list on top."""
        _only(list, self.stack[-1]).extend(items)

    def set_items(self, items: list[Any] | tuple[Any, ...]) -> None:
        """Add keys and values to the dictionary on top."""
        self.spend(_ELEMENT * len(items))
        _only(dict, self.stack[-1]).update(_pairs(items))

    def add(self, items: list[Any]) -> None:
        """Add to the set on top."""
        self.spend(_ELEMENT * len(items))
        _only(set, self.stack[-1]).update(map(_key, items))

    def name_of_texts(self) -> None:
        """Admit a name of two texts on the stack."""
        module, name = self.last(2)
        self.stack.append(self.name(_only(str, module), _only(str, name)))

    def call(self) -> None:
        """Make what an admitted name and its arguments stand for."""
        asked, arguments = self.last(2)
        make = _ADMITTED[_only(_Name, asked).text]
        if make is None:
            raise TypeError
        self.push(make(self, *_only(tuple, arguments)))

    def make_object(self) -> None:
        """Refuse an object, by its class's name where that is not admitted."""
        self.name_of_lines()
        self.refuse("an object")

    def build(self) -> None:
        """Complete an array or a type of numbers; nothing else has a state."""
        (state,), target = self.last(1), self.stack[-1]
        if isinstance(target, _Kind):
            self.order(target, *_only(tuple, state)[1:5])
        elif isinstance(target, _Blank) and target.array is None:
            shape, kind, is_fortran, content = _only(tuple, state)[-4:]
            target.array = self.stack[-1] = self.array(content, kind, shape, "F" if is_fortran is True else "C")
        else:
            self.refuse("the state of an object")

    def order(self, kind: _Kind, order: Any, *structure: Any) -> None:
        """Set a type's byte order."""
        order = as_text(order)
        if order not in ("<", ">", "=", "|") or any(part is not None for part in structure):
            self.refuse("an array of records")
        kind.order = order

    def array(self, content: Any, kind: Any, shape: Any, order: str) -> np.ndarray:
        """Make an array; no byte more than its content is ever set aside."""
        dtype = _only(_Kind, kind).dtype
        if isinstance(content, str):
            content = content.encode("latin-1")
        if not isinstance(content, (bytes, memoryview)):
            self.refuse("an array of Python objects")
        if len(_only(tuple, shape)) > _MOST_AXES or any(_only(int, size) < 0 for size in shape):
            raise ValueError("no shape")
        declared, held = math.prod(shape) * dtype.itemsize, len(content)
        if declared != held:
            raise BadData(f"{self.where}: an array declares {declared:,} bytes and holds {held:,}; download or write it again")
        flat = np.frombuffer(content, dtype) if held else np.empty(0, dtype)
        return flat.reshape(shape, order="F" if order == "F" else "C")


def _only(kind: type, value: Any) -> Any:
    """Give a value of exactly one type; a damaged pickle puts any value anywhere."""
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}")
    return value


def _key(value: Any) -> Any:
    """Give a key, bytes as text; a tuple in a tuple in a tuple would take for ever to hash."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if not isinstance(value, (str, int, float, np.number, np.bool_)):
        raise TypeError("no key")
    return value


def _pairs(items: list[Any] | tuple[Any, ...]) -> dict[Any, Any]:
    return {_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)}


# What the admitted names stand for.


def _blank(machine: _Machine, kind: Any, shape: Any, sign: Any) -> _Blank:
    if _only(_Name, kind).text != "numpy.ndarray":
        raise TypeError
    return _Blank()


def _kind(machine: _Machine, text: Any, *flags: Any) -> _Kind:
    text = as_text(text) or ""
    if not _NUMBERS.fullmatch(text):
        machine.refuse("an array of Python objects" if text.strip("|<>=").startswith("O") else f"an array of {text[:20]!r}")
    return _Kind(text.lstrip("<>=|"), text[0] if text[0] in "<>=|" else "<")


def _scalar(machine: _Machine, kind: Any, content: Any) -> Any:
    return machine.array(content, kind, (), "C")[()]


def _buffer(machine: _Machine, content: Any, kind: Any, shape: Any, order: Any) -> np.ndarray:
    return machine.array(content, kind, shape, order)


def _encode(machine: _Machine, text: Any, encoding: Any) -> bytes:
    machine.spend(len(_only(str, text)))
    if as_text(encoding) not in ("latin1", "latin-1"):
        raise ValueError("another encoding")
    encoded: bytes = text.encode("latin-1")
    return encoded


def _container(kind: Callable[..., Any]) -> Callable[..., Any]:
    def make(machine: _Machine, items: Any = ()) -> Any:
        if type(items) not in (list, tuple, set):
            raise TypeError
        machine.spend(_ELEMENT * len(items))
        return kind(map(_key, items) if kind in (set, frozenset) else items)

    return make


_CORES = ("numpy.core", "numpy._core")  # the older and the newer name of one module
_BUILTINS = ("__builtin__", "builtins")

_ADMITTED: Mapping[str, Callable[..., Any] | None] = {
    **{f"{core}.multiarray._reconstruct": _blank for core in _CORES},
    **{f"{core}.multiarray.scalar": _scalar for core in _CORES},
    **{f"{core}.numeric._frombuffer": _buffer for core in _CORES},  # arrays since protocol 5
    "numpy.ndarray": None,
    "numpy.dtype": _kind,
    "_codecs.encode": _encode,
    **{f"{home}.{kind.__name__}": _container(kind) for home in _BUILTINS for kind in (set, frozenset, list, tuple)},
    **{f"{home}.dict": lambda machine: {} for home in _BUILTINS},
    **{f"{home}.bytes": lambda machine: b"" for home in _BUILTINS},
}

_VALUES: Mapping[bytes, Callable[[_Machine], Any]] = {
    # Instructions that put one value on the stack.
    b"N": lambda m: None,
    b"\x88": lambda m: True,
    b"\x89": lambda m: False,
    b"I": _Machine.digits,
    b"L": _Machine.digits,
    b"J": lambda m: m.number(4, signed=True),
    b"K": lambda m: m.number(1),
    b"M": lambda m: m.number(2),
    b"\x8a": lambda m: m.long(m.number(1)),
    b"\x8b": lambda m: m.long(m.number(4)),
    b"F": lambda m: float(m.line()),
    b"G": lambda m: struct.unpack(">d", m.span(8))[0],
    b"S": _Machine.quoted,
    b"U": lambda m: m.raw(m.number(1)),
    b"T": lambda m: m.raw(m.number(4)),
    b"C": lambda m: m.raw(m.number(1)),
    b"B": lambda m: m.raw(m.number(4)),
    b"\x8e": lambda m: m.raw(m.number(8)),
    b"\x96": lambda m: m.raw(m.number(8)),
    b"V": lambda m: m.line().decode("raw-unicode-escape"),
    b"\x8c": lambda m: m.text(m.number(1)),
    b"X": lambda m: m.text(m.number(4)),
    b"\x8d": lambda m: m.text(m.number(8)),
    b"c": _Machine.name_of_lines,
    b"g": lambda m: m.recall(int(m.line())),
    b"h": lambda m: m.recall(m.number(1)),
    b"j": lambda m: m.recall(m.number(4)),
}

_STEPS: Mapping[bytes, Callable[[_Machine], object]] = {
    # Instructions that work on the stack.
    b"\x80": lambda m: m.number(1),
    b"\x95": lambda m: m.number(8),
    b"(": _Machine.mark,
    b"p": lambda m: m.put(int(m.line())),
    b"q": lambda m: m.put(m.number(1)),
    b"r": lambda m: m.put(m.number(4)),
    b"\x94": lambda m: m.put(len(m.memo)),
    b"]": lambda m: m.push([]),
    b"}": lambda m: m.push({}),
    b")": lambda m: m.push(()),
    b"\x8f": lambda m: m.push(set()),
    b"l": lambda m: m.push(m.marked()),
    b"d": lambda m: m.push(_pairs(m.marked())),
    b"t": lambda m: m.push(tuple(m.marked())),
    b"\x91": lambda m: m.push(frozenset(map(_key, m.marked()))),
    b"\x85": lambda m: m.push(m.last(1)),
    b"\x86": lambda m: m.push(m.last(2)),
    b"\x87": lambda m: m.push(m.last(3)),
    b"a": lambda m: m.append(m.last(1)),
    b"e": lambda m: m.append(m.marked()),
    b"s": lambda m: m.set_items(m.last(2)),
    b"u": lambda m: m.set_items(m.marked()),
    b"\x90": lambda m: m.add(m.marked()),
    b"\x93": _Machine.name_of_texts,
    b"R": _Machine.call,
    b"i": _Machine.make_object,
    b"b": _Machine.build,
}
