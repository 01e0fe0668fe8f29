"""What the found network will cost on hardware, in the loss of α."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from torch import Tensor

from robustnas.cost import CostTable, Measure, read_table
from robustnas.runtime.paths import expand
from robustnas.spaces import SearchSpace
from robustnas.strategies.penalty import ByKind, Penalty
from robustnas.strategies.step_context import StepContext


@dataclass(frozen=True)
class ExpectedCost(Penalty):
    r"""The expected cost of the network, as ProxylessNAS puts it into the loss of α (arXiv:1812.00332).

    With the shares :math:`s` of operations and their costs :math:`c` from a table that ``robustnas profile`` writes,

    .. math:: E = c_\text{rest} + \sum_{\text{edges } e} \sum_k s_{ek}\, c_{ek},

    which is the mean over architectures whose operations are drawn from the shares, every edge by itself. The form
    ``log`` multiplies the loss, :math:`a\, L\, (\log E / \log r)^b`, and ``linear`` adds to it,
    :math:`L + \lambda (E - r) / r`, with a reference cost :math:`r`. Edges that a genotype will drop, as in the
    DARTS space, count like all others; weights of edges (β) do not change the cost.

    Args:
        table: File of the table.
        reference: Cost :math:`r` that is wanted, in the unit of the table; above 1 in the form ``log``.
        measure: Which cost.
        form: ``log`` or ``linear``.
        factor: :math:`a` of the form ``log``, zero or more.
        power: :math:`b` of the form ``log``, zero or more.
        weight: :math:`\lambda` of the form ``linear``, zero or more.
    """

    table: str
    reference: float
    measure: Measure = "latency"
    form: Literal["log", "linear"] = "log"
    factor: float = 0.2
    power: float = 0.3
    weight: float = 0.1

    def __post_init__(self) -> None:
        for name in ("factor", "power", "weight"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"Expected `{name}` to be zero or more, but got {getattr(self, name)}.")
        least = 1 if self.form == "log" else 0
        if not self.reference > least:
            raise ValueError(
                f"Expected `reference` to be above {least} in the form {self.form!r}, but got {self.reference}."
            )

    def check(self, space: SearchSpace) -> None:
        """Read the table and refuse one that does not fit."""
        try:
            self._table.check(space, self.measure)
        except ValueError as error:
            raise ValueError(f"Expected `table` to fit the search, but {self.table} does not. {error}") from error
        cheapest = (min(row) for costs in self._table.kinds.values() for row in costs[self.measure])
        least = self._table.rest[self.measure] + sum(cheapest)
        if self.form == "log" and not least > 1:
            raise ValueError(
                f"Expected every architecture to cost more than 1 in the form 'log', but by {self.table} one may cost "
                f"{least:.3g}; the form 'linear' has no such limit."
            )

    def expected(self, shares: ByKind) -> Tensor:
        """The expected cost in the unit of the table, a scalar that is differentiable in ``shares``."""
        total = next(iter(shares.values())).new_tensor(self._table.rest[self.measure])
        for kind, share in shares.items():
            total = total + (share * costs_like(share, self._table, kind, self.measure, self.table)).sum()
        return total

    def of(self, alphas: ByKind, shares: ByKind, context: StepContext) -> Tensor:
        """How far the expected cost is above the reference, weighed: what ``linear`` adds, and ``log`` does not."""
        return self.weight * (self.expected(shares) - self.reference) / self.reference

    def total(self, loss: Tensor, alphas: ByKind, shares: ByKind, context: StepContext) -> Tensor:
        if self.form == "linear":
            return super().total(loss, alphas, shares, context)
        ratio = self.expected(shares).log() / math.log(self.reference)
        return self.factor * loss * ratio.pow(self.power)

    @cached_property
    def _table(self) -> CostTable:
        return read_table(expand(self.table, "table"))


def costs_like(share: Tensor, table: CostTable, kind: str, measure: Measure, path: str) -> Tensor:
    """Costs of a kind of cell as shares stand, ``[edges, operations]``, zero where an edge has no such candidate."""
    rows = table.kinds[kind][measure] if kind in table.kinds else ()
    widest = max(map(len, rows), default=0)
    if share.shape != (len(rows), widest):
        raise ValueError(
            f"Expected `table` to have costs of the shape {tuple(share.shape)} for {kind!r}, "
            f"but {path} has {(len(rows), widest)}."
        )
    return share.new_tensor([[*row, *[0] * (widest - len(row))] for row in rows])
