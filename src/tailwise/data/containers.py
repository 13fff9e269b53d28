"""What an array of images or of features must be, wherever it comes from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from tailwise.errors import BadData

Kind = Literal["images", "features", "videos"]

# The name becomes a file name when a manifest is saved.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def is_container_name(name: str) -> bool:
    """Tell whether a container may have this name: letters, digits, `-` and `_`."""
    return _NAME.fullmatch(name) is not None


def check_images(array: np.ndarray, where: str) -> None:
    """Refuse what is not uint8 (N, H, W) or (N, H, W, C) with one or three channels.

    Raises:
        BadData: another dtype (with the conversion to write), number of axes, order of axes, or an axis of length 0.
    """
    if array.dtype != np.uint8:
        raise BadData(f"images in {where} are {array.dtype}, expected uint8 values 0..255; {_to_uint8(array)}")
    if array.ndim not in (3, 4):
        raise BadData(f"images in {where} have shape {array.shape}, expected (N, H, W) or (N, H, W, C); reshape them")
    if array.ndim == 4 and array.shape[3] not in (1, 3):
        is_planar = array.shape[1] in (1, 3)
        remedy = "move the channels last with .transpose(0, 2, 3, 1)" if is_planar else "keep 1 or 3 channels"
        raise BadData(f"images in {where} have shape {array.shape}, expected 1 or 3 channels last; {remedy}")
    if 0 in array.shape:
        raise BadData(f"images in {where} have shape {array.shape}, expected no empty axis; give at least one image")


def _to_uint8(array: np.ndarray) -> str:
    if array.dtype.kind == "f" and array.size and array.min() >= 0 and array.max() <= 1:
        return "they lie in 0..1, so convert with (255 * images).round().astype('uint8')"
    return "convert them with .astype('uint8') once their values lie in 0..255"


def check_features(array: np.ndarray, where: str) -> None:
    """Refuse what is not finite float32 (N, D).

    Raises:
        BadData: another dtype or number of axes, an axis of length 0, or a value that is not finite (with its first row).
    """
    if array.dtype != np.float32:
        raise BadData(f"features in {where} are {array.dtype}, expected float32; convert them with .astype('float32')")
    if array.ndim != 2 or 0 in array.shape:
        raise BadData(f"features in {where} have shape {array.shape}, expected (N, D); give one row of numbers an image")
    finite = np.isfinite(array).all(axis=1)
    if not finite.all():
        rows = np.flatnonzero(~finite)
        raise BadData(
            f"features in {where} have NaN or infinite values in {len(rows):,} rows, the first is row {rows[0]}; "
            f"expected finite numbers; leave these rows out or compute them again"
        )


def kind_of(arrays: Mapping[str, Any], has_paths: bool, name: str) -> Kind:
    """Check every array and tell what a manifest's rows are; images and features are never mixed."""
    kinds: set[Kind] = {"images"} if has_paths else set()
    for container, array in arrays.items():
        if not isinstance(container, str) or not is_container_name(container):
            raise BadData(f"array {container!r} of manifest {name!r} needs a name of letters, digits, '-' and '_'; rename it")
        where = f"array {container!r} of manifest {name!r}"
        if array.ndim == 2:
            check_features(array, where)
            kinds.add("features")
        else:
            check_images(array, where)
            kinds.add("images")
    if len(kinds) > 1:
        raise BadData(f"manifest {name!r} mixes images and features; make one manifest of each")
    return kinds.pop() if kinds else "images"


def read_only(array: np.ndarray) -> np.ndarray:
    """Give a view that cannot be written through: a manifest is immutable."""
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view
