"""How a supernet or a discrete network is built, and whether one fits into memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from robustnas.networks.blocks import Stem
from robustnas.networks.bundle import Bundle, Convolution
from robustnas.networks.connection import Connection, Full
from robustnas.runtime.environment import memory

DEEPEST = 200  # cells; the deepest evaluations of the field have 20
CERTAIN = 2**16  # channels times classes, and channels squared, below which every network fits
BYTES = 4  # of a weight, in float32


@dataclass(frozen=True)
class SupernetConfig:
    """Size of a network, and how its parts are built.

    Args:
        channels: Channels of the first cells, or of the first convolution in mobile spaces.
        layers: Number of cells, in spaces with a DARTS skeleton (default 8, or 1 with normal cells only).
        cells: Cells of each of the three stages, in NAS-Bench-201 (default 5).
        num_classes: Outputs of the classifier.
        image_channels: Channels of the images.
        stem: ``cifar``, or ``imagenet`` for large images (DARTS and mobile skeletons only).
        affine: Whether BatchNorm inside cells learns a scale and an offset; in mobile spaces it always does.
        pool_norm: Whether BatchNorm follows pooling, in spaces with the DARTS skeleton.
        batch_statistics: Whether evaluation normalises by the batch, not by running statistics.
        convolution: How separable convolutions are computed: ``separable``, ``dense``, or ``auto`` by device,
            precision and channels.
        channels_last: Memory format of the images; ``None`` chooses what is fast on the device.
        checkpointing: Whether activations of cells are computed again in the backward pass, to save memory.
        connection: Which channels of a state pass through the operations of an edge.

    Raises:
        ValueError: If a number is below one.
    """

    channels: int = 16
    layers: int | None = None
    cells: int | None = None
    num_classes: int = 10
    image_channels: int = 3
    stem: Stem = "cifar"
    affine: bool = False
    pool_norm: bool = True
    batch_statistics: bool = False
    convolution: Convolution = "auto"
    channels_last: bool | None = None
    checkpointing: bool = False
    connection: Connection = field(default=Full())

    def __post_init__(self) -> None:
        for name in ("channels", "num_classes", "image_channels"):
            if (value := getattr(self, name)) < 1:
                raise ValueError(f"Expected `{name}` to be at least 1, but got {value}.")

    def bundle(self, edges: int, channels: int, out_channels: int, stride: int) -> Bundle:
        """The place of an operation, with the options of operations."""
        return Bundle(edges, channels, out_channels, stride, self.affine, self.pool_norm, self.convolution)

    @classmethod
    def of(cls, config: SupernetConfig | None, *size: Any, **fields: Any) -> SupernetConfig:
        """The configuration that a constructor was given, as one object or field by field."""
        if config is not None and (size or fields):
            got = [*map(str, size), *fields]
            raise ValueError(f"Expected either `config` or its fields, but got both: {', '.join(got)}.")
        return config or cls(*size, **fields)


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
