"""How a supernet or a discrete network is built."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from robustnas.networks.blocks import Stem
from robustnas.networks.bundle import Convolution
from robustnas.networks.connection import Connection, Full


@dataclass(frozen=True)
class SupernetConfig:
    """Size of a network, and how its parts are built.

    Args:
        channels: Channels of the first cells, or of the first convolution in mobile spaces.
        layers: Number of cells, in spaces with the DARTS skeleton (default 8).
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

    @classmethod
    def of(cls, config: SupernetConfig | None, *size: Any, **fields: Any) -> SupernetConfig:
        """The configuration that a constructor was given, as one object or field by field."""
        if config is not None and (size or fields):
            got = [*map(str, size), *fields]
            raise ValueError(f"Expected either `config` or its fields, but got both: {', '.join(got)}.")
        return config or cls(*size, **fields)
