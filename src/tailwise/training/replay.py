"""Replay: a step recorded once for each shape of batch and then launched whole; the same calls, without what their launches cost.

A small network's step is hundreds of kernels of a few microseconds, and a device waits for the host between them. As one CUDA graph they
are launched at once. What is recorded reads the batch, the learning rate and the generator's seed from memory of its own, which is filled
before each launch; everything else of a step must be equal at every step, and where it is not, nothing is recorded.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from tailwise import processes
from tailwise.objective import Batch, Clock, Sample
from tailwise.training.joint import forked
from tailwise.training.loop import Loop

LOG = logging.getLogger("tailwise")

WARM_UP = 3
"""Plain steps of a shape before it is recorded: libraries choose their kernels in them, and optimisers make their slots."""

Computes = Callable[[], dict[str, Tensor]]
"""Computes a step, and gives what it counted."""


class Recorder(Protocol):
    """Who records a step."""

    def warm(self, compute: Computes) -> dict[str, Tensor]:
        """Compute a step that goes before a recording."""
        ...

    def record(self, compute: Computes) -> Computes:
        """Give what repeats a step, without computing it. What it counts may be the same memory each time.

        Raises:
            RuntimeError: the step asks the host for something.
        """
        ...


class CudaRecorder:
    """Records a step as a CUDA graph, on the device that is current."""

    def warm(self, compute: Computes) -> dict[str, Tensor]:
        """Compute a step on a stream beside, as recordings are made."""
        here, beside = torch.cuda.current_stream(), torch.cuda.Stream()
        beside.wait_stream(here)
        with torch.cuda.stream(beside):
            counted = compute()
        here.wait_stream(beside)
        return counted

    def record(self, compute: Computes) -> Computes:
        """Capture a step. Dropout draws by torch's own generator for the device, which a graph reads at every launch."""
        here, graph = torch.cuda.current_stream(), torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                counted = compute()
        except RuntimeError:
            torch.cuda.set_stream(here)  # a capture that breaks off does not give the stream back
            raise

        def repeat() -> dict[str, Tensor]:
            graph.replay()
            return counted

        return repeat


class Replayed:
    """A loop's way to compute steps: plain ones first, then the recording of their shape.

    Args:
        loop: whose `compute` this becomes.
        recorder: of the device.
    """

    def __init__(self, loop: Loop, recorder: Recorder) -> None:
        self.loop = loop
        self.recorder = recorder
        self.warmed: Counter[Hashable] = Counter()
        self.recorded: dict[Hashable, tuple[Batch, Computes]] = {}
        self.refused = False
        for group in loop.optimisers["main"].param_groups if "main" in loop.optimisers else ():
            group["lr"] = torch.tensor(group["lr"], dtype=torch.float32, device=loop.device)

    def __call__(self, batch: Batch, now: Clock) -> dict[str, Tensor]:
        """Compute a step."""
        shape = _shape(batch)
        if shape not in self.recorded and not self.refused:
            if self.warmed[shape] < WARM_UP:
                self.warmed[shape] += 1
                return self.recorder.warm(lambda: self.loop.compute_step(batch, now))
            self._record(shape, batch, now)
        if self.refused:
            return self.loop.compute_step(batch, now)
        own, repeat = self.recorded[shape]
        for mine, given in zip(_tensors(own), _tensors(batch), strict=True):
            mine.copy_(given)
        with forked(self.loop.seed, "forward", now.total, 0, device=self.loop.device):
            return repeat()

    def _record(self, shape: Hashable, batch: Batch, now: Clock) -> None:
        """Record the step of a shape; where that fails, say so once and go on as if nobody had asked."""
        own = {name: _copied(sample) for name, sample in batch.items()}
        try:
            self.recorded[shape] = own, self.recorder.record(lambda: self.loop.compute_step(own, now))
        except RuntimeError as error:
            self.refused = True
            say_once(f"steps are computed call by call: one cannot be recorded ({str(error).partition(chr(10))[0]})")


def replay_steps(loop: Loop) -> None:
    """Let a loop replay its steps where they can be; where not, it is said once, and they are computed as always."""
    why = unfit(loop)
    if why is None:
        loop.compute = Replayed(loop, CudaRecorder())
    else:
        say_once(f"steps are computed call by call: {why}")


def unfit(loop: Loop) -> str | None:
    """Say what of a stage would not be equal at every step, or is not on a CUDA device; None where steps can be recorded."""
    stage, recipe = loop.leg.stage, loop.leg.recipe
    groups = [group for optimiser in loop.optimisers.values() for group in optimiser.param_groups]
    found = {
        "recordings are made on a CUDA device": loop.device.type != "cuda",
        "several processes exchange what they computed": processes.count() > 1,
        f"{type(loop.objective).__name__} may compute another thing at every step": not loop.objective.replays,
        "a gradient rule has a step of its own": stage.gradient is not None,
        "an average counts the steps": stage.average is not None,
        "accumulated parts draw one by one": recipe.accumulate > 1,
        "an optimiser counts its steps on the host": not all(group.get("capturable", group.get("fused")) for group in groups),
    }
    return next((why for why, holds in found.items() if holds), None)


_SAID: set[str] = set()


def say_once(sentence: str) -> None:
    """Tell the log a sentence, once in the life of a process."""
    if sentence not in _SAID:
        _SAID.add(sentence)
        LOG.warning(sentence)


def _tensors(batch: Batch) -> list[Tensor]:
    """List the tensors of a batch, in one order for batches of one shape."""
    return [t for sample in batch.values() for t in (*sample.views, sample.targets, sample.index, *sample.extra.values()) if t is not None]


def _copied(sample: Sample) -> Sample:
    """Give a sample in memory of its own, laid out as it is."""
    targets = None if sample.targets is None else sample.targets.clone()
    extra = {name: tensor.clone() for name, tensor in sample.extra.items()}
    return replace(sample, views=tuple(view.clone() for view in sample.views), targets=targets, index=sample.index.clone(), extra=extra)


def _shape(batch: Batch) -> Hashable:
    """Describe all of a batch but its values."""
    return tuple(
        (name, sample.targets is None, *sample.extra, *((t.shape, t.dtype) for t in _tensors({name: sample})))
        for name, sample in batch.items()
    )
