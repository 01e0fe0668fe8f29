"""How many weights a network would have, before memory is taken for them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from robustnas.runtime.environment import memory

DEEPEST = 200  # cells; the deepest evaluations of the field have 20
CERTAIN = 2**16  # channels times classes, and channels squared, below which every network fits
BYTES = 4  # of a weight, in float32


def check_depth(name: str, depth: int) -> None:
    """Refuse a network of more cells than one can train."""
    if depth > DEEPEST:
        raise ValueError(f"Expected `{name}` to be at most {DEEPEST}, but got {depth}.")


def check_weights(channels: int, num_classes: int, build: Callable[[], nn.Module]) -> None:
    """Refuse a network whose weights alone, counted without memory, do not fit into that of this machine."""
    if channels * max(channels, num_classes) <= CERTAIN or torch.get_default_device().type == "meta":
        return
    held = memory()
    most = held["limit"] or held["total"]
    asked = f"a network of `channels` = {channels} and `num_classes` = {num_classes}"
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            weights = sum(parameter.numel() for parameter in build().parameters())
    except (RuntimeError, TypeError, OverflowError) as error:  # a tensor of more than 64 bits of bytes
        raise ValueError(f"Expected {asked} to fit into memory, but its weights cannot be counted.") from error
    if most is not None and weights * BYTES > most:
        raise ValueError(
            f"Expected {asked} to fit into the memory of this machine, {most:,} bytes, but its {weights:,} weights "
            f"take {weights * BYTES:,}."
        )
