"""The modes of torch in which we compute: whatever the caller has set reaches no result, and is given back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

PRECISION = torch.float32
"""Of networks and images; nothing of it is in a key."""


@contextmanager
def plainly(threads: int) -> Iterator[None]:
    """Compute with this many torch threads and in torch's plain modes, and give the caller's back.

    Gradients on, float32, the host as the default device, no autocast: none of these is in a key, and each changes bits or more.
    """
    before, dtype = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_num_threads(threads)
    torch.set_default_dtype(PRECISION)
    try:
        with torch.inference_mode(False), torch.enable_grad(), ExitStack() as modes:
            if torch.get_default_device().type != "cpu":
                modes.enter_context(torch.device("cpu"))
            for kind in ("cpu", "cuda"):
                if torch.is_autocast_enabled(kind):
                    modes.enter_context(torch.autocast(kind, enabled=False))
            yield
    finally:
        torch.set_num_threads(before)
        torch.set_default_dtype(dtype)
