"""What a process shares with whoever calls us: generators, torch's settings, warnings, signals, environment."""

from __future__ import annotations

import contextlib
import hashlib
import locale
import logging
import os
import pickle
import random
import signal
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch


def draw_from_all(seed: int) -> None:
    """Set every global generator, so that whoever draws from one afterwards depends on the seed."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def generators() -> dict[str, str]:
    """Name the global generators and hash their states."""
    states = {"random": random.getstate(), "numpy": np.random.get_state(), "torch": torch.random.get_rng_state().numpy()}
    return {name: hashlib.sha256(pickle.dumps(state)).hexdigest() for name, state in states.items()}


def settings() -> dict[str, Any]:
    """Name all else that we could change for others in the process."""
    return {
        "threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn": (torch.backends.cudnn.enabled, torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        "matmul": torch.get_float32_matmul_precision(),
        "floats": np.geterr(),
        "warnings": list(warnings.filters),
        "environment": dict(os.environ),
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "folder": os.getcwd(),
        "locale": locale.setlocale(locale.LC_ALL),
        "log": (logging.getLogger().level, list(logging.getLogger().handlers)),
    }


@contextlib.contextmanager
def untouched(but: tuple[str, ...] = ()) -> Iterator[None]:
    """Fail when what runs inside leaves anything of this behind, `but` for what is named."""
    draw_from_all(3)
    before = generators() | settings()
    yield
    after = generators() | settings()
    changed = [name for name in before if before[name] != after[name] and name not in but]
    assert changed == [], f"{changed} changed"
