"""`tailwise networks`: which backbones there are, and how others are named."""

from __future__ import annotations

from typing import Any

EXAMPLES = {
    "ResNet, ResNeXt": ("resnet18", "resnet50", "resnext50_32x4d"),
    "EfficientNet": ("efficientnet_b0", "tf_efficientnet_lite0", "tf_efficientnetv2_s"),
    "MobileNet": ("mobilenetv2_100", "mobilenetv3_small_100"),
    "ViT": ("vit_tiny_patch16_224", "vit_small_patch14_dinov2"),
}
"""Families of timm's that are cut into named blocks, with models to begin with."""


def networks(*, like: str = "", json: bool = False) -> None:
    """List our own networks and how timm's are named; with `--like`, timm's with their pre-trained weights.

    Parameters
    ----------
    like
        List timm's models whose names contain this.
    json
        Print the list as JSON.
    """
    found = search(like) if like else overview()
    if json:
        from tailwise.cli.tables import print_json

        print_json(found)
        return
    (_print_found if like else _print_overview)(found)


def overview() -> dict[str, Any]:
    """Give our networks, timm's families that are chained, and how many models timm has."""
    import timm

    from tailwise.models import NETWORKS, is_pretrained

    return {
        "networks": [
            {"name": name, "title": network.title, "takes": network.takes, "pretrained": is_pretrained(name)}
            for name, network in NETWORKS.items()
        ],
        "families": [{"family": family, "examples": list(examples)} for family, examples in EXAMPLES.items()],
        "timm": {"models": len(timm.list_models()), "weights": len(timm.list_pretrained())},
    }


def search(like: str) -> dict[str, Any]:
    """List timm's models whose names contain a text, each with the names of its weights, the default first.

    Raises:
        UnknownName: there is none.
    """
    import timm

    from tailwise.errors import UnknownName
    from tailwise.models import tags

    known = timm.list_models()
    text = like.strip().lower()
    found = [name for name in known if text in name]
    if not found:
        raise UnknownName("timm model", like, known, see="Give --like a part of a name, such as resnet or vit.")
    return {"like": like, "networks": [{"name": name, "weights": [f"{name}.{tag}" for tag in tags(name)]} for name in found]}


def _print_overview(found: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    from tailwise.cli.tables import console, say

    ours = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("network", "title"):
        ours.add_column(column)
    for network in found["networks"]:
        ours.add_row(network["name"], Text(network["title"]))
    console.print(ours)
    say(f"\ntimm's {found['timm']['models']:,} models go by their own names; these families are cut into named blocks, others stay whole:")
    families = Table(box=None, pad_edge=False, show_header=False)
    for family in found["families"]:
        families.add_row(family["family"], ", ".join(family["examples"]))
    console.print(families)
    say("\nresnet50                random values, drawn from the seed")
    say(f"resnet50.a1_in1k        pre-trained weights by name ({found['timm']['weights']:,} of them)")
    say("resnet50@FILE           weights from a .safetensors or .pth file")
    say("\n`tailwise networks --like TEXT` lists timm's models and their weights; `tailwise show NAME` describes one.")


def _print_found(found: dict[str, Any]) -> None:
    from tailwise.cli.tables import say

    for network in found["networks"]:
        say(network["name"])
        for weights in network["weights"]:
            say(f"  {weights}")
    say(f"\n{len(found['networks']):,} models; a name alone begins from random values, with weights as listed, the default first")
