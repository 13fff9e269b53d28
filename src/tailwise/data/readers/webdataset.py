"""Reader of WebDataset tars: members of one key that lie side by side are a sample, as in `000123.jpg` and `000123.cls`."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec
import polars as pl

from tailwise.data.content import hash_files
from tailwise.data.images import is_image_name
from tailwise.data.listing import first_five
from tailwise.data.manifest import Manifest
from tailwise.data.origin import Finding, Origin, SourceTable
from tailwise.data.place import Place
from tailwise.data.readers.labels import Labels, number_labels, split_in_name
from tailwise.data.readers.numbering import numbered_id
from tailwise.data.readers.tar import Member, Tar
from tailwise.data.unpacked import unpack, unpacking_key
from tailwise.data.walk import entries
from tailwise.errors import BadData
from tailwise.store import Store

_NAME = re.compile(r"(?P<stem>(?P<of>.*?)(?P<number>[0-9]*))\.(tar|tar\.gz|tgz)", re.IGNORECASE | re.DOTALL)
_MAGIC = slice(257, 262)
_DIGITS = re.compile(rb"\s*([0-9]{1,18})\s*")
_MOST_LABEL = 1 << 24
"""Bytes of a `.cls` or `.json`."""

_LABELS = ("label", "class", "cls")
_CLASS_NAMES = ("label_name", "class_name", "classname", "label_text")


@dataclass
class _Sample:
    """Members of one key that lie side by side.

    Attributes:
        shard: the tar.
        key: path up to the first dot of the file's name.
        images: its members that are images, in the tar's order.
        number: label, of `.cls` or else of `.json`.
        name: class name, of `.json`.
        is_torn: whether `.cls` and `.json` say different numbers.
    """

    shard: Path
    key: str
    images: list[Member] = field(default_factory=list)
    number: int | None = None
    name: str | None = None
    is_torn: bool = False

    @property
    def image(self) -> Member:
        """The image: the first whose ending has no further dot, as in `.jpg` beside `.mask.png`."""
        return min(self.images, key=lambda member: "." in _parts(member.name)[1])


class _Shard(NamedTuple):
    """One tar, read."""

    file: Path
    samples: list[_Sample]
    unread: Counter[str]
    hidden: int
    is_ended: bool


def recognises(place: Place) -> bool:
    """A tar, or a folder of tars without folders beside them."""
    if place.is_folder:
        return bool(_tars(place.path)) and not any((place.path / name).is_dir() for name in place.names)
    return place.start[_MAGIC] == b"ustar" or _NAME.fullmatch(place.path.name) is not None


def read_webdataset(path: Path | str) -> Manifest:
    """Read a `.tar` or `.tar.gz` of samples, or a folder of them whose names say the split (`train-000000.tar`).

    A sample is one image and a label: `.cls` with digits, or `.json` with `label` or `class`, a number or a name. A class is named by
    its number, or as the samples' `.json` do. Images are unpacked into the store once; nothing is extracted. Ids are the keys, in a
    folder `tar/key`. Samples without an image are left out, those without a label have none; both are counted.

    Raises:
        BadData: no tars, a damaged one or one cut off; members that could escape, as `Tar` says; labels that are none; no sample has
            an image, or none a label.
    """
    path = Path(path)
    files = _tars(path) if path.is_dir() else [path]
    if not files:
        raise BadData(f"{path}: no .tar files, expected set-000000.tar or the like; check the path")
    splits = _splits(path, files)
    shards = [_read_shard(file) for file in files]
    every = [sample for shard in shards for sample in shard.samples]
    samples = [sample for sample in every if sample.images]
    if not samples:
        raise BadData(f"{path}: none of {len(every):,} samples has an image, expected 000123.jpg or the like beside 000123.cls")
    labels, has_label = _labels(samples, path)
    hashes = hash_files([str(file.resolve()) for file in files], Store().shelf("hashes"))
    root, unpacked = unpack(unpacking_key("webdataset", [splits[file] for file in files], hashes), lambda: _encoded(samples, splits))
    rows = unpacked.with_columns(
        pl.Series("id", _ids(samples, path.is_dir())),
        pl.Series("split", [splits[sample.shard] for sample in samples]),
        pl.repeat(None, len(samples), dtype=pl.Int32, eager=True).scatter(has_label.arg_true(), labels.numbers).alias("label"),
    )
    name = path.resolve().name if path.is_dir() else _stem(path)
    summary = f"read from the tars of {path.name!r}: {rows.height:,} images, {len(labels.classes):,} classes, unpacked in the store"
    tables = tuple(SourceTable(shard.file.name, len(shard.samples), _first(shard)) for shard in shards)
    origin = Origin(tables, (*_findings_of_tars(shards), *_findings_of_samples(every, has_label, rows["id"])))
    return Manifest(rows, labels.classes, root, {}, name, (summary, *_unread(shards), *labels.notes), origin=origin)


def _tars(folder: Path) -> list[Path]:
    return [folder / entry.name for entry in entries(folder) if _NAME.fullmatch(entry.name) and entry.is_file()]


def _stem(file: Path) -> str:
    found = _NAME.fullmatch(file.name)
    return (found["stem"] if found else file.stem) or "tar"


def _splits(path: Path, files: Sequence[Path]) -> dict[Path, str]:
    said = {file: split_in_name(_stem(file)) for file in files}
    unsaid = [file.name for file, split in said.items() if split is None]
    if unsaid and len(unsaid) < len(files):
        raise BadData(f"{path}: no split is named by {first_five(unsaid)}, and others name one; move these files elsewhere")
    return {file: split or "train" for file, split in said.items()}


def _read_shard(file: Path) -> _Shard:
    samples: list[_Sample] = []
    unread: Counter[str] = Counter()
    hidden = 0
    with Tar(file) as tar:
        for member in tar.members():
            key, ending = _parts(member.name)
            if not key.rpartition("/")[2] or "__MACOSX/" in member.name:
                hidden += 1
                continue
            if not samples or samples[-1].key != key:
                samples.append(_Sample(file, key))
            if is_image_name(member.name):
                samples[-1].images.append(member)
            elif ending == "cls":
                _take_number(samples[-1], _number(tar, member))
            elif ending == "json":
                _take_json(samples[-1], tar, member)
            else:
                unread[ending] += 1
    if not samples:
        raise BadData(f"{file}: no members, expected 000123.jpg beside 000123.cls; download or write it again")
    return _Shard(file, samples, unread, hidden, tar.is_ended)


def _parts(name: str) -> tuple[str, str]:
    """Give the key, which ends at the first dot of the file's name, and the rest in lower case."""
    folder, slash, base = name.rpartition("/")
    stem, _, ending = base.partition(".")
    return folder + slash + stem, ending.lower()


def _number(tar: Tar, member: Member) -> int:
    content = tar.read(member, _MOST_LABEL)
    found = _DIGITS.fullmatch(content)
    if not found:
        seen = content[:20].decode("utf-8", "backslashreplace")
        raise BadData(f"{tar.file}: member {member.name!a} holds {seen!a}, expected the digits of a label; names belong into .json")
    return int(found[1])


def _take_number(sample: _Sample, number: int) -> None:
    sample.is_torn |= sample.number not in (None, number)
    sample.number = number


def _take_json(sample: _Sample, tar: Tar, member: Member) -> None:
    where = f"{tar.file}: member {member.name!a}"
    try:
        found = msgspec.json.decode(tar.read(member, _MOST_LABEL))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadData(f"{where} is no JSON ({error}); correct it") from error
    fields = found if isinstance(found, dict) else {}
    value = next((fields[name] for name in _LABELS if fields.get(name) is not None), None)
    name = next((fields[name] for name in _CLASS_NAMES if fields.get(name) is not None), None)
    if isinstance(value, str):
        value, name = None, value
    if isinstance(value, bool) or not isinstance(value, int | None) or not isinstance(name, str | None) or name == "":
        raise BadData(f"{where} has a label that is neither a whole number nor a name; correct it")
    sample.name = name
    if value is not None:
        sample.is_torn |= sample.number not in (None, value)
        sample.number = value if sample.number is None else sample.number


def _labels(samples: Sequence[_Sample], where: Path) -> tuple[Labels, pl.Series]:
    """Number the classes of the samples that have a label, and tell which these are."""
    numbers = pl.Series([None if sample.number is None else str(sample.number) for sample in samples], dtype=pl.String)
    names = pl.Series([sample.name for sample in samples], dtype=pl.String)
    has_label = numbers.is_not_null() | names.is_not_null()
    if not has_label.any():
        raise BadData(f"{where}: no sample has a label, expected 000123.cls with its number, or 000123.json with `label` or `class`")
    order = pl.int_range(len(samples), eager=True).filter(has_label)
    if numbers.is_null().all():
        return number_labels(names.filter(has_label), order, where), has_label
    unnumbered = (has_label & numbers.is_null()).arg_true()
    if len(unnumbered):
        sample = samples[unnumbered[0]]
        raise BadData(f"{where}: sample {sample.key!r} has the class name {sample.name!r} and no number, and others have; number them all")
    found = number_labels(numbers.filter(has_label), order, where)
    called = pl.DataFrame([found.numbers.alias("label"), names.filter(has_label).alias("name")]).drop_nulls().unique().sort("label")
    if called.height == len(found.classes) and not (called["label"].is_duplicated() | called["name"].is_duplicated()).any():
        return found._replace(classes=tuple(called["name"])), has_label
    notes = ("classes are named by number: their names in .json are not one a class",) if called.height else ()
    return found._replace(notes=(*found.notes, *notes)), has_label


def _ids(samples: Sequence[_Sample], is_folder: bool) -> list[str]:
    """Give every sample its key, after its tar's name where there may be several, and a number where a key comes again."""
    seen: Counter[str] = Counter()
    ids = []
    for sample in samples:
        plain = f"{_stem(sample.shard)}/{sample.key}" if is_folder else sample.key
        seen[plain] += 1
        ids.append(plain if seen[plain] == 1 else f"{plain}#{seen[plain]}")
    return ids


def _encoded(samples: Sequence[_Sample], splits: dict[Path, str]) -> Iterator[tuple[str, bytes]]:
    """Give (name, encoded bytes) of every image; names are numbers, so that what a tar calls its members names no file."""
    of_shard: dict[Path, list[tuple[int, Member]]] = defaultdict(list)
    for number, sample in enumerate(samples):
        of_shard[sample.shard].append((number, sample.image))
    for file, members in of_shard.items():
        with Tar(file) as tar:
            for number, member in members:
                yield numbered_id(splits[file], number, len(samples)), tar.read(member)


def _first(shard: _Shard) -> dict[str, object]:
    sample = shard.samples[0]
    return {"key": sample.key, "image": sample.image.name if sample.images else None, "label": sample.number, "class": sample.name}


def _unread(shards: Sequence[_Shard]) -> Iterator[str]:
    unread = sum((shard.unread for shard in shards), Counter[str]())
    hidden = sum(shard.hidden for shard in shards)
    if unread:
        yield f"left unread: {first_five([f'.{ending} ({count:,})' for ending, count in unread.most_common()])}"
    if hidden:
        yield f"skipped {hidden:,} hidden members"


def _findings_of_tars(shards: Sequence[_Shard]) -> Iterator[Finding]:
    open_ended = [shard.file.name for shard in shards if not shard.is_ended]
    if open_ended:
        says = f"{first_five(open_ended)} end without the end mark of a tar: members may be missing (download incomplete?)"
        yield Finding("tar-without-end", "warning", says, len(open_ended))
    numbers = defaultdict(set)
    for shard in shards:
        found = _NAME.fullmatch(shard.file.name)
        if found and found["number"]:
            numbers[found["of"]].add(int(found["number"]))
    gaps = [
        f"{of}{n}"
        for of, known in numbers.items()
        if len(known) > 1 and max(known) < 1_000_000
        for n in range(min(1, *known), max(known))
        if n not in known
    ]
    if gaps:
        yield Finding("missing-shard", "warning", f"{len(gaps):,} tars of a numbered row are not there: {first_five(gaps)}", len(gaps))


def _findings_of_samples(every: Sequence[_Sample], has_label: pl.Series, ids: pl.Series) -> Iterator[Finding]:
    keys = Counter((sample.shard.name, sample.key) for sample in every)
    again = [key for (_, key), count in keys.items() if count > 1]
    if again:
        says = (
            f"{len(again):,} keys are in several places of a tar: {first_five(again)}; each place counts as a sample, so pack them sorted"
        )
        yield Finding("sample-in-parts", "error", says, len(again))
    with_image = [sample for sample in every if sample.images]
    torn = ids.filter(pl.Series([sample.is_torn for sample in with_image], dtype=pl.Boolean)).to_list()
    if torn:
        says = f"{len(torn):,} samples have one label in .cls and another in .json, or two of them: {first_five(torn)}"
        yield Finding("label-conflict", "error", says, len(torn), tuple(torn))
    without = [sample.key for sample in every if not sample.images]
    if without:
        says = f"{len(without):,} samples have no image and are left out: {first_five(without)}"
        yield Finding("sample-without-image", "warning", says, len(without), tuple(without))
    unlabelled = ids.filter(~has_label).to_list()
    if unlabelled:
        says = f"{len(unlabelled):,} samples have no label (.cls, or .json with label): {first_five(unlabelled)}"
        yield Finding("sample-without-label", "warning", says, len(unlabelled), tuple(unlabelled))
    several = ids.filter(pl.Series([len(sample.images) > 1 for sample in with_image], dtype=pl.Boolean)).to_list()
    if several:
        says = f"{len(several):,} samples have several images, of which one is read: {first_five(several)}; a dot in a name ends the key"
        yield Finding("several-images", "warning", says, len(several), tuple(several))
