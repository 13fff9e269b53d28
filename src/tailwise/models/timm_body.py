"""Any timm model as blocks and pooling: made for the images, its values pre-trained or drawn by timm."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import timm
from timm.layers import PatchEmbed
from timm.models import adapt_input_conv
from torch import Tensor, nn

from tailwise.errors import BadData
from tailwise.models.timm_families import Model, cut
from tailwise.models.weights import Weights, read_tensors


def timm_body(name: str, shape: tuple[int, ...], weights: Weights | None) -> tuple[OrderedDict[str, nn.Module], nn.Module, int]:
    """Make blocks, pooling and width of a timm model.

    Args:
        name: timm's, without tag.
        shape: (height, width, channels) of the images.
        weights: to begin from; None for timm's own initialisation, drawn from torch's generator.

    Raises:
        BadData: images that the model cannot take, or weights of another one.
    """
    model = make_model(name, shape)
    if weights is not None:
        load_weights(model, read_tensors(weights), weights)
    keep_values(model)
    blocks, pool = cut(model)
    return blocks, pool, model.head_hidden_size


def make_model(name: str, shape: tuple[int, ...]) -> Model:
    """Make a timm model without classifier, for images of (height, width, channels); values are drawn by timm.

    Raises:
        BadData: images that the model cannot take.
    """
    height, width, channels = shape
    config = timm.get_pretrained_cfg(name)
    usual = config.input_size[-1] if config else 224
    sized: dict[str, Any] = {"img_size": (height, width)} if config and config.fixed_input_size else {}
    try:
        model: Model = timm.create_model(name, num_classes=0, in_chans=channels, **sized)
    except (AssertionError, RuntimeError, TypeError, ValueError, ZeroDivisionError) as error:
        said = f"{' '.join(str(error).split())}; its own size is --set recipe.image_size={usual}"
        raise BadData(f"timm's {name} cannot be made for images of {height} x {width} x {channels}: {said}") from None
    patches = getattr(model, "patch_embed", None)
    patch = patches.patch_size if isinstance(patches, PatchEmbed) else (1, 1)
    if (height % patch[0] or width % patch[1]) and height != usual:  # timm would leave out the pixels beyond the last patch
        said = f"{name} cuts images into patches of {patch[0]} x {patch[1]} pixels, and {height} x {width} is no multiple"
        raise BadData(f"{said}; its own size is --set recipe.image_size={usual}")
    return model


# --- values -------------------------------------------------------------------------------------------------------------


def load_weights(model: Model, tensors: dict[str, Tensor], weights: Weights) -> None:
    """Load weights into a timm model, adapted to its channels and to the size of its images; the classifier is left out.

    Args:
        model: from `make_model`.
        tensors: by the names of timm, or of a file that timm can convert.
        weights: where they come from, for the refusal.

    Raises:
        BadData: they belong to another architecture.
    """
    config = model.pretrained_cfg
    tensors = _converted(model, tensors)
    for layer in _names(config.get("first_conv")):
        _adapt_channels(model, tensors, layer)
    for layer in _names(config.get("classifier")):
        for kind in ("weight", "bias"):
            tensors.pop(f"{layer}.{kind}", None)
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    counters = {name for name in wanted if name.endswith("num_batches_tracked")}  # old files are without them
    wrong = [name for name in (*wanted, *found) if wanted.get(name) != found.get(name) and name not in counters]
    if wrong:
        name, fit = wrong[0], sum(found.get(n) == shape for n, shape in wanted.items())
        first = f"{name} is {found.get(name) or 'missing'} there and {wanted.get(name) or 'unknown'} here"
        arch = config.get("architecture")
        raise BadData(f"weights {weights.path} do not fit {arch}: {fit} of its {len(wanted)} tensors fit, and {first}; name their network")
    model.load_state_dict(tensors, strict=False)


def _converted(model: Model, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Bring a file's names to timm's and its position embedding to the model's size, where timm knows how."""
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return dict(tensors)
    try:
        return dict(convert(dict(tensors), model))
    except (AssertionError, AttributeError, KeyError, RuntimeError, TypeError, ValueError):  # made for no file like this one
        return dict(tensors)


def _adapt_channels(model: Model, tensors: dict[str, Tensor], layer: str) -> None:
    """Adapt a first convolution's weight to the model's channels, as timm does: one channel gets the sum over three."""
    name = f"{layer}.weight"
    weight, wanted = tensors.get(name), model.get_submodule(layer).weight
    if weight is not None and weight.ndim == 4 and weight.shape[1] == 3 and wanted.shape[1] != 3:
        tensors[name] = adapt_input_conv(wanted.shape[1], weight)


def _names(value: str | Iterable[str] | None) -> tuple[str, ...]:
    return () if value is None else (value,) if isinstance(value, str) else tuple(value)


def keep_values(model: Model) -> None:
    """Take `reset_parameters` from every module.

    The training loop calls it on all that have it, to draw values of its own; here the values are pre-trained, or timm's.
    """
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            vars(module)["reset_parameters"] = None
