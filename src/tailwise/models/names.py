"""Names of networks: `NAME`, `NAME.TAG` for pre-trained weights by name, `NAME@FILE` for weights from a file."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from tailwise.errors import BadValue, UnknownName
from tailwise.models.networks import NETWORKS
from tailwise.models.preprocessing import Preprocessing
from tailwise.models.weights import Weights, weights_of_file, weights_of_name


@dataclass(frozen=True)
class Name:
    """A network's name in its pieces.

    Attributes:
        net: the architecture: one of ours, or a timm model.
        tag: timm's name of its weights, or empty. Beside a file it says what those weights expect of pixels.
        file: with weights, or empty.
    """

    net: str
    tag: str = ""
    file: str = ""

    @property
    def ours(self) -> bool:
        """Whether the network is in our own table."""
        return self.net in NETWORKS

    @property
    def tagged(self) -> str:
        """The name as timm and its hub write it."""
        return f"{self.net}.{self.tag}" if self.tag else self.net


def parse(name: str) -> Name:
    """Take a name apart, and check that network and tag exist. Files are not looked at.

    Raises:
        UnknownName: no such network, or a tag that timm does not know.
        BadValue: weights for a network of ours, or no file after the `@`.
    """
    front, at, file = name.strip().partition("@")
    net, dot, tag = front.partition(".")
    made = Name(net, tag, file)
    if at and not file:
        raise BadValue(f"{name!r} names no file after the '@'; write --net {front}@FILE.safetensors")
    if made.ours:
        if dot or at:
            has = "weights of its own and no others" if NETWORKS[net].weights else "no pre-trained weights"
            raise BadValue(
                f"{name!r} names weights, and network {net!r} has {has}; weights are for timm's models, as in --net resnet50@FILE"
            )
        return made
    if not is_network(net):
        raise UnknownName("network", net, names_near(net), see="`tailwise networks --like TEXT` lists timm's.")
    if dot and tag not in tags(net):
        has = f"{net!r} has {', '.join(tags(net))}." if tags(net) else f"timm has none for {net!r}; give --net {net}@FILE."
        raise UnknownName("set of pre-trained weights", front, [f"{net}.{known}" for known in tags(net)], see=has)
    return made


def is_network(net: str) -> bool:
    """Say whether a bare name is one of ours or a timm model."""
    return net in NETWORKS or net in _timm_models()


def names_near(net: str) -> list[str]:
    """List the names among which to look for the one that was meant: ours where one is a slip away, else timm's too.

    timm has so many that something is always as near as ours.
    """
    return list(NETWORKS) if get_close_matches(net, NETWORKS, cutoff=0.85) else [*NETWORKS, *_timm_models()]


def _timm_models() -> list[str]:
    import timm  # takes two seconds: only who names a timm model waits

    return timm.list_models()


def tags(net: str) -> tuple[str, ...]:
    """List the tags of a timm model's pre-trained weights, the default first."""
    import timm

    default = timm.get_pretrained_cfg(net) if timm.is_model_pretrained(net) else None
    found = [full.partition(".")[2] for full in timm.list_models(f"{net}.*", pretrained=True)]
    return tuple(sorted(found, key=lambda tag: default is None or tag != default.tag))


def timm_config(name: Name) -> Any:
    """Give timm's description of a model and its weights: pixels, where the weights are, their licence; None where it has none."""
    import timm

    return timm.get_pretrained_cfg(name.tagged)


# --- pre-trained weights ------------------------------------------------------------------------------------------------


def find_weights(name: Name) -> Weights | None:
    """Describe the weights that a network begins from; None for random values. Cheap after the first time.

    Raises:
        BadData: they are not there; one line says where they belong.
    """
    own = NETWORKS[name.net].weights if name.ours else None
    if own is not None:
        return weights_of_file(own(), name.net)
    if name.file:
        return weights_of_file(Path(name.file), f"{name.net}@{Path(name.file).name}")
    if not name.tag:
        return None
    config = timm_config(name)
    return weights_of_name(name.tagged, config.hf_hub_id, config.hf_hub_filename or "model.safetensors", config.url)


def is_pretrained(name: str) -> bool:
    """Say whether a network of this name begins from pre-trained weights.

    Raises:
        UnknownName, BadValue: from `parse`.
    """
    named = parse(name)
    return NETWORKS[named.net].weights is not None if named.ours else bool(named.tag or named.file)


def pretrained_name(name: str) -> str:
    """Name a network with its pre-trained weights: a bare timm name gets timm's default tag, other names stay.

    Raises:
        UnknownName: from `parse`.
        BadValue: there are no pre-trained weights for it.
    """
    if is_pretrained(name):
        return name
    named = parse(name)
    if named.ours:
        raise BadValue(f"network {name!r} has no pre-trained weights; use --net efficientnet-lite0, resnet50, or another of timm's models")
    if not tags(named.net):
        raise BadValue(f"timm has no pre-trained weights of {name!r}; give them with --net {name}@FILE")
    return f"{named.net}.{tags(named.net)[0]}"


def preprocessing(name: str) -> Preprocessing | None:
    """Say what a network expects of its pixels: what its weights were trained with, or None where the recipe decides.

    Raises:
        UnknownName, BadValue: from `parse`.
    """
    named = parse(name)
    if named.ours:
        return NETWORKS[named.net].preprocessing
    config = timm_config(named)
    if config is None:
        return None
    return Preprocessing(config.input_size[-1], tuple(config.mean), tuple(config.std), config.interpolation)
