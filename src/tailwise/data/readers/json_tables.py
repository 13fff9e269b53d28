"""A JSON file whose top is an object of lists, or one list: mapped, cut at the top level, and decoded list by list as typed records."""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from tailwise.data.origin import SourceTable
from tailwise.data.readers.opening import first_bytes, read_whole
from tailwise.errors import BadData

MOST_BYTES = 1 << 33
"""Size of a file that is read at most."""

MOST_UNPACKED = 1 << 32
"""The same of one inside gzip, which has to be held in memory."""

_BETWEEN = re.compile(rb'\s*[{,]\s*"((?:[^"\\]|\\.)*)"\s*:\s*', re.DOTALL)
_FIRST_RECORD = 1 << 16
Record = TypeVar("Record")


class Nothing(msgspec.Struct, gc=False):
    """A record of which nothing is kept: to count."""


class JsonTables:
    """The lists of a JSON file.

    Attributes:
        file: where they are.
        lists: name -> list, as text; the one list of a file that is a list has the name "".
    """

    def __init__(self, file: Path) -> None:
        """Cut a file at its top level.

        Raises:
            BadData: it cannot be opened, is no JSON, is cut off, or names a key of its top twice.
        """
        self.file = file
        self._content = _contents(file)
        start = bytes(self._content[:64]).lstrip(b"\xef\xbb\xbf \t\r\n")
        view = memoryview(self._content)
        if bytes(view[:3]) == b"\xef\xbb\xbf":
            view = view[3:]
        if start.startswith(b"["):
            self.lists: Mapping[str, Any] = {"": view}
        elif start.startswith(b"{"):
            found = self._decoded(view, dict[str, msgspec.Raw], "")
            self._refuse_twice(view, found)
            self.lists = {name: memoryview(raw) for name, raw in found.items() if bytes(memoryview(raw)[:1]) != b"{"}
            self.objects = frozenset(found) - frozenset(self.lists)
        else:
            raise BadData(f"{file}: no JSON, expected an object of lists such as images, annotations and categories; download it again")

    def records(self, name: str, kind: type[Record]) -> list[Record]:
        """Decode a list of records; none where there is no such list.

        Raises:
            BadData: a record is not what it should be; the line says which.
        """
        if name not in self.lists:
            if name in getattr(self, "objects", ()):
                raise BadData(f"{self.file}: {name!r} is an object, expected a list of records")
            return []
        found: list[Record] = self._decoded(self.lists[name], list[kind], name)  # type: ignore[valid-type]
        return found

    def tables(self, known: Mapping[str, int]) -> tuple[SourceTable, ...]:
        """Describe every list: how many records, and the first; `known` says what was counted already."""
        described = []
        for name, text in self.lists.items():
            if bytes(text[:1]) != b"[":  # a number or a text
                continue
            number = known[name] if name in known else self._number(text, name)
            label = f"{self.file.name}: {name}" if name else self.file.name
            described.append(SourceTable(label, number, _first_record(text)))
        return tuple(described)

    def _number(self, text: memoryview, name: str) -> int:
        """Count the values of a list; records are passed over without being made."""
        try:
            return len(msgspec.json.decode(text, type=list[Nothing]))
        except msgspec.ValidationError:  # numbers or texts
            return len(self._decoded(text, list[msgspec.Raw], name))
        except (msgspec.DecodeError, RecursionError, ValueError, MemoryError):
            return len(self._decoded(text, list[Nothing], name))  # says what is wrong

    def _decoded(self, text: Any, kind: Any, name: str) -> Any:
        where = f"{self.file}: list {name!r}" if name else str(self.file)
        try:
            return msgspec.json.decode(text, type=kind)
        except msgspec.ValidationError as error:
            raise BadData(f"{where}: {_one_line(error)}; correct the file") from error
        except msgspec.DecodeError as error:
            if "truncated" in str(error):
                end = f"ends inside a record at byte {len(self._content):,} (download incomplete?)"
                raise BadData(f"{self.file}: {end}; download it again") from error
            raise BadData(f"{where}: {_one_line(error)}; download or write it again") from error
        except RecursionError as error:
            raise BadData(f"{where}: nested too deeply to be a list of records; is it the right file?") from error
        except UnicodeDecodeError as error:
            raise BadData(f"{self.file}: not UTF-8 at byte {self._not_utf8(error):,}; save it again as UTF-8") from error
        except (ValueError, OverflowError, MemoryError) as error:
            raise BadData(f"{where}: {_one_line(error)}; correct the file") from error

    def _not_utf8(self, error: UnicodeDecodeError) -> int:
        """Find the byte of the file that is wrong: a decoder counts from the beginning of its text."""
        try:
            bytes(self._content).decode()
        except UnicodeDecodeError as whole:
            return whole.start
        return error.start

    def _refuse_twice(self, view: memoryview, found: Mapping[str, msgspec.Raw]) -> None:
        """Refuse keys that are there twice, of which a decoder keeps the last: values are views, and between two of them is one key."""
        begin = _address(view)
        end = 0
        spans = sorted((_address(memoryview(raw)) - begin, len(memoryview(raw))) for raw in found.values())
        for start, length in spans:
            between = bytes(view[end : min(start, end + _FIRST_RECORD)])
            if start - end > _FIRST_RECORD or not _BETWEEN.fullmatch(between):
                key = _BETWEEN.match(between)
                name = key[1].decode("utf-8", "replace") if key else "?"
                raise BadData(f"{self.file}: duplicate key {name!r}; were two files joined? keep each list once")
            end = start + length


def _address(view: memoryview) -> int:
    address: int = np.frombuffer(view, np.uint8).__array_interface__["data"][0]
    return address


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _contents(file: Path) -> bytes | mmap.mmap:
    first_bytes(file)
    try:
        with open(file, "rb") as stream:
            if stream.read(2) != b"\x1f\x8b":
                size = file.stat().st_size
                if not size:
                    raise BadData(f"{file} is empty, expected JSON; download it again")
                if size > MOST_BYTES:
                    raise BadData(f"{file}: {size:,} bytes, at most {MOST_BYTES:,} are read")
                return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise BadData(f"{file}: cannot be opened ({error.strerror or error}); check the path") from error
    content = read_whole(file, MOST_UNPACKED + 1)
    if len(content) > MOST_UNPACKED:
        raise BadData(f"{file}: more than {MOST_UNPACKED:,} bytes inside gzip; unpack it")
    if not content:
        raise BadData(f"{file} is empty, expected JSON; download it again")
    return content


def _first_record(text: memoryview) -> Mapping[str, Any] | None:
    """Decode the first record of a list alone."""
    start = bytes(text[:_FIRST_RECORD]).decode("utf-8", "replace")
    try:
        record, _ = json.JSONDecoder().raw_decode(start, re.compile(r"\s*\[\s*").match(start).end())  # type: ignore[union-attr]
    except (ValueError, AttributeError, RecursionError):  # an empty list, or a record that is too long to be shown
        return None
    return record if isinstance(record, dict) else {"": record}
