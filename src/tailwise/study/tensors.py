"""Tensors of a run's folder: read whole or refused in one line."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor, nn

from tailwise.errors import BadData

REMEDY = "put it back, or move the run's folder away and train again"


def read_tensors(path: Path, sha256: str, remedy: str = REMEDY) -> dict[str, Tensor]:
    """Read a safetensors file.

    Args:
        path: of the file.
        sha256: that its bytes must have.
        remedy: what to do where they do not.

    Raises:
        BadData: the file is missing or damaged.
    """
    try:
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != sha256:
            raise BadData(f"{path} is not the file that the run wrote: it was damaged or replaced; {remedy}")
        return load_tensors(data)
    except OSError as error:
        raise BadData(f"{path} cannot be read ({error.strerror}); {remedy}") from None
    except SafetensorError as error:
        raise BadData(f"{path} is damaged ({error}); {remedy}") from None


def fill(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Fill a module with tensors, all of them and no others.

    Raises:
        BadData: they belong to another network.
    """
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise BadData(f"{path} does not fit the network as it is defined now ({reason[:200]}); {REMEDY}") from None
