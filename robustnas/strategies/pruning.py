"""Which operations leave during the search."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from robustnas.spaces import CellSpace, SearchSpace
from robustnas.strategies.penalty import ByKind
from robustnas.strategies.selection import column_mask
from robustnas.strategies.step_context import StepContext


class Pruning(ABC):
    """An answer to which operations leave during the search, asked at the end of each epoch."""

    start: int = 0  # first epoch at whose end operations may leave

    @abstractmethod
    def prune(self, space: SearchSpace, shares: ByKind, active_mask: ByKind, context: StepContext) -> dict[str, Tensor]:
        """What stays, of which every edge that has operations keeps one that can be selected.

        ``shares`` are those of operations, zero for those that left, and ``active_mask`` is boolean, true for what
        stayed so far; both are ``[edges, operations]`` by kind of cell.
        """

    def rests(self, epoch: int) -> bool:
        """Whether α does not move in an epoch, so that the weights adapt to what has left."""
        return False

    def check(self, space: SearchSpace, arch_start: int) -> None:  # noqa: B027
        """Refuse, before a search starts, a space or a first epoch of α that the rule does not fit; by default none."""


@dataclass(frozen=True)
class NoPruning(Pruning):
    """Every operation stays to the end, as in DARTS."""

    def prune(self, space: SearchSpace, shares: ByKind, active_mask: ByKind, context: StepContext) -> dict[str, Tensor]:
        return dict(active_mask)


@dataclass(frozen=True)
class ShareThreshold(Pruning):
    r"""Operations whose share falls under a threshold leave: they are masked and no longer computed.

    The threshold grows linearly over the epochs, :math:`\theta(e) = \theta_0 + (\theta_1 - \theta_0)\,
    (e + 1 - s) / (E - s)` at the end of epoch :math:`e` of :math:`E`, from epoch :math:`s` on, and not before α moves
    (``arch_start``). A pruned operation never returns; the relaxation normalises the other shares again. On each edge
    the largest share that can be selected stays. With :math:`\theta_1 \ge 1/2` no edge ends with two selectable
    operations, unless both have one half; with 1 every edge ends with one: the supernet of NAS-Bench-201 is then the
    discrete network, and in DARTS spaces only which edges stay is left to selection. Beside ``Sparsemax``, a dead
    operation leaves at the end of its epoch. ASAP (arXiv:1904.04123) prunes likewise, with a schedule of its own.

    Args:
        threshold_start: :math:`\theta_0`, from 0 to 1.
        threshold_end: :math:`\theta_1`, from 0 to 1.
        start: Epoch :math:`s`, the first at whose end operations leave.
    """

    threshold_start: float = 0.0
    threshold_end: float = 0.5
    start: int = 0

    def __post_init__(self) -> None:
        for name, value in (("threshold_start", self.threshold_start), ("threshold_end", self.threshold_end)):
            if not 0 <= value <= 1:
                raise ValueError(f"Expected `{name}` to be between 0 and 1, but got {value}.")
        if self.start < 0:
            raise ValueError(f"Expected `start` to be zero or more, but got {self.start}.")

    def threshold(self, context: StepContext) -> float:
        """θ at the end of an epoch."""
        done = (context.epoch + 1 - self.start) / max(context.epochs - self.start, 1)
        return self.threshold_start + (self.threshold_end - self.threshold_start) * min(done, 1.0)

    def prune(self, space: SearchSpace, shares: ByKind, active_mask: ByKind, context: StepContext) -> dict[str, Tensor]:
        if context.epoch < self.start:
            return dict(active_mask)
        threshold = self.threshold(context)
        return {
            kind: active_mask[kind] & _strong(cell, shares[kind], active_mask[kind], threshold)
            for kind, cell in space.cells.items()
        }


def _strong(cell: CellSpace, shares: Tensor, active_mask: Tensor, threshold: float) -> Tensor:
    """What reaches the threshold, and on each edge the largest share; of those that can be selected, if any is."""
    selectable = column_mask(cell, cell.selectable)
    ranked = shares.masked_fill(~selectable, -1.0).masked_fill(~active_mask, -2.0)
    return (shares >= threshold).scatter(-1, ranked.argmax(dim=-1, keepdim=True), True)
