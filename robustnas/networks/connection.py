"""What an edge carries besides its mixed operations: channels that bypass them, and what is added to them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from robustnas.networks.memory_format import lay_gradient_out, layout_of


class Connection(ABC):
    """An answer to which channels pass through the operations. The others bypass the edge, without a weight of α.

    What bypasses an edge is linear in the edges and the same for all that leave a state. So a cell sums what
    passes through and what bypasses by themselves, and joins the two once per node.

    A connection may also add one more operation to every edge, beside those that α weighs.

    Attributes:
        auxiliary: Name of the operation that every edge adds, with weights of its own; ``None`` for none.
        stages: Pairs of the first epoch of a stage, in which more channels pass through, and a number; none by default.
        divide: Whether weights of copied input channels are divided by the number of copies when a stage begins.
    """

    auxiliary: str | None = None
    stages: tuple[tuple[int, int], ...] = ()
    divide: bool = True

    def at_stage(self, stage: int) -> Connection:
        """The connection from a stage on, from 1 as ``stages`` has them; at 0 the first one, which is itself."""
        return self

    def auxiliary_weight(self, epoch: int, epochs: int) -> float:
        """Weight of the operation that every edge adds, in an epoch from 0 of so many; at 0 it is not computed."""
        return 0.0

    @abstractmethod
    def through(self, channels: int) -> int:
        """How many channels of a state pass through the operations; ``ValueError`` if they cannot be divided so."""

    @abstractmethod
    def split(self, images: Tensor, stride: int) -> tuple[Tensor, Tensor | None]:
        """Divide a state ``[batch, channels, h, w]`` that edges of a stride leave.

        ``[batch, through, h, w]`` enter the operations. What bypasses them, or ``None``, has the size of their outputs:
        ``[batch, channels - through, ceil(h / stride), ceil(w / stride)]``.
        """

    @abstractmethod
    def join(self, mixed: Tensor, bypass: Tensor | None) -> Tensor:
        """Put the two parts of a node together, ``[batch, channels, h, w]``; ``bypass`` is ``None`` for nothing."""


@dataclass(frozen=True)
class Full(Connection):
    """Every channel passes through the operations, as in DARTS."""

    def through(self, channels: int) -> int:
        return channels

    def split(self, images: Tensor, stride: int) -> tuple[Tensor, None]:
        return images, None

    def join(self, mixed: Tensor, bypass: Tensor | None) -> Tensor:
        return mixed


@dataclass(frozen=True)
class PartialChannels(Connection):
    r"""The first of every :math:`k` channels passes through the operations, as in PC-DARTS (arXiv:1907.05737).

    Of :math:`C` channels the first :math:`C / k` enter the operations; the others bypass them, max-pooled 2 x 2
    where the edge halves the resolution. Both are concatenated and shuffled, channel :math:`g C / k + i` to
    :math:`i k + g`, so that every channel takes its turn from node to node. No channels are drawn at random.

    Args:
        k: One in how many channels passes through; 1 for all.

    Raises:
        ValueError: If ``k`` is not positive.
    """

    k: int = 4

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"Expected `k` to be at least 1, but got {self.k}.")

    def through(self, channels: int) -> int:
        if channels % self.k:
            raise ValueError(
                f"Expected `channels` to be divisible by the `k` of `PartialChannels`, {self.k}, but got {channels}."
            )
        return channels // self.k

    def split(self, images: Tensor, stride: int) -> tuple[Tensor, Tensor | None]:
        if self.k == 1:
            return images, None
        through, layout = self.through(images.shape[1]), layout_of(images)
        entering, rest = images.split([through, images.shape[1] - through], dim=1)
        bypass = rest if stride == 1 else F.max_pool2d(rest, stride, stride, ceil_mode=True)
        return entering.contiguous(memory_format=layout), bypass.contiguous(memory_format=layout)

    def join(self, mixed: Tensor, bypass: Tensor | None) -> Tensor:
        if bypass is None:
            return mixed
        return shuffle(torch.cat([lay_gradient_out(mixed), lay_gradient_out(bypass)], dim=1), self.k)


def shuffle(images: Tensor, groups: int) -> Tensor:
    """Interleave groups of channels: channel ``g * (channels / groups) + i`` becomes ``i * groups + g``."""
    batch, channels, height, width = images.shape
    if layout_of(images) == torch.channels_last:
        last = images.permute(0, 2, 3, 1).reshape(batch, height, width, groups, -1)
        return last.transpose(3, 4).reshape(batch, height, width, channels).permute(0, 3, 1, 2)
    return images.reshape(batch, groups, -1, height, width).transpose(1, 2).reshape(images.shape)
