"""Extractor features: every image through a pre-trained network once, kept in the store by content."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save as save_tensors
from torch import nn

from tailwise.data.images import fit_pixels, read_pixels
from tailwise.errors import BadValue
from tailwise.models import (
    Answering,
    Engine,
    FrozenBody,
    check_takes,
    choose_engine,
    empty_body,
    engine_version,
    frozen_body,
    is_pretrained,
    preprocessing,
    start_engine,
)
from tailwise.pixels import Normalise, Standardise, keep_array
from tailwise.pixels.cores import cores
from tailwise.specification import key_of, room_digest, spec
from tailwise.store import Store
from tailwise.study.numerics import describe_numerics
from tailwise.study.tensors import fill, read_tensors
from tailwise.training.joint import forked
from tailwise.training.modes import plainly
from tailwise.training.speed import keep_memory

CHUNK = 2048
"""Images whose features are stored together, about: an interrupted run loses no more."""

BATCH = 8
"""Images a forward; larger ones are slower on a CPU, where their maps leave the cache."""

BATCH_ON_GPU = 128

Progress = Callable[[int, int], None]
Pixels = Callable[[Sequence[int]], NDArray[np.uint8]]
"""Gives the pixels (B, size, size, 3) of rows."""


@dataclass(frozen=True)
class Extractor:
    """A pre-trained network that gives features and never learns.

    Attributes:
        network: name with weights, such as `efficientnet-lite0`.
        weights: SHA-256 of the weights.
        size: side in pixels to which images are brought: the shorter side resized, the centre cut out.
        normalise: what follows.
        width: of the features.
        numerics: what the bits depend on.
        engine: what runs the network.
    """

    network: str
    weights: str
    size: int
    normalise: Normalise
    width: int
    numerics: Mapping[str, str]
    engine: Engine = "eager"

    @cached_property
    def key(self) -> str:
        """Name all that decides the features of an image beside its content."""
        code = room_digest("models", "pixels", "data.images", "study.extractor")
        said = {**self.numerics, "engine": engine_version(self.engine)}
        return key_of(self.network.partition("@")[0], self.weights, self.size, spec(self.normalise), said, code)

    def module(self) -> nn.Module:
        """Make the network."""
        return _make_network(self.network, self.size)

    def to_dict(self) -> dict[str, Any]:
        """Give what a record says of it."""
        said = {k: v for k, v in asdict(self).items() if k != "numerics"}
        return {**said, "resize": "shorter side, antialiased bilinear; centre crop"}


def describe_extractor(
    network: str, size: int | None, device: torch.device, engine: Engine | Literal["auto"] = "auto", images: int = 0
) -> Extractor:
    """Describe a network with pre-trained weights as an extractor.

    Args:
        network: name with weights.
        size: side of the images in pixels; None for the one of the weights.
        device: where features are computed.
        engine: what runs the network; `auto` takes what is fastest for so many images.
        images: of the set.

    Raises:
        BadValue: the network has no weights, so its features would say nothing; a size below 1; an engine that is not there.
        BadData: the weights are not there, or do not fit.
    """
    found = preprocessing(network)
    if found is None or not is_pretrained(network):
        raise BadValue(f"network {network!r} has no pre-trained weights, and frozen features need some; see `tailwise networks`")
    side = found.size if size is None else size
    if side < 1:
        raise BadValue(f"the size of images is a number of pixels from 1, got {side}")
    made = _make_network(network, side)
    assert made.weights is not None
    check_takes(made, (side, side, 3))
    numerics = {name: value for name, value in describe_numerics(device, cores()).items() if name != "processes"}  # one computes for all
    normalise, chosen = Normalise(found.mean, found.std), choose_engine(engine, images, device)
    return Extractor(network, made.weights.sha256, side, normalise, made.width, numerics, chosen)


def _make_network(network: str, size: int) -> FrozenBody:
    """Make a network without a draw from the caller's generator: timm draws values before it loads some."""
    with forked(0, "extractor"):
        return frozen_body(network, (size, size, 3))


def extract(
    extractor: Extractor,
    pixels: Pixels,
    contents: Sequence[str],
    store: Store,
    device: torch.device,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Give the features of images, computing those that the store does not have.

    Args:
        extractor: the network.
        pixels: gives the pixels of rows.
        contents: content hash of each row.
        store: keeps features, in chunks.
        device: where to compute.
        progress: called with images done and in all.

    Returns:
        (N, width) float32, raw: not standardised.

    Raises:
        Stopped: the engine cannot run this network, or answers otherwise than the network itself on the first images.
    """
    made = np.empty((len(contents), extractor.width), np.float32)
    answer: Answering | None = None
    done = 0
    for rows in _chunks(contents):

        def write(file: Path, rows: Sequence[int] = rows, done: int = done) -> None:
            nonlocal answer
            answer = answer or start(extractor, pixels, rows, device)
            batches = forward(answer, extractor.normalise, pixels, rows, device)
            np.save(file, np.concatenate(list(_counted(batches, done, len(contents), progress))))

        made[rows] = keep_array(store, "features", _chunk_key(extractor, contents, rows), write)
        done += len(rows)
        if progress:
            progress(done, len(contents))
    return made


def start(extractor: Extractor, pixels: Pixels, rows: Sequence[int], device: torch.device) -> Answering:
    """Start an extractor's engine, and hold it against the network itself on the first of the images.

    Raises:
        Stopped: the engine cannot run this network, or answers otherwise.
    """
    keep_memory()
    with plainly(cores()):
        module = extractor.module().to(device)
        example = extractor.normalise(torch.from_numpy(pixels(rows[:BATCH])).to(device))
        return start_engine(extractor.engine, module, example, BATCH, cores())


def absent(extractor: Extractor, contents: Sequence[str], store: Store) -> int:
    """Count the images whose features are not stored."""
    return sum(len(rows) for rows in _chunks(contents) if not store.has("features", _chunk_key(extractor, contents, rows)))


def chunk_keys(extractor: Extractor, contents: Sequence[str]) -> list[str]:
    """Give the keys under which features of images are stored, one a chunk."""
    return [_chunk_key(extractor, contents, rows) for rows in _chunks(contents)]


def _chunks(contents: Sequence[str]) -> list[list[int]]:
    """Group rows by what is in their images: names and order decide nothing, and one more image changes one chunk.

    All chunks are cut in two where their number has to double.
    """
    bits = ((len(contents) - 1) // CHUNK).bit_length()

    def place(row: int) -> int:
        return int.from_bytes(hashlib.blake2b(contents[row].encode(), digest_size=4).digest()) >> (32 - bits)

    rows = sorted(range(len(contents)), key=lambda row: (place(row), contents[row]))
    return [list(chunk) for _, chunk in groupby(rows, place)]


def _chunk_key(extractor: Extractor, contents: Sequence[str], rows: Sequence[int]) -> str:
    return key_of(extractor.key, [contents[row] for row in rows])


def _counted(batches: Iterator[NDArray[np.float32]], done: int, total: int, progress: Progress | None) -> Iterator[NDArray[np.float32]]:
    for batch in batches:
        yield batch
        done += len(batch)
        if progress:
            progress(done, total)


def forward(
    answer: Answering, normalise: Normalise, pixels: Pixels, rows: Sequence[int], device: torch.device
) -> Iterator[NDArray[np.float32]]:
    """Yield the features of rows, batch by batch, the next one being read meanwhile."""
    size = BATCH if device.type == "cpu" else BATCH_ON_GPU
    batches = [rows[at : at + size] for at in range(0, len(rows), size)]
    with ThreadPoolExecutor(max_workers=1) as reader, plainly(cores()), torch.inference_mode():
        coming = reader.submit(pixels, batches[0])
        for following in (*batches[1:], None):
            images = torch.from_numpy(coming.result()).to(device)
            if following is not None:
                coming = reader.submit(pixels, following)
            yield answer(normalise(images)).float().cpu().numpy()


def image_pixels(paths: Sequence[Path], size: int, channels: Literal[1, 3] = 3) -> Pixels:
    """Read pixels of image files; with three channels, grey ones as colour."""
    return lambda rows: np.stack([read_pixels(paths[i], size, channels) for i in rows])


def array_pixels(images: NDArray[np.uint8], size: int) -> Pixels:
    """Give pixels of (N, H, W[, C]) images in memory, grey ones as colour."""

    def give(rows: Sequence[int]) -> NDArray[np.uint8]:
        fitted = fit_pixels(images[list(rows)], size)
        return np.repeat(fitted, 3, axis=-1) if fitted.shape[-1] == 1 else fitted

    return give


def seconds_an_image(extractor: Extractor, device: torch.device) -> float:
    """Measure how long an image takes with torch as it is, on a few blank ones."""
    module, rows = extractor.module().to(device), range(BATCH)
    blank = np.zeros((BATCH, extractor.size, extractor.size, 3), np.uint8)
    list(forward(module, extractor.normalise, lambda rows: blank[: len(rows)], rows, device))  # warm-up
    begun = time.perf_counter()
    list(forward(module, extractor.normalise, lambda rows: blank[: len(rows)], rows, device))
    return (time.perf_counter() - begun) / len(rows)


# --- on disk ----------------------------------------------------------------------------------------------------------


def extractor_bytes(extractor: Extractor, standardise: Mapping[int, Standardise]) -> bytes:
    """Write an extractor, and what its features go through, as one file: a run can then predict without any other.

    Args:
        extractor: the network.
        standardise: number of the fold -> what its training rows say; 0 where there are no folds.
    """
    tensors = {f"network.{name}": tensor.contiguous() for name, tensor in extractor.module().state_dict().items()}
    for fold, found in standardise.items():
        tensors |= {_of_fold("mean", fold): torch.from_numpy(found.mean), _of_fold("deviation", fold): torch.from_numpy(found.deviation)}
    return save_tensors(tensors)


def _of_fold(name: str, fold: int) -> str:
    return f"{name}.fold{fold}" if fold else name


def read_extractor(path: Path, network: str, size: int, sha256: str, remedy: str, fold: int = 0) -> tuple[FrozenBody, Standardise]:
    """Read what `extractor_bytes` wrote.

    Args:
        path: of the file.
        network: its name.
        size: of the images in pixels.
        sha256: that its bytes must have.
        remedy: what to do where they do not.
        fold: number of the fold whose training rows standardise; 0 where there are no folds.

    Raises:
        BadData: the file is missing or damaged, or holds another network.
    """
    tensors = read_tensors(path, sha256, remedy)
    with forked(0, "extractor"):
        body = empty_body(network, (size, size, 3))
    fill(body, {name.removeprefix("network."): tensor for name, tensor in tensors.items() if name.startswith("network.")}, path)
    return body, Standardise(tensors[_of_fold("mean", fold)].numpy(), tensors[_of_fold("deviation", fold)].numpy())
