"""How strengths of operations become a genotype; a kind of cell says how many edges a node keeps and what may win."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robustnas.spaces.genotype import Choice, Genotype
from robustnas.spaces.space import CellSpace, SearchSpace

Rows = Sequence[Sequence[float]] | Any  # or an array of two dimensions


def strongest(space: SearchSpace, strengths: Mapping[str, Rows]) -> Genotype:
    """Return the strongest operation of each edge, and the strongest edges of each node (arXiv:1806.09055).

    Strengths are ``[edges, operations]`` for each kind of cell. Ties go to the earlier column and the earlier source.
    Where a node may keep fewer edges, it keeps as many as it may.
    """
    cells = {}
    for kind, cell in space.cells.items():
        choices: list[Choice] = []
        for node in cell.nodes:
            best = [(edge, *strongest_operation(cell, row, strengths[kind])) for row, edge in cell.edges_into(node)]
            if cell.keep is not None:
                best = sorted(best, key=lambda one: -one[1])[: cell.keep]
            choices += [Choice(edge.source, node, edge.operations[column]) for edge, _, column in best]
        cells[kind] = tuple(choices)
    return Genotype(space.name, cells)


def strongest_operation(cell: CellSpace, row: int, strengths: Rows) -> tuple[float, int]:
    """The strength of the strongest operation of an edge that a genotype may carry, and its column."""
    column = max(cell.selectable(cell.edges[row]), key=lambda k: strengths[row][k])
    return strengths[row][column], column
