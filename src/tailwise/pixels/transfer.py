"""Sending what the host has drawn or gathered to where networks are, without making the host wait."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def to_device(array: NDArray[Any], device: torch.device) -> Tensor:
    """Give a host array as a tensor on a device; a CPU's shares the array's memory.

    To CUDA it goes out of pinned memory, in the order of the stream: the host goes on at once, and may be many steps ahead.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def ahead_to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Send the gathered rows of a batch. On CUDA they are copied beside the steps that are still being computed, on a stream of their own.

    The host is ahead of the device, so the rows of the next step arrive while this one runs; only the next one waits for them.
    """
    if device.type != "cuda":
        return tensor.to(device)
    beside, computing = _copies(device), torch.cuda.current_stream(device)
    with torch.cuda.stream(beside):
        sent = tensor.pin_memory().to(device, non_blocking=True)
    computing.wait_stream(beside)
    sent.record_stream(computing)  # its memory is the copies' own, and is theirs again only when the step has read it
    return sent


_STREAMS: dict[torch.device, torch.cuda.Stream] = {}


def _copies(device: torch.device) -> torch.cuda.Stream:
    """Give the stream of copies, one a device for as long as the process lives."""
    if device not in _STREAMS:
        _STREAMS[device] = torch.cuda.Stream(device)
    return _STREAMS[device]
