"""Small archives made like the published ones: pickles as Python 2 wrote them, and CIFAR in all its forms."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

CIFAR_10_NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def python2_pickle(value: Any) -> bytes:
    """Pickle dictionaries, lists, whole numbers, text and byte arrays as Python 2 did: protocol 2, `str` as bytes without a mark."""

    def text(content: bytes) -> bytes:
        return b"U" + bytes([len(content)]) + content if len(content) < 256 else b"T" + struct.pack("<I", len(content)) + content

    def whole(number: int) -> bytes:
        return b"J" + struct.pack("<i", number)

    def of(value: Any) -> bytes:
        if isinstance(value, dict):
            return b"}(" + b"".join(of(key) + of(item) for key, item in value.items()) + b"u"
        if isinstance(value, list):
            return b"](" + b"".join(of(item) for item in value) + b"e"
        if isinstance(value, np.ndarray):
            blank = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + whole(0) + b"\x85" + text(b"b") + b"tR"
            kind = b"cnumpy\ndtype\n" + text(value.dtype.str[1:].encode()) + whole(0) + whole(1) + b"\x87R"
            kind += b"(" + whole(3) + text(b"|" if value.dtype.itemsize == 1 else b"<") + b"NNN" + whole(-1) * 2 + whole(0) + b"tb"
            shape = b"(" + b"".join(whole(size) for size in value.shape) + b"t"
            return blank + b"(" + whole(1) + shape + kind + b"\x89" + text(value.tobytes()) + b"tb"
        return whole(value) if isinstance(value, int) else text(value.encode() if isinstance(value, str) else value)

    return b"\x80\x02" + of(value) + b"."


def planes(pictures: np.ndarray) -> np.ndarray:
    """Take (N, 32, 32, 3) pictures apart into CIFAR's rows of 3,072 bytes: red, green, blue."""
    return np.concatenate([pictures[..., channel].reshape(len(pictures), 1024) for channel in range(3)], axis=1)


def cifar_pictures(count: int, seed: int = 0) -> np.ndarray:
    """Draw pictures; the first is red above, blue on its right, so that no wrong order of axes looks the same."""
    pictures = np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    pictures[0] = 0
    pictures[0, :8, :, 0] = 200
    pictures[0, :, 28:, 2] = 100
    return pictures


def cifar10_files(labels: list[list[int]], pickled: Callable[[Any], bytes] = python2_pickle, binary: bool = False) -> dict[str, bytes]:
    """Make CIFAR-10's files of the labels of five batches and the test batch: name -> bytes."""
    files = {}
    for number, of_batch in enumerate(labels, start=1):
        name = f"data_batch_{number}" if number < 6 else "test_batch"
        rows = planes(cifar_pictures(len(of_batch), number))
        if binary:
            files[f"{name}.bin"] = np.concatenate([np.array(of_batch, np.uint8)[:, None], rows], axis=1).tobytes()
        else:
            files[name] = pickled({b"batch_label": b"batch", b"labels": of_batch, b"data": rows, b"filenames": [b"a.png"] * len(of_batch)})
    if binary:
        return files | {"batches.meta.txt": "\n".join([*CIFAR_10_NAMES, "", ""]).encode()}
    return files | {"batches.meta": pickled({b"label_names": [name.encode() for name in CIFAR_10_NAMES], b"num_vis": 3072})}


def cifar100_files(
    train: list[int], test: list[int], pickled: Callable[[Any], bytes] = python2_pickle, binary: bool = False
) -> dict[str, bytes]:
    """Make CIFAR-100's files of fine labels; the coarse one is the fine one by five, backwards."""
    fine_names = [f"fine {label}" for label in range(100)]
    coarse_names = [f"coarse {label}" for label in range(20)]
    files = {}
    for seed, (name, fine) in enumerate({"train": train, "test": test}.items()):
        coarse = [19 - label // 5 for label in fine]
        rows = planes(cifar_pictures(len(fine), seed))
        if binary:
            files[f"{name}.bin"] = np.concatenate([np.array([coarse, fine], np.uint8).T, rows], axis=1).tobytes()
        else:
            files[name] = pickled({b"data": rows, b"fine_labels": fine, b"coarse_labels": coarse, b"filenames": [b"a.png"] * len(fine)})
    if binary:
        return files | {"fine_label_names.txt": "\n".join(fine_names).encode(), "coarse_label_names.txt": "\n".join(coarse_names).encode()}
    names = {b"fine_label_names": [n.encode() for n in fine_names], b"coarse_label_names": [n.encode() for n in coarse_names]}
    return files | {"meta": pickled(names)}


def python3_pickle(value: Any) -> bytes:
    """Pickle as Python 3 does."""
    return pickle.dumps(value, 4)


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files into a new folder."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def write_tar(file: Path, files: dict[str, bytes], folder: str, *further: tarfile.TarInfo) -> Path:
    """Write a `.tar.gz` of a folder of files, and of further members without content."""
    with tarfile.open(file, "w:gz") as archive:
        top = tarfile.TarInfo(folder)
        top.type = tarfile.DIRTYPE
        archive.addfile(top)
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for member in further:
            archive.addfile(member)
    return file
