"""One path at random, whatever α is: weight sharing without a search."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustnas.networks import Mixture
from robustnas.strategies.relaxation import Relaxation
from robustnas.strategies.selection import column_mask
from robustnas.strategies.step_context import StepContext


@dataclass(frozen=True)
class UniformOneHot(Relaxation):
    """An architecture drawn anew in every step, the same in all cells of a kind (arXiv:1902.07638).

    At each node as many edges as it keeps are drawn, all with the same probability, and on each of them one operation
    that may be selected. Nothing else is computed. α has no part in it and no gradient, so that it rests. Evaluation
    draws one architecture for a whole validation.
    """

    samples = True

    def mixture(self, alpha: Tensor, context: StepContext) -> Mixture:
        allowed = alpha.detach().isfinite().cpu()
        if context.cell is not None:
            allowed &= column_mask(context.cell, context.cell.selectable)
        active = torch.zeros(alpha.shape, dtype=torch.bool)
        for row in _kept_rows(len(alpha), context):
            columns = allowed[row].nonzero()[:, 0]
            active[row, columns[int(torch.randint(len(columns), (1,), generator=context.generator))]] = True
        return Mixture(active.to(alpha.device, alpha.dtype) + 0.0 * alpha.where(alpha.isfinite(), 0.0), active=active)

    def shares(self, alpha: Tensor) -> Tensor:
        return (0.0 * alpha).where(alpha.isfinite(), alpha).softmax(dim=-1)


def _kept_rows(edges: int, context: StepContext) -> list[int]:
    """Rows of the edges that take part: as many at each node as it keeps, all where that is not said."""
    if context.cell is None or context.cell.keep is None:
        return list(range(edges))
    rows = []
    for node in context.cell.nodes:
        entering = [row for row, _ in context.cell.edges_into(node)]
        order = torch.randperm(len(entering), generator=context.generator).tolist()
        rows += [entering[place] for place in sorted(order[: context.cell.keep])]
    return rows
