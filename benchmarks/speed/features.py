"""Frozen features: JPEG files to a feature matrix, beside a DataLoader loop in eager float32 as everyone writes it first."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import timm
import torch
from cifar100 import Pixels
from numpy.typing import NDArray
from peer import files_in_batches
from PIL import Image
from rounds import Timed, race
from safetensors.torch import save_file

from tailwise.models import Engine, choose_engine
from tailwise.study.extractor import describe_extractor, forward, image_pixels, start
from training import CPU

NETWORK, SIZE = "mobilenetv2_100", 224
FILES, A_ROUND = 2_000, 200
BARS: Mapping[Engine, tuple[float, float]] = {"eager": (1.6, 2), "compiled": (2.5, 3), "onnx": (4, 5)}


def rows(pixels: Pixels, place: Path, rounds: int, smoke: bool = False) -> Iterator[Timed]:
    """Time 200 of 2,000 files a round, in each engine, on one core: a thread that reads ahead gets none of its own."""
    files, taken = (8, 8) if smoke else (FILES, A_ROUND)
    paths = photographs(place / "photographs", files)
    torch.manual_seed(0)
    network = timm.create_model(NETWORK, pretrained=False).eval()
    weights = place / "weights.safetensors"
    save_file(network.state_dict(), weights)
    network.reset_classifier(0)
    variants: dict[str, Callable[[int], object]] = {}
    before: dict[str, float] = {}

    def some(number: int) -> list[Path]:
        return [paths[(number * taken + i) % files] for i in range(taken)]

    def peer(number: int) -> NDArray[np.float32]:
        with torch.no_grad():
            return np.concatenate([network(images).numpy() for images in files_in_batches(some(number))])

    variants["DataLoader, eager NCHW"] = peer
    with one_core():
        for engine in ("eager",) if smoke else BARS:
            one, seconds = ours(f"{NETWORK}@{weights}", engine, network, some(0))
            variants[f"tailwise, {engine}"] = lambda number, one=one: one(some(number))
            before[f"tailwise, {engine}"] = seconds
        bars = {f"tailwise, {engine}": bar for engine, bar in BARS.items()}
        work = f"MobileNetV2 features of JPEG files of 500 x 375 ({taken} of {files:,} a round)"
        yield from race(work, variants, rounds, bars, lambda name, wall: {"images_a_second": round(taken / wall, 1)}, before)


def ours(name: str, asked: Engine, network: torch.nn.Module, first: list[Path]) -> tuple[Callable[[list[Path]], object], float]:
    """Give the workbench's pipeline in an engine, and the seconds until it runs.

    Raises:
        SystemExit: it gives other features of the same pixels than the peer's network.
    """
    import time

    begun = time.perf_counter()
    extractor = describe_extractor(name, SIZE, CPU, choose_engine(asked, FILES, CPU))
    answer = start(extractor, image_pixels(first, SIZE), range(len(first)), CPU)
    seconds = time.perf_counter() - begun

    def run(paths: list[Path]) -> NDArray[np.float32]:
        return np.concatenate(list(forward(answer, extractor.normalise, image_pixels(paths, SIZE), range(len(paths)), CPU)))

    with torch.no_grad():
        expected = network(extractor.normalise(torch.from_numpy(image_pixels(first[:8], SIZE)(range(8)))).contiguous()).numpy()
    gap = np.abs(run(first[:8]) - expected).max() / np.abs(expected).max()
    if not gap <= 1e-4:
        raise SystemExit(f"features in engine {asked} differ by {gap:g} from the peer's network: nothing is timed")
    return run, seconds


def photographs(folder: Path, files: int) -> list[Path]:
    """Write JPEG files of the size and weight of photographs: coarse colours, and a grain."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    paths = []
    for number in range(files):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize((500, 375), Image.Resampling.BICUBIC)
        grain = rng.normal(0, 6, (375, 500, 1))
        paths.append(folder / f"{number:04d}.jpg")
        Image.fromarray((np.asarray(coarse) + grain).clip(0, 255).astype(np.uint8)).save(paths[-1], quality=80)
    return paths


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process on one core, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(mine)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, mine)
