"""Speed: how the loop's arithmetic is laid out. It changes how sums are rounded and nothing else; as that changes bits, it is in keys."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import time
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from tailwise.errors import Stopped
from tailwise.objective import Batch, Clock, Objective
from tailwise.training.loop import Loop

FAST, PLAIN, COMPILED = "fast", "plain", "compiled"
"""`fast`: channels last in memory, sweeps with normalisation folded, memory kept from step to step. `plain`: none of it, as textbooks
have it. `compiled`: fast, and the network of most stages compiled by torch."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""glibc's numbers of the two settings (malloc.h)."""


def lay_out(speed: str, net: nn.Module) -> None:
    """Put a network that sees images into the memory layout that its loop wants.

    Args:
        speed: of the loop.
        net: called on images.
    """
    if speed == PLAIN:
        net.register_forward_pre_hook(_rows_of_channels)
    else:
        net.to(memory_format=torch.channels_last)


def _rows_of_channels(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(one.contiguous() if isinstance(one, torch.Tensor) else one for one in inputs)


def keep_memory() -> None:
    """Let the C library keep what one step's tensors free for the next step's, for as long as the process lives.

    glibc gives blocks above 32 MB back to the system at once, which fills them with zeros, page by page, when they are asked for again:
    to normalise 128 images of 224 pixels that takes eight times as long as the arithmetic. Other C libraries are left alone.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):  # TypeError: Windows opens no library without a name
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, 2**30)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def compile_network(loop: Loop, batches: Iterable[tuple[Batch, Clock]]) -> float | None:
    """Compile a loop's network before its first step, by working on a batch of each size that is to come; no state moves.

    Args:
        loop: about to train.
        batches: one of each size.

    Returns:
        Seconds that it took; None where the objective has a step of its own, which torch may not be able to differentiate compiled.

    Raises:
        Stopped: torch cannot compile it.
    """
    if type(loop.objective).step is not Objective.step:
        return None
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it misses a GPU wherever there is a CUDA toolkit
    begun = time.perf_counter()
    net: Any = loop.net
    net.forward = torch.compile(net.forward, dynamic=False)
    try:
        for batch, now in batches:
            loop.gradients(batch, now, statistics=False)
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise Stopped(f"torch cannot compile this network ({reason}); leave --speed compiled out") from error
    return time.perf_counter() - begun
