"""What the found network will cost on hardware, in the loss of α."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Literal

from torch import Tensor

from robustnas.cost import CostTable, Measure, read_table
from robustnas.runtime.paths import expand
from robustnas.spaces import Genotype, SearchSpace
from robustnas.strategies.cost_target import (
    ascended,
    check_positive,
    check_table,
    check_target,
    cost_range,
    expected_discrete,
)
from robustnas.strategies.penalty import ByKind, Penalty
from robustnas.strategies.step_context import StepContext

OF_REFERENCE = ("form", "factor", "power", "weight")  # arguments that say how a reference is weighed


@dataclass(frozen=True)
class ExpectedCost(Penalty):
    r"""The expected cost of the network in the loss of α: weighed against a reference, or held to a target.

    With a ``reference`` it is as ProxylessNAS puts it into the loss (arXiv:1812.00332). With the shares :math:`s` of
    operations and their costs :math:`c` from a table that ``robustnas profile`` writes,

    .. math:: E = c_\text{rest} + \sum_{\text{edges } e} \sum_k s_{ek}\, c_{ek},

    which is the mean over architectures whose operations are drawn from the shares, every edge by itself. The form
    ``log`` multiplies the loss, :math:`a\, L\, (\log E / \log r)^b`, and ``linear`` adds to it,
    :math:`L + \lambda (E - r) / r`, with a reference cost :math:`r`. Edges that a genotype will drop, as in the
    DARTS space, count like all others; weights of edges (β) do not change the cost.

    With a ``target`` :math:`T` there is no weight to choose. The loss is the Lagrangian

    .. math:: L + \lambda \left( \frac{D}{T} - 1 \right), \qquad
        \lambda \leftarrow \max\left(0, \lambda + \eta \left( \frac{G}{T} - 1 \right)\right),

    whose multiplier :math:`\lambda` starts at 0 and moves after every step of α, as in LightNAS (arXiv:2208.05894).
    :math:`G` is the cost of the genotype of the strongest operations, whatever the selection is, so that
    :class:`WithinTarget` does not hide what α alone would give; it has no gradient, so α descends the
    expected cost :math:`D` of a discrete network in its place (arXiv:1804.06500): :math:`E` with shares over the
    operations that may be selected, and where a node keeps :math:`m` of :math:`n` edges, :math:`m / n` of each. While
    that genotype meets the target, the loss is :math:`L` alone, and :math:`\lambda` falls.

    Args:
        table: File of the table.
        reference: Cost :math:`r` that is wanted, in the unit of the table; above 1 in the form ``log``.
        measure: Which cost.
        form: ``log`` or ``linear``.
        factor: :math:`a` of the form ``log``, zero or more.
        power: :math:`b` of the form ``log``, zero or more.
        weight: :math:`\lambda` of the form ``linear``, zero or more.
        target: Cost :math:`T` that the genotype may have at most, in the unit of the table, instead of a
            ``reference``. It asks for shares whose rows sum to one.
        rate: Step :math:`\eta` of the multiplier, as a multiple of the step size of α (``arch_lr``), positive.
    """

    table: str
    reference: float | None = None
    measure: Measure = "latency"
    form: Literal["log", "linear"] = "log"
    factor: float = 0.2
    power: float = 0.3
    weight: float = 0.1
    target: float | None = None
    rate: float = 5.0

    def __post_init__(self) -> None:
        for name in ("factor", "power", "weight"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"Expected `{name}` to be zero or more, but got {getattr(self, name)}.")
        if not (self.rate > 0 and math.isfinite(self.rate)):
            raise ValueError(f"Expected `rate` to be positive, but got {self.rate}.")
        if (self.reference is None) == (self.target is None):
            got = "neither" if self.target is None else f"{self.reference} and {self.target}"
            raise ValueError(f"Expected either `reference` or `target`, a cost to weigh or one to meet, but got {got}.")
        if self.target is not None:
            self._check_target(self.target)
            return
        assert self.reference is not None
        least = 1 if self.form == "log" else 0
        if not self.reference > least:
            raise ValueError(
                f"Expected `reference` to be above {least} in the form {self.form!r}, but got {self.reference}."
            )

    def _check_target(self, target: float) -> None:
        check_positive(target)
        usual = {field.name: field.default for field in fields(self)}
        for name in OF_REFERENCE:
            if (given := getattr(self, name)) != usual[name]:
                raise ValueError(f"Expected no `{name}` beside `target`, whose multiplier is learned, but got {given}.")
        object.__setattr__(self, "wants", "normalised")

    def check(self, space: SearchSpace) -> None:
        """Read the table and refuse one that does not fit, and a target that no architecture meets."""
        check_table(self._table, space, self.measure, self.table)
        if self.target is not None:
            check_target(self.target, self.range(space)[0], self.measure, self.table)
            return
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

    def in_loss(self, shares: ByKind, space: SearchSpace) -> Tensor:
        """The expected cost that the loss has, a scalar: :math:`D` with a target, else :math:`E`."""
        if self.target is None:
            return self.expected(shares)
        costs = {kind: costs_like(s, self._table, kind, self.measure, self.table) for kind, s in shares.items()}
        return expected_discrete(shares, costs, self._table.rest[self.measure], space)

    def genotype_cost(self, genotype: Genotype, space: SearchSpace) -> float:
        """Cost of a genotype in the unit of the table."""
        return self._table.cost(genotype, self.measure, space)

    def range(self, space: SearchSpace) -> tuple[float, float]:
        """Costs of the cheapest and the dearest architecture of a space."""
        return cost_range(self._table, self.measure, space)

    def ascend(self, multiplier: float, cost: float, arch_lr: float) -> float:
        """The multiplier after a step of α of a step size, after which the genotype has a cost."""
        assert self.target is not None
        return ascended(multiplier, self.rate * arch_lr, cost, self.target)

    @property
    def about(self) -> Mapping[str, Any]:
        """Settings and device with which the table was measured."""
        return self._table.about

    def of(self, alphas: ByKind, shares: ByKind, context: StepContext) -> Tensor:
        """How far the expected cost is above reference or target, weighed; the form ``log`` does not add it."""
        if self.target is not None:
            assert context.space is not None
            return context.multiplier * (self.in_loss(shares, context.space) / self.target - 1)
        assert self.reference is not None
        return self.weight * (self.expected(shares) - self.reference) / self.reference

    def total(self, loss: Tensor, alphas: ByKind, shares: ByKind, context: StepContext) -> Tensor:
        if self.target is not None:
            return super().total(loss, alphas, shares, context) if context.multiplier > 0 else loss
        assert self.reference is not None
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
