"""Networks as plain values and back, so that an exported folder says how to build what its weights belong to."""

from __future__ import annotations

from typing import Any

from robustnas.networks import DiscreteNetwork, ResNet
from robustnas.spaces import parse_genotype

SIZES = {  # arguments of the constructors, by class
    "DiscreteNetwork": ("channels", "layers", "cells", "num_classes", "image_channels", "stem"),
    "ResNet": ("channels", "blocks", "num_classes", "image_channels"),
}


def architecture_of(network: DiscreteNetwork | ResNet) -> dict[str, Any]:
    """Class, genotype and size of a network, without an auxiliary head, which only trains."""
    if isinstance(network, ResNet):
        return {"class": "ResNet", **network.size}
    size = {name: getattr(network.config, name) for name in SIZES["DiscreteNetwork"]}
    return {"class": "DiscreteNetwork", "genotype": str(network.genotype), **size}


def weights_of(network: DiscreteNetwork | ResNet) -> dict[str, Any]:
    """Weights and running statistics, without those of an auxiliary head."""
    return {name: value for name, value in network.state_dict().items() if not name.startswith("body.auxiliary.")}


def build(described: Any, source: str) -> DiscreteNetwork | ResNet:
    """Build what :func:`architecture_of` described, with fresh weights; refused where it does not fit."""
    try:
        given = dict(described)
        sizes = SIZES[given.pop("class")]
        genotype = given.pop("genotype") if sizes is SIZES["DiscreteNetwork"] else None
        if set(given) != set(sizes):
            raise ValueError(f"it has {sorted(given)}, not {sorted(sizes)}")
        if genotype is None:
            return ResNet(**given)
        found = parse_genotype(genotype)
        return DiscreteNetwork(found.space, found, **given)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = f"{error} is unknown or missing" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise ValueError(f"Expected {source} to describe a network, but: {reason}") from error
