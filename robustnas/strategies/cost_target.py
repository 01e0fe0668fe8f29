"""A target for the cost of a discrete network: its expectation, the costs a space has, the multiplier."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate

import torch
from torch import Tensor

from robustnas.cost import UNITS, CostTable, Measure
from robustnas.spaces import CellSpace, Edge, SearchSpace
from robustnas.strategies.selection import column_mask


def expected_discrete(
    shares: Mapping[str, Tensor], costs: Mapping[str, Tensor], rest: float, space: SearchSpace
) -> Tensor:
    r"""Return the mean cost of discrete networks whose edges are drawn uniformly, and operations by their shares.

    .. math:: D = c_\text{rest} + \sum_e \frac{m_e}{n_e}
        \frac{\sum_{k \in S_e} s_{ek}\, c_{ek}}{\sum_{k \in S_e} s_{ek}}

    over the operations :math:`S_e` that may be selected on an edge, where its node keeps :math:`m_e` of the
    :math:`n_e` edges that enter it.

    Args:
        shares: Shares of operations by kind of cell, ``[edges, operations]``, whose rows sum to one.
        costs: Costs of operations, likewise.
        rest: Cost of the network without operations.
        space: The search space.
    """
    total = next(iter(shares.values())).new_tensor(rest)
    for kind, share in shares.items():
        cell = space.cells[kind]
        allowed = share * column_mask(cell, cell.selectable).to(share)
        mass = allowed.sum(dim=-1)
        none = mass <= 0  # a sparse relaxation may leave nothing that can be selected
        mean = (allowed * costs[kind]).sum(dim=-1) / mass.where(~none, torch.ones_like(mass))
        total = total + (mean * share.new_tensor(kept_shares(cell))).sum()
    return total


def kept_shares(cell: CellSpace) -> list[float]:
    """Share of the edges that enter the node of an edge which a discrete cell keeps, ``[edges]``."""
    return [cell.kept(edge.node) / len(cell.edges_into(edge.node)) for edge in cell.edges]


def cost_range(table: CostTable, measure: Measure, space: SearchSpace) -> tuple[float, float]:
    """Costs of the cheapest and the dearest architecture of a space."""
    low = high = table.rest[measure]
    for kind, cell in space.cells.items():
        for node in cell.nodes:
            entering = [_on_edge(cell, edge, table.kinds[kind][measure][row]) for row, edge in cell.edges_into(node)]
            kept = cell.kept(node)
            low += 0 if cell.fewer else sum(sorted(least for least, _ in entering)[:kept])
            high += sum(sorted((most for _, most in entering), reverse=True)[:kept])
    return low, high


def _on_edge(cell: CellSpace, edge: Edge, costs: Sequence[float]) -> tuple[float, float]:
    """Least and most that an edge of a discrete cell costs, which carries at least one operation."""
    found = sorted(costs[column] for column in cell.selectable(edge))
    return found[0], list(accumulate(reversed(found)))[: cell.carried][-1]


def check_table(table: CostTable, space: SearchSpace, measure: Measure, path: str) -> None:
    """Refuse a table that does not fit the space of a search, or lacks a measure."""
    try:
        table.check(space, measure)
    except ValueError as error:
        raise ValueError(f"Expected `table` to fit the search, but {path} does not. {error}") from error


def check_positive(target: float) -> None:
    """Refuse a target that is no cost."""
    if not (target > 0 and math.isfinite(target)):
        raise ValueError(f"Expected `target` to be positive, but got {target}.")


def check_target(target: float, cheapest: float, measure: Measure, path: str, of: str = "architecture") -> None:
    """Refuse a target that no architecture meets, or none of a certain sort."""
    if target < cheapest:
        raise ValueError(
            f"Expected `target` to be at least {cheapest:,.7g} {UNITS[measure]}, the {measure} of the cheapest "
            f"{of} by {path}, but got {target:,.7g}."
        )


def ascended(multiplier: float, rate: float, cost: float, target: float) -> float:
    r"""The multiplier of a constraint after a step of gradient ascent, :math:`\max(0, \lambda + \eta (c / T - 1))`."""
    return max(0.0, multiplier + rate * (cost / target - 1))
