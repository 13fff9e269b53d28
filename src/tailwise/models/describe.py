"""What a network is, for `tailwise show`; its weights are neither looked for nor read."""

from __future__ import annotations

from typing import Any

import torch

from tailwise.method import Net
from tailwise.models.build import build
from tailwise.models.chain import Chain
from tailwise.models.heads import LinearHead
from tailwise.models.names import Name, parse, preprocessing, tags, timm_config
from tailwise.models.networks import find_network


def describe(name: str, classes: int = 10) -> dict[str, Any]:
    """Describe a network: title, what it takes, blocks, width, parameters with a linear head, pixels, weights that can be named.

    Ours are described on 32 x 32 colour images, timm's on those that it was made for.

    Raises:
        UnknownName, BadValue: from `parse`.
    """
    named = parse(name)
    network, pixels = find_network(named.net), preprocessing(name)
    side = pixels.size if pixels else 32
    shape = (side, side, 3) if network.takes == "images" else (64,)
    with torch.device("meta"):  # shapes without values: nothing is drawn, and the largest network takes no memory
        made = build(Net(named.net, LinearHead()), shape, classes)
    return {
        "name": name,
        "title": network.title,
        "takes": network.takes,
        "blocks": list(made.names) if isinstance(made, Chain) else [],
        "width": made.width,
        "parameters": sum(p.numel() for p in made.parameters()),
        **({"pixels": str(pixels)} if pixels else {}),
        **({} if named.ours else _weights(named)),
    }


def _weights(name: Name) -> dict[str, Any]:
    """List the weights that timm has for a model, the default first, and the licence and place of those that are named."""
    config = timm_config(name)
    return {
        "weights": [f"{name.net}.{tag}" for tag in tags(name.net)],
        "licence": config.license or "" if config and name.tag else "",
        "from": f"https://huggingface.co/{config.hf_hub_id}" if config and name.tag and config.hf_hub_id else "",
    }
