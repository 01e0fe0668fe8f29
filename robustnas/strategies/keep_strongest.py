"""Operations leave in stages: each edge keeps a number of the strongest."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustnas.spaces import CellSpace, SearchSpace
from robustnas.strategies.penalty import ByKind
from robustnas.strategies.pruning import Pruning
from robustnas.strategies.selection import column_mask
from robustnas.strategies.step_context import StepContext


@dataclass(frozen=True)
class KeepStrongest(Pruning):
    r"""From certain epochs on every edge keeps only its strongest operations, as in DrNAS (arXiv:2006.10355).

    A stage :math:`(e, n)` leaves each edge the :math:`n` operations of largest share when epoch :math:`e` begins, the
    strongest that can be selected among them; of equal shares the first. At the start of each stage α rests for some
    epochs, in which the weights adapt; those at the start of the search are ``arch_start``.

    Args:
        stages: Pairs of the first epoch of a stage and the number of operations that an edge keeps, in order; epochs
            rise from 1 or more, numbers fall to 1 or more.
        rest: Epochs at the start of each stage in which α does not move, zero or more.

    Raises:
        ValueError: If stages are out of order or of range.
    """

    stages: tuple[tuple[int, int], ...] = ((25, 4),)
    rest: int = 10

    def __post_init__(self) -> None:
        epochs, numbers = ([stage[place] for stage in self.stages] for place in (0, 1))
        object.__setattr__(self, "stages", tuple(zip(epochs, numbers, strict=True)))  # YAML and checkpoints hold lists
        rising = all(one < other for one, other in zip([0, *epochs], epochs, strict=False))
        falling = all(one > other for one, other in zip(numbers, [*numbers[1:], 0], strict=False))
        if not (self.stages and rising and falling):
            raise ValueError(
                "Expected `stages` to be pairs of an epoch and a number of operations, with epochs that rise from 1 or "
                f"more and numbers that fall to 1 or more, but got {list(map(list, self.stages))}."
            )
        if self.rest < 0:
            raise ValueError(f"Expected `rest` to be zero or more, but got {self.rest}.")

    @property
    def start(self) -> int:  # type: ignore[override]
        """The first epoch at whose end operations leave."""
        return self.stages[0][0] - 1

    def rests(self, epoch: int) -> bool:
        return any(first <= epoch < first + self.rest for first, _ in self.stages)

    def check(self, space: SearchSpace, arch_start: int) -> None:
        if self.start < arch_start:
            raise ValueError(
                f"Expected `stages` to begin after `arch_start`, {arch_start}, from which on α moves, but got one that "
                f"begins at epoch {self.stages[0][0]}."
            )
        most = max(len(edge.operations) for cell in space.cells.values() for edge in cell.edges)
        if self.stages[0][1] >= most:
            raise ValueError(
                f"Expected `stages` to keep less than the {most} operations that an edge of the space {space.name} "
                f"has, but got {self.stages[0][1]}."
            )

    def prune(self, space: SearchSpace, shares: ByKind, active_mask: ByKind, context: StepContext) -> dict[str, Tensor]:
        kept = [number for first, number in self.stages if context.epoch + 1 >= first]
        if not kept:
            return dict(active_mask)
        return {
            kind: active_mask[kind] & _strongest(cell, shares[kind], active_mask[kind], kept[-1])
            for kind, cell in space.cells.items()
        }


def _strongest(cell: CellSpace, shares: Tensor, active_mask: Tensor, number: int) -> Tensor:
    """The operations of largest share of each edge, so many, the strongest that can be selected among them."""
    ranked = shares.masked_fill(~active_mask, -1.0)
    best = ranked.masked_fill(~column_mask(cell, cell.selectable), -2.0).argmax(dim=-1, keepdim=True)
    order = ranked.scatter(-1, best, 2.0).argsort(dim=-1, descending=True, stable=True)  # more than any share
    return torch.zeros_like(active_mask).scatter(-1, order[:, :number], True)
