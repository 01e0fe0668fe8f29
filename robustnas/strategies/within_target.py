"""The genotype that the shares of a search like best within a cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from robustnas.analysis.cost_outcome import figures
from robustnas.cost import UNITS, CostTable, Measure, read_table
from robustnas.runtime.paths import expand
from robustnas.spaces import Genotype, SearchSpace, strongest
from robustnas.strategies.cost_target import check_positive, check_table, check_target
from robustnas.strategies.selection import Selection, Strongest

MOST = 2.0**40  # of the multiplier: there shares decide only between costs that differ by less than 1e-9 of the target
HALVINGS = 40


@dataclass(frozen=True)
class WithinTarget(Selection):
    r"""The strongest operations under a target for the cost of the genotype.

    It is the choice of :class:`Strongest` by the weights

    .. math:: w_{ek} \exp\left( -\mu\, \frac{c_{ek}}{T} \right)

    of architecture weights :math:`w`, costs :math:`c` of operations by the table, and the target :math:`T`, with the
    smallest :math:`\mu \ge 0` whose genotype costs at most :math:`T`. It is found by doubling from 1 and 40 halvings
    of the interval. Where the strongest operations meet the target, :math:`\mu = 0`, and they are the genotype.

    This is the Lagrangian of the best genotype within a budget: the genotype maximises
    :math:`\sum \log w - \mu\, \text{cost} / T` over all genotypes that keep as many edges as they may, one operation
    on each. So none of them that costs as little or less has a larger product of weights. One that costs more, but
    still at most :math:`T`, may have one: between the genotypes of two neighbouring :math:`\mu` there can be others.

    Operations of weight zero, as pruned ones, stay excluded while their edge has others. If what is left costs more
    than the target, the cheapest of it is the genotype. It needs no training, so ``robustnas select`` applies it to
    any search.

    Args:
        table: File of the table that ``robustnas profile`` writes.
        target: Cost :math:`T` that the genotype may have at most, in the unit of the table.
        measure: Which cost.
    """

    reads_alpha = True
    table: str
    target: float
    measure: Measure = "latency"

    def __post_init__(self) -> None:
        check_positive(self.target)

    def check_files(self, space: SearchSpace) -> None:
        """Read the table and refuse one that does not fit, and a target that no genotype meets."""
        check_table(self._table, space, self.measure, self.table)
        negative = {kind: [[-cost for cost in row] for row in rows] for kind, rows in self._costs(space).items()}
        cheapest = self._cost(strongest(space, negative), space)
        fewer = any(cell.fewer for cell in space.cells.values())
        of = "architecture that keeps all the edges it may" if fewer else "architecture"
        check_target(self.target, cheapest, self.measure, self.table, of)

    def genotype(self, space: SearchSpace, architecture_weights: Mapping[str, Tensor]) -> Genotype:
        self.check_files(space)
        return self._at(self.multiplier(space, architecture_weights), space, architecture_weights)

    def multiplier(self, space: SearchSpace, architecture_weights: Mapping[str, Tensor]) -> float:
        r"""The multiplier :math:`\mu`: the smallest that meets the target, or the largest tried where none does."""

        def meets(multiplier: float) -> bool:
            return self._cost(self._at(multiplier, space, architecture_weights), space) <= self.target

        if meets(0.0):
            return 0.0
        low, high = 0.0, 1.0
        while not meets(high):
            if high >= MOST:
                return high
            low, high = high, 2 * high
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (low, middle) if meets(middle) else (middle, high)
        return high

    def says(self, genotype: Genotype, space: SearchSpace) -> str:
        """The cost of the genotype beside the target."""
        cost = self._cost(genotype, space)
        shown = figures({"cost": cost, "target": self.target})
        missed = "" if cost <= self.target else "; operations that have a share allow no less"
        of = f"{self.measure.replace('_', ' ')} of the genotype"
        return f"Cost: {of} {shown['cost']} {UNITS[self.measure]}, target {shown['target']}{missed}."

    def _at(self, multiplier: float, space: SearchSpace, architecture_weights: Mapping[str, Tensor]) -> Genotype:
        """The genotype of a multiplier, by logarithms, since the weights themselves may underflow."""
        if multiplier == 0:
            return Strongest().genotype(space, architecture_weights)
        costs, strengths = self._costs(space), {}
        for kind, weights in architecture_weights.items():
            logs = weights.detach().cpu().double().clamp(min=0).log().tolist()
            strengths[kind] = [
                [log - multiplier * (cost / self.target) for log, cost in zip(row, of_edge, strict=False)]
                for row, of_edge in zip(logs, costs[kind], strict=True)
            ]
        return strongest(space, strengths)

    def _costs(self, space: SearchSpace) -> dict[str, tuple[tuple[float, ...], ...]]:
        return {kind: self._table.kinds[kind][self.measure] for kind in space.cells}

    def _cost(self, genotype: Genotype, space: SearchSpace) -> float:
        return self._table.cost(genotype, self.measure, space)

    @cached_property
    def _table(self) -> CostTable:
        return read_table(expand(self.table, "table"))
