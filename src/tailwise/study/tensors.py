"""Tensors of a run's folder: read whole or refused in one line."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor, nn

from tailwise.errors import BadData

REMEDY = "put it back, or train again"


def read_tensors(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """Read a safetensors file.

    Args:
        path: of the file.
        sha256: that its bytes must have; None where no record says.

    Raises:
        BadData: the file is missing or damaged.
    """
    try:
        data = path.read_bytes()
        if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
            raise BadData(f"{path} is not the file that the run wrote: it was damaged or replaced; {REMEDY}")
        return load_tensors(data)
    except OSError as error:
        raise BadData(f"{path} cannot be read ({error.strerror}); {REMEDY}") from None
    except SafetensorError as error:
        raise BadData(f"{path} is damaged ({error}); {REMEDY}") from None


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
