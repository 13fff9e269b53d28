"""Pre-trained weights: which file holds them, what is in it by hash, and its tensors."""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tailwise.errors import BadData
from tailwise.specification import UNDECIDED

WRAPPERS = ("state_dict", "model", "model_state")
"""Names under which training programs put the tensors beside their optimisers."""


@dataclass(frozen=True)
class Weights:
    """A file of weights, described by its content: two places of one file are the same weights.

    Attributes:
        sha256: of the file's bytes.
        name: for people, such as `resnet50.a1_in1k`; reaches no key.
        path: where the file is; reaches no key.
    """

    sha256: str
    name: str = field(default="", compare=False, metadata=UNDECIDED)
    path: Path = field(default=Path(), compare=False, metadata=UNDECIDED)


def weights_of_file(path: Path, name: str) -> Weights:
    """Describe a file of weights; its tensors are not read.

    Args:
        path: of a `.safetensors` file, or of one that `torch.save` wrote.
        name: for people.

    Raises:
        BadData: there is no such file.
    """
    path = path.expanduser().absolute()
    return Weights(_sha256(path), name, path)


def _sha256(path: Path) -> str:
    try:
        about = path.stat()
        return _sha256_as_of(path, about.st_size, about.st_mtime_ns)
    except OSError as error:
        raise BadData(f"weights {path} cannot be read ({error.strerror}); expected a .safetensors file, or a .pth of tensors") from None


@functools.cache
def _sha256_as_of(path: Path, size: int, changed: int) -> str:
    """Hash a file once for each size and time of change: planning asks at every stage."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- weights by name ----------------------------------------------------------------------------------------------------


def weights_folder() -> Path:
    """Give the folder of weights that are known by name: `TAILWISE_WEIGHTS`, or one in the user's data folder."""
    if named := os.environ.get("TAILWISE_WEIGHTS"):
        return Path(named)
    from platformdirs import user_data_path  # only weights by name are looked for

    return user_data_path("tailwise", appauthor=False) / "weights"


def weights_of_name(name: str, repository: str | None, file: str, url: str | None) -> Weights:
    """Find weights by name: in the folder of weights, in the hub's cache, on the hub.

    Args:
        name: `NAME.TAG`.
        repository: of the Hugging Face hub, or None where it has none.
        file: its name in the repository.
        url: where else the file is, or None.

    Raises:
        BadData: it is nowhere; says what to fetch and where to put it.
    """
    places = [weights_folder() / f"{name}{suffix}" for suffix in (".safetensors", ".pth")]
    here = next((place for place in places if place.is_file()), None) or (_from_hub(repository, file) if repository else None)
    if here is not None:
        return weights_of_file(here, name)
    source = f"{file} of https://huggingface.co/{repository}" if repository else str(url)
    place = places[Path(source.split()[0]).suffix == ".pth"]
    raise BadData(f"the weights {name!r} are not here and cannot be fetched; put {source} at {place}, or give --net {name}@FILE")


def _from_hub(repository: str, file: str) -> Path | None:
    """Give the hub's file from its cache, or fetch it; None when that fails, for whatever reason."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache

    cached = try_to_load_from_cache(repository, file)
    if isinstance(cached, str):
        return Path(cached)
    try:
        get_hf_file_metadata(hf_hub_url(repository, file))  # asks once; without a network, the download alone tries for half a minute
        return Path(hf_hub_download(repository, file))
    except Exception:  # the hub, its client and the network underneath each have errors of their own
        return None


# --- tensors ------------------------------------------------------------------------------------------------------------


def read_tensors(weights: Weights) -> dict[str, Tensor]:
    """Read tensors by name, on the CPU, without the wrappings of training programs; nothing in the file is run.

    Raises:
        BadData: the file has changed since it was described, or holds anything but tensors.
    """
    path = weights.path
    if _sha256(path) != weights.sha256:
        raise BadData(f"weights {path} have changed since the run was planned; run the same command again")
    found = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    while isinstance(found, Mapping) and (inner := next((w for w in WRAPPERS if isinstance(found.get(w), Mapping)), None)):
        found = found[inner]
    if not isinstance(found, Mapping) or not found or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise BadData(f"{path} holds no weights: expected tensors by name, alone or under one of {', '.join(WRAPPERS)}")
    prefix = "module." if all(name.startswith("module.") for name in found) else ""
    return {name.removeprefix(prefix): tensor for name, tensor in found.items()}


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise BadData(f"{path} is no safetensors file ({_line(error)}); fetch it again") from None


def _read_torch(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        reason = "holds Python objects, or is no file of torch's"
        raise BadData(f"{path} {reason}; unpickling runs code, so tensors alone are read: save the state_dict()") from None
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        raise BadData(f"{path} cannot be read by torch ({_line(error)}); fetch it again") from None


def _line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or "it ends early"
