"""A tar as a list of its files, plain or gzip: read where they lie, nothing is ever extracted, and what could escape is refused."""

from __future__ import annotations

import gzip
import os
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from tailwise.data.readers.opening import first_bytes
from tailwise.errors import BadData

MOST_MEMBERS = 1_000_000
"""Members of one tar: beyond it a tar is no shard of a data set."""

MOST_BYTES = 1 << 30
"""Bytes of one member."""

MOST_RATIO = 1_000
"""Times by which a gzip stream may grow: images do not, archives made to fill a disk do."""

_SMALL = 1 << 24
"""Bytes that are read at once, and up to which headers may grow."""

_BLOCK = 512
_LEAVES = re.compile(r"(^|[/\\])\.\.([/\\]|$)|^(/|[A-Za-z]:[\\/])")
_CONTROL = re.compile(r"[\x00-\x1f\ud800-\udfff]")  # bytes that are no UTF-8 become surrogates


class Member(NamedTuple):
    """One file of a tar.

    Attributes:
        name: with `/`, without a leading `./`.
        start: where its bytes begin in the unpacked tar.
        size: in bytes.
    """

    name: str
    start: int
    size: int


class Tar:
    """An open tar, for `with`.

    Attributes:
        file: where it is.
        is_ended: once `members` have run out, whether the end mark was there that a complete tar has.
    """

    def __init__(self, file: Path) -> None:
        first_bytes(file)
        self.file = file
        self.is_ended = False
        self._size = os.path.getsize(file)
        self._stream: IO[bytes] = open(file, "rb")  # noqa: SIM115
        self._is_packed = self._stream.read(2) == b"\x1f\x8b"
        self._stream.seek(0)
        if self._is_packed:
            self._stream.close()
            self._stream = gzip.open(file)  # type: ignore[assignment]  # noqa: SIM115

    def __enter__(self) -> Tar:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def members(self) -> Iterator[Member]:
        """Give the files in order; folders are passed over.

        Raises:
            BadData: the tar is damaged or cut off; a member has a name that leaves the archive, or is a link or a device; there are
                too many, or they are too large.
        """
        headers = _Headers(self._stream)
        last = ""
        try:
            with tarfile.TarFile(fileobj=headers, encoding="utf-8", errors="surrogateescape") as tar:  # type: ignore[arg-type]
                count = 0
                while (found := tar.next()) is not None:
                    tar.members.clear()  # type: ignore[attr-defined]  # it would keep them all
                    count += 1
                    last = found.name
                    self._refuse(found, count)
                    if found.isfile():
                        yield Member(found.name.removeprefix("./"), found.offset_data, found.size)
            self._check_sum()
        except BadData:
            raise
        except Exception as error:  # on damage tarfile lets through EOFError, ValueError, OverflowError, RecursionError ...
            is_cut = last and (isinstance(error, EOFError) or str(error) == "unexpected end of data")
            raise self._cut_off(last) if is_cut else self._damaged(last, error) from error
        if headers.last.strip(b"\0"):  # tarfile takes a damaged header for the end
            raise self._cut_off(last) if len(headers.last) < _BLOCK else self._damaged(last, "no header of a member follows")
        self.is_ended = len(headers.last) == _BLOCK

    def read(self, member: Member, most: int = MOST_BYTES) -> bytes:
        """Give the bytes of a member; from gzip quickly only in the order of the members.

        Raises:
            BadData: it has more than `most` bytes, or is damaged or cut off.
        """
        if member.size > most:
            raise BadData(f"{self.file}: member {member.name!r} has {member.size:,} bytes, expected at most {most:,}; leave it out")
        try:
            self._stream.seek(member.start)
            content = self._stream.read(member.size)
        except EOFError as error:
            raise self._cut_off(member.name) from error
        except (OSError, zlib.error) as error:
            raise self._damaged(member.name, error) from error
        if len(content) < member.size:
            raise self._cut_off(member.name)
        return content

    def _check_sum(self) -> None:
        """Read gzip to its end, where its check sum is; what grows beyond the limit is not followed."""
        for _ in range(self._limit // _SMALL if self._is_packed else 0):
            if not self._stream.read(_SMALL):
                return

    @property
    def _limit(self) -> int:
        """Bytes up to which a gzip stream may grow."""
        return max(MOST_RATIO * self._size, 2 * _SMALL)

    def _refuse(self, found: tarfile.TarInfo, count: int) -> None:
        """Refuse what is dangerous, or no data set, before anything is read of it."""
        where = f"{self.file}: member {found.name!a}"
        end = found.offset_data + found.size
        if _LEAVES.search(found.name):
            raise BadData(f"{where} leaves the archive; pack it again with relative names")
        if _CONTROL.search(found.name):
            raise BadData(f"{where} has a name with a control character, or that is not UTF-8; pack it again under another name")
        if not (found.isfile() or found.isdir()) or found.issparse():
            raise BadData(f"{where} is a {_kind(found)}, expected plain files; pack it again without")
        if count > MOST_MEMBERS:
            raise BadData(f"{self.file}: more than {MOST_MEMBERS:,} members; cut it into shards")
        if found.size < 0:
            raise self._damaged(found.name, "a negative size")
        if self._is_packed and end > self._limit:
            raise BadData(f"{where} makes it unpack to more than {MOST_RATIO:,} times its size; it is not read")

    def _cut_off(self, member: str) -> BadData:
        return BadData(f"{self.file}: ends inside member {member!a} (download incomplete?); download or write it again")

    def _damaged(self, last: str, error: object) -> BadData:
        place = f"after member {last!a}" if last else "at its beginning"
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        return BadData(f"{self.file}: no tar, or a damaged one, {place} ({reason}); download or write it again")


class _Headers:
    """A stream for `tarfile`, which believes what headers say of their own length."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.last = b""
        self.tell, self.seek = stream.tell, stream.seek

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _SMALL:
            raise ValueError(f"a header of {size:,} bytes")
        self.last = self._stream.read(size)
        return self.last


def _kind(found: tarfile.TarInfo) -> str:
    if found.issym() or found.islnk():
        return "link"
    return "sparse file" if found.issparse() else "device or pipe"
