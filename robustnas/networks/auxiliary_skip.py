"""A skip connection beside every edge, which fades out during the search."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

from torch import Tensor

from robustnas.networks.connection import Connection, Full


@dataclass(frozen=True)
class AuxiliarySkip(Connection):
    r"""Every edge adds a skip connection that α does not weigh, and that fades out, as in DARTS- (arXiv:2009.01027).

    The output of an edge is :math:`\sum_k a_k\, o_k(x) + \beta\, h(x)`, where :math:`h` is the identity, or for stride
    2 a factorised reduction with weights of its own. What skip connections are good for in an early search, gradients
    that reach the first cells, then counts for no operation. In epoch :math:`e` of :math:`E`, with
    :math:`t = e / (E - 1)`,

    .. math:: \beta = \beta_0 (1 - t) \text{ (linear)}, \qquad
        \beta = \tfrac{1}{2} \beta_0 (1 + \cos \pi t) \text{ (cosine)}.

    So :math:`\beta` is zero in the last epoch, in which the search trains what is discretised, and so in a search of
    one epoch. The authors' code has :math:`t = e / E`, which leaves :math:`\beta_0 / E` in the last epoch. With edge
    weights, the edge is weighed as a whole. A discrete network has no auxiliary skip connection.

    Args:
        weight_start: :math:`\beta_0`, zero or more; at 0 nothing is added, and the search is the one without.
        schedule: How :math:`\beta` falls: ``linear``, as in the paper's searches, or ``cosine``.
        channels: Which channels pass through the operations, of which those take the auxiliary skip connection too.

    Raises:
        ValueError: If an argument is out of its range, or ``channels`` adds an operation itself.
    """

    weight_start: float = 1.0
    schedule: Literal["linear", "cosine"] = "linear"
    channels: Connection = field(default=Full())

    def __post_init__(self) -> None:
        if not 0 <= self.weight_start < math.inf:
            raise ValueError(f"Expected `weight_start` to be zero or more, but got {self.weight_start}.")
        if self.schedule not in ("linear", "cosine"):
            raise ValueError(f"Expected `schedule` to be 'linear' or 'cosine', but got {self.schedule!r}.")
        if self.channels.auxiliary is not None:
            raise ValueError(
                f"Expected `channels` to be a connection that adds no operation itself, but got {self.channels}."
            )

    @property
    def auxiliary(self) -> str | None:  # type: ignore[override]
        return "skip_connect" if self.weight_start > 0 else None

    def auxiliary_weight(self, epoch: int, epochs: int) -> float:
        done = min(epoch / (epochs - 1), 1.0) if epochs > 1 else 1.0
        left = 1 - done if self.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
        return self.weight_start * left

    @property
    def stages(self) -> tuple[tuple[int, int], ...]:  # type: ignore[override]
        return self.channels.stages

    @property
    def divide(self) -> bool:  # type: ignore[override]
        return self.channels.divide

    def at_stage(self, stage: int) -> Connection:
        return replace(self, channels=self.channels.at_stage(stage))

    def through(self, channels: int) -> int:
        return self.channels.through(channels)

    def split(self, images: Tensor, stride: int) -> tuple[Tensor, Tensor | None]:
        return self.channels.split(images, stride)

    def join(self, mixed: Tensor, bypass: Tensor | None) -> Tensor:
        return self.channels.join(mixed, bypass)
