"""Predictions: every answer of a model by image id, with all that metrics, post-hoc methods and pages need of it.

On disk a folder: `predictions.json` (names, counts, groups, data, the SHA-256 of each file beside it, and as its seal that of itself),
`split-NAME.safetensors` for each split (`labels`, `logits`, perhaps `features`, `network_logits`, `experts` and `views`; the ids as
`ids`, uint8 UTF-8 bytes end to end, and `offsets`, (N + 1,) int64 where each begins and the last ends) and, where there
is one, `head.safetensors` (`class_means`, `head_weight`, `head_bias`). Equal predictions make equal bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from tailwise.counts import ClassCounts
from tailwise.disk import whole_folder
from tailwise.errors import BadData, OutputExists, UnknownName
from tailwise.groups import Groups

SCHEMA = "tailwise.predictions/1"
CARD = "predictions.json"
HEAD = "head.safetensors"
SPLIT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, eq=False)
class SplitPredictions:
    """The answers on the N images of one split. Arrays are converted to the dtypes below and are read-only.

    Attributes:
        ids: N unique ids of images.
        labels: (N,) int64 true labels.
        logits: (N, C) float32, final: after any post-hoc step. Finite.
        features: (N, D) float32 input of the head, finite; or None.
        network_logits: (N, C) float32, finite: the network's own, where a post-hoc step changed them; else None.
        experts: (N, E, C) float32, finite: the logits of each of E experts, of which the network's own are a mean, weighed or not; or None.
        views: (N, V, C) float32, finite: the network's logits of V further views of each image (its mirror image); or None.

    Raises:
        BadData: shapes that do not agree, ids that are not unique text, labels that are no classes, numbers not finite.
    """

    ids: tuple[str, ...]
    labels: np.ndarray
    logits: np.ndarray
    features: np.ndarray | None = None
    network_logits: np.ndarray | None = None
    experts: np.ndarray | None = None
    views: np.ndarray | None = None

    def __post_init__(self) -> None:
        ids = tuple(self.ids)
        images = len(ids)
        logits = _floats("logits", self.logits, (images, None))
        for name, value in {
            "ids": ids,
            "labels": _labels(self.labels, images, logits.shape[1]),
            "logits": logits,
            "features": _floats("features", self.features, (images, None)),
            "network_logits": _floats("network_logits", self.network_logits, logits.shape),
            "experts": _floats("experts", self.experts, (images, None, logits.shape[1])),
            "views": _floats("views", self.views, (images, None, logits.shape[1])),
        }.items():
            object.__setattr__(self, name, value)
        _check_ids(ids)

    @property
    def images(self) -> int:
        """Number of images, N."""
        return len(self.ids)

    @property
    def classes(self) -> int:
        """Number of classes, C."""
        return int(self.logits.shape[1])


@dataclass(frozen=True, eq=False)
class Predictions:
    """The answers of one model on all splits, with what is known of its training data and its head.

    Attributes:
        splits: name -> answers. A name consists of letters, digits, dots, dashes and underscores.
        classes: C class names in label order, each once.
        counts: training images a class, real and shown.
        groups: many, medium, few by the real counts; each class in exactly one group.
        data: identity of the data, as its manifest gives it.
        class_means: (C, D) float32 means of the training features, or None. A class without training images has NaN.
        head_weight: (C, D) float32 weight of a linear head, or None.
        head_bias: (C,) float32 bias beside the weight, or None.
        levels: level of the classes' hierarchy, coarse ones first -> its member of each class (the genus, say), or None.
        class_ids: what the data's source calls each class, for submissions; empty where it has no names of its own.

    Raises:
        BadData: parts that do not agree in classes or widths, or names that cannot be.

    >>> from tailwise.groups import make_groups
    >>> test = SplitPredictions(("cat/1.jpg", "okapi/1.jpg"), [0, 1], [[2.0, 1.0], [0.5, 0.0]])
    >>> predictions = Predictions({"test": test}, ("cat", "okapi"), ClassCounts((90, 4)), make_groups((90, 4)), "a1b2")
    >>> predictions.split("test").logits.dtype
    dtype('float32')
    >>> predictions.split("tets")
    Traceback (most recent call last):
    tailwise.errors.UnknownName: no split is called 'tets'. Did you mean 'test'?
    """

    splits: Mapping[str, SplitPredictions]
    classes: tuple[str, ...]
    counts: ClassCounts
    groups: Groups
    data: str
    class_means: np.ndarray | None = None
    head_weight: np.ndarray | None = None
    head_bias: np.ndarray | None = None
    levels: Mapping[str, tuple[str | None, ...]] = field(default_factory=dict)
    class_ids: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "splits", dict(self.splits))
        object.__setattr__(self, "classes", tuple(self.classes))
        object.__setattr__(self, "levels", {name: tuple(members) for name, members in self.levels.items()})
        self._check_names()
        width = next((p.features.shape[1] for p in self.splits.values() if p.features is not None), None)
        for name in ("class_means", "head_weight"):
            array = _floats(name, getattr(self, name), (len(self.classes), width), finite=name == "head_weight")
            object.__setattr__(self, name, array)
            width = array.shape[1] if array is not None else width
        object.__setattr__(self, "head_bias", _floats("head_bias", self.head_bias, (len(self.classes),)))
        if self.head_bias is not None and self.head_weight is None:
            raise BadData("head_bias comes without head_weight; give both or neither")
        for name, part in self.splits.items():
            _floats(f"features of split {name!r}", part.features, (part.images, width))

    def split(self, name: str) -> SplitPredictions:
        """Give one split.

        Raises:
            UnknownName: there is no such split.
        """
        if name not in self.splits:
            raise UnknownName("split", name, self.splits)
        return self.splits[name]

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the folder, whole or not at all: it is built beside its final name, synced, and renamed.

        Raises:
            OutputExists: `folder` exists and is not empty.
            Unwritable: the folder cannot be written.
            Stopped: the disk is full.
        """
        final = Path(folder)
        if final.exists() and not (final.is_dir() and not any(final.iterdir())):
            raise OutputExists(f"{final} exists and is not empty; give another folder for the predictions")
        whole_folder(final, lambda pending: _write_files(pending, self))

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Predictions:
        """Read a folder that `save` wrote.

        Raises:
            BadData: the folder or a file of it is missing, damaged, or of another schema.
        """
        return _read_folder(Path(folder))

    def _check_names(self) -> None:
        repeated = _first_repeated(self.classes)
        if repeated is not None:
            raise BadData(f"class {repeated!r} is named twice; class names must be unique")
        if self.counts.classes != len(self.classes):
            raise BadData(f"{self.counts.classes} counts for {len(self.classes)} classes; give one number a class")
        grouped = sorted(label for labels in self.groups.members.values() for label in labels)
        if grouped != list(range(len(self.classes))):
            raise BadData(f"the groups must name each of the {len(self.classes)} classes exactly once")
        repeated = _first_repeated([name.casefold() for name in self.splits])
        if repeated is not None:
            raise BadData(f"two splits are called {repeated!r} but for capitals; they would be one file on some disks")
        for what, values in {**self.levels, **({"class_ids": self.class_ids} if self.class_ids else {})}.items():
            if len(values) != len(self.classes):
                raise BadData(f"{what} has {len(values)} values for {len(self.classes)} classes; give one a class")
        for name, part in self.splits.items():
            if not SPLIT_NAME.fullmatch(name):
                raise BadData(f"split {name!r} cannot be a file name; use letters, digits, dots, dashes, underscores")
            if part.classes != len(self.classes):
                raise BadData(f"split {name!r} has logits of {part.classes} classes, expected {len(self.classes)}")


# --- checks -----------------------------------------------------------------------------------------------------------


def _floats(name: str, values: Any, shape: tuple[int | None, ...], finite: bool = True) -> Any:
    """Give a read-only float32 array of this shape (None: any size), or None for None."""
    if values is None:
        return None
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise BadData(f"{name} must be numbers, got {array.dtype}")
    wanted = len(shape) == array.ndim and all(b in (None, a) for a, b in zip(array.shape, shape, strict=True))
    if not wanted:
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        raise BadData(f"{name} must have shape ({sizes}), got {array.shape}")
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(array, dtype=np.float32).view()
    if finite and not np.isfinite(array).all():
        raise BadData(f"{name} must be finite, and row {np.argwhere(~np.isfinite(array))[0][0]} is not")
    array.flags.writeable = False
    return array


def _labels(values: Any, images: int, classes: int) -> np.ndarray:
    array = np.asarray(values)
    if array.shape != (images,) or (images and array.dtype.kind not in "iu"):
        raise BadData(f"labels must be one integer for each of {images} ids, got shape {array.shape} of {array.dtype}")
    array = np.ascontiguousarray(array, dtype=np.int64).view()
    if images and not 0 <= array.min() <= array.max() < classes:
        raise BadData(f"labels must be 0..{classes - 1}, got {array.min()}..{array.max()}")
    array.flags.writeable = False
    return array


def _check_ids(ids: tuple[str, ...]) -> None:
    for id_ in ids:
        if not isinstance(id_, str) or not _is_text(id_):
            raise BadData(f"id {id_!r} is no text that can be stored as UTF-8")
    repeated = _first_repeated(ids)
    if repeated is not None:
        raise BadData(f"id {repeated!r} is there twice; ids must be unique")


def _is_text(word: str) -> bool:
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def _first_repeated(words: Sequence[str]) -> str | None:
    return next((word for word, times in Counter(words).items() if times > 1), None)


# --- the folder -------------------------------------------------------------------------------------------------------


class _File(msgspec.Struct):
    images: int
    sha256: str


class _Card(msgspec.Struct):
    """What `predictions.json` holds."""

    schema: str
    data: str
    classes: tuple[str, ...]
    counts: ClassCounts
    groups: Groups
    splits: dict[str, _File]
    head: str | None
    seal: str | None = None  # absent in what earlier versions wrote
    levels: dict[str, tuple[str | None, ...]] = {}
    class_ids: tuple[str, ...] = ()


def _split_file(name: str) -> str:
    return f"split-{name}.safetensors"


def _write_files(folder: Path, predictions: Predictions) -> None:
    for name, data in _files_of(predictions).items():
        (folder / name).write_bytes(data)


def _files_of(predictions: Predictions) -> dict[str, bytes]:
    """Give the folder's files by name, the card last."""
    files = {_split_file(name): _split_bytes(part) for name, part in predictions.splits.items()}
    arrays = {name: getattr(predictions, name) for name in ("class_means", "head_weight", "head_bias")}
    head = {name: array for name, array in arrays.items() if array is not None}
    if head:
        files[HEAD] = safetensors.save(head)
    card = _Card(
        schema=SCHEMA,
        data=predictions.data,
        classes=predictions.classes,
        counts=predictions.counts,
        groups=predictions.groups,
        splits={name: _File(part.images, _sha256(files[_split_file(name)])) for name, part in predictions.splits.items()},
        head=_sha256(files[HEAD]) if head else None,
        levels=dict(predictions.levels),
        class_ids=predictions.class_ids,
    )
    plain = msgspec.to_builtins(card, enc_hook=lambda number: number.item())  # counts may be NumPy's integers
    text = json.dumps({**plain, "seal": _seal(plain)}, ensure_ascii=False, indent=1)
    return {**files, CARD: f"{text}\n".encode()}


def _seal(plain: Mapping[str, Any]) -> str:
    """Hash a card's values, all but the seal itself: neither order nor spaces change it."""
    return _sha256(json.dumps({name: value for name, value in plain.items() if name != "seal"}, sort_keys=True).encode())


def _split_bytes(part: SplitPredictions) -> bytes:
    words = [id_.encode() for id_ in part.ids]
    offsets = np.concatenate([[0], np.cumsum([len(word) for word in words], dtype=np.int64)]).astype(np.int64)
    arrays: dict[str, np.ndarray | None] = {
        "ids": np.frombuffer(b"".join(words), dtype=np.uint8),
        "offsets": offsets,
        "labels": part.labels,
        "logits": part.logits,
        "features": part.features,
        "network_logits": part.network_logits,
        "experts": part.experts,
        "views": part.views,
    }
    return safetensors.save({name: array for name, array in arrays.items() if array is not None})


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _read_folder(folder: Path) -> Predictions:
    try:
        card = _read_card(folder / CARD)
        splits = {name: _read_split(folder, name, file) for name, file in card.splits.items()}
        head = _tensors(folder / HEAD, card.head) if card.head is not None else {}
        fields: dict[str, Any] = {name: head.get(name) for name in ("class_means", "head_weight", "head_bias")}
        fields |= {"levels": card.levels, "class_ids": card.class_ids}
        return Predictions(splits, card.classes, card.counts, card.groups, card.data, **fields)
    except BadData as error:
        whole = folder.parent if (folder.parent / "run.json").is_file() else folder
        remedy = f"put it back, or delete {whole} and run the command that made it again: what the store holds is not trained twice"
        raise BadData(f"predictions in {folder} cannot be used: {error}; {remedy}") from error


def _read_card(path: Path) -> _Card:
    """Read `predictions.json`; another schema is said before anything else is looked at."""
    try:
        plain = msgspec.json.decode(_read(path))
        schema = plain.get("schema") if isinstance(plain, dict) else None
        if schema != SCHEMA:
            raise BadData(f"{path} has schema {schema!r}, expected {SCHEMA!r}; write it again with this version")
        card = msgspec.convert(plain, _Card)
        if card.seal not in (None, _seal(plain)):
            raise BadData(f"{path} is damaged: it is not as it was written")
        return card
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadData(f"{path} is damaged: {error}") from error


def _read_split(folder: Path, name: str, file: _File) -> SplitPredictions:
    if not SPLIT_NAME.fullmatch(name):
        raise BadData(f"split {name!r} cannot be a file name")
    path = folder / _split_file(name)
    arrays = _tensors(path, file.sha256)
    missing = [wanted for wanted in ("ids", "offsets", "labels", "logits") if wanted not in arrays]
    if missing:
        raise BadData(f"{path.name} lacks {', '.join(missing)}")
    ids = _decoded_ids(arrays["ids"], arrays["offsets"], path.name)
    if len(ids) != file.images:
        raise BadData(f"{path.name} has {len(ids)} ids, {CARD} says {file.images} images")
    perhaps = {name: arrays.get(name) for name in ("features", "network_logits", "experts", "views")}
    return SplitPredictions(ids, arrays["labels"], arrays["logits"], **perhaps)


def _decoded_ids(words: np.ndarray, offsets: np.ndarray, where: str) -> tuple[str, ...]:
    ends = offsets.tolist()
    whole = words.dtype == np.uint8 and offsets.dtype == np.int64 and words.ndim == offsets.ndim == 1 and bool(ends)
    if not whole or ends[0] != 0 or ends[-1] != len(words) or (np.diff(offsets) < 0).any():
        raise BadData(f"{where} has ids and offsets that do not fit each other")
    text = words.tobytes()
    try:
        return tuple(text[start:stop].decode() for start, stop in pairwise(ends))
    except UnicodeDecodeError as error:
        raise BadData(f"{where} has an id that is not UTF-8") from error


def _tensors(path: Path, sha256: str) -> dict[str, np.ndarray]:
    data = _read(path)
    if _sha256(data) != sha256:
        raise BadData(f"{path.name} is not the file that {CARD} describes; it was damaged or replaced")
    try:
        return dict(safetensors.load(data))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise BadData(f"{path.name} is no safetensors file of numbers: {' '.join(str(error).split())}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadData(f"{path} cannot be read: {error.strerror or error}") from error
