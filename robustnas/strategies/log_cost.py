"""The logarithm of what each edge will cost, in the loss of α."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from robustnas.cost import UNITS, CostTable, Measure, read_table
from robustnas.runtime.paths import expand
from robustnas.spaces import SearchSpace
from robustnas.strategies.expected_cost import costs_like
from robustnas.strategies.penalty import ByKind, Penalty
from robustnas.strategies.step_context import StepContext


def log_cost(weights: Tensor, costs: Sequence[Tensor]) -> Tensor:
    r"""Return the sum over edges of the mean logarithm of several expected costs, a scalar.

    .. math:: \sum_e \frac{1}{M} \sum_m \log \max\Bigl(1, \sum_k s_{ek}\, c^{(m)}_{ek}\Bigr)

    with weights :math:`s` and costs :math:`c^{(1)}, \dots, c^{(M)}`, all ``[edges, operations]``. An edge that costs
    less than one unit adds nothing and has no gradient.
    """
    return torch.stack([(weights * cost).sum(dim=-1).clamp(min=1).log() for cost in costs]).mean(dim=0).sum()


@dataclass(frozen=True)
class LogCost(Penalty):
    r"""The resource constraint of SNAS: logarithms of the expected costs of edges (arXiv:1812.09926).

    Adds :math:`\lambda` times :func:`log_cost` of the shares, summed over the kinds of cell, with costs from a table
    that ``robustnas profile`` writes. The logarithm makes a halved cost count alike on a cheap and on a dear edge, and
    costs of different units comparable.

    The author's code takes the cost of the sample that the step drew; the shares have its mean without its noise. It
    takes logarithms cell by cell and averages them over the cells of a kind, where the table holds their sum: the same
    up to a constant where the costs of two cells are in proportion. It also counts poolings as multiply-adds, and what
    an identity reads and writes.

    Args:
        table: File of the table.
        weight: λ, zero or more; 0.01 in the author's code, 0.0015 in its published command.
        measures: Which costs; distinct.
    """

    table: str
    weight: float = 0.01
    measures: tuple[Measure, ...] = ("parameters", "flops", "memory_access")

    def __post_init__(self) -> None:
        object.__setattr__(self, "measures", tuple(self.measures))
        if not self.weight >= 0:
            raise ValueError(f"Expected `weight` to be zero or more, but got {self.weight}.")
        known = [measure for measure in UNITS if measure in self.measures]
        if not known or len(known) != len(self.measures):
            raise ValueError(f"Expected `measures` to be distinct ones of {list(UNITS)}, but got {self.measures}.")

    def check(self, space: SearchSpace) -> None:
        """Read the table and refuse one that does not fit."""
        try:
            for measure in self.measures:
                self._table.check(space, measure)
        except ValueError as error:
            raise ValueError(f"Expected `table` to fit the search, but {self.table} does not. {error}") from error

    def of(self, alphas: ByKind, shares: ByKind, context: StepContext) -> Tensor:
        kinds = [
            log_cost(share, [costs_like(share, self._table, kind, m, self.table) for m in self.measures])
            for kind, share in shares.items()
        ]
        return self.weight * torch.stack(kinds).sum()

    @cached_property
    def _table(self) -> CostTable:
        return read_table(expand(self.table, "table"))
