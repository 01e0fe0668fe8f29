"""Partial channels of which more pass through the operations from certain epochs on."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from robustnas.networks.connection import Connection, PartialChannels


@dataclass(frozen=True)
class WideningChannels(Connection):
    r"""Partial channels that widen in stages, as in DrNAS (arXiv:2006.10355).

    One in :math:`k` channels passes through the operations, see :class:`~robustnas.networks.PartialChannels`. When a
    stage :math:`(e, k')` begins, at the start of epoch :math:`e`, operations grow to one in :math:`k'`: their new
    channels copy old ones, drawn at random, and so do running statistics and the momentum of the weights. The learning
    rate goes on. The network's output changes nevertheless, since the new channels carry other parts of the state than
    those they copy, as it does in the authors' code.

    Args:
        k: One in how many channels passes through at first.
        stages: Pairs of the first epoch of a stage and its :math:`k'`, in order; epochs rise from 1 or more, and
            :math:`k'` falls from below ``k`` to 1 or more.
        divide: Whether copies of an input channel share its weight, so that an operation gives on copied channels what
            it gave, as in Net2Net (arXiv:1511.05641). The authors' code does not divide.

    Raises:
        ValueError: If stages are out of order or of range.
    """

    k: int = 6
    stages: tuple[tuple[int, int], ...] = ((25, 4),)
    divide: bool = True

    def __post_init__(self) -> None:
        epochs, numbers = ([stage[place] for stage in self.stages] for place in (0, 1))
        object.__setattr__(self, "stages", tuple(zip(epochs, numbers, strict=True)))  # YAML and checkpoints hold lists
        rising = all(one < other for one, other in zip([0, *epochs], epochs, strict=False))
        falling = all(one > other for one, other in zip([self.k, *numbers], [*numbers, 0], strict=True))
        if not (self.stages and rising and falling):
            raise ValueError(
                "Expected `stages` to be pairs of an epoch and a `k`, with epochs that rise from 1 or more and `k` "
                f"that falls from below {self.k} to 1 or more, but got {list(map(list, self.stages))}."
            )

    def at_stage(self, stage: int) -> Connection:
        return self if stage == 0 else PartialChannels(self.stages[stage - 1][1])

    def through(self, channels: int) -> int:
        for stage in range(1, len(self.stages) + 1):
            self.at_stage(stage).through(channels)  # refuses what cannot be divided later
        return self._channels.through(channels)

    def split(self, images: Tensor, stride: int) -> tuple[Tensor, Tensor | None]:
        return self._channels.split(images, stride)

    def join(self, mixed: Tensor, bypass: Tensor | None) -> Tensor:
        return self._channels.join(mixed, bypass)

    @property
    def _channels(self) -> PartialChannels:
        return PartialChannels(self.k)
