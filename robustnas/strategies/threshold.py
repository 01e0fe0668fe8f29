"""Which operations a genotype keeps by a threshold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from robustnas.spaces import CellSpace, Choice, Edge, Genotype, SearchSpace
from robustnas.strategies.selection import Selection


@dataclass(frozen=True)
class Threshold(Selection):
    r"""The operations whose share reaches a threshold, as FairDARTS discretises (arXiv:1911.12126).

    ``sparse`` takes the strongest edges of a node, as many as it may keep, each with its strongest operation, and of
    these only what reaches the threshold: two edges, one or none. ``edge`` takes from every edge up to two operations
    that reach it, or as many as an edge may carry. Ties go to the earlier column and the earlier source. A node without
    input is zero. As long as nothing reaches the threshold, the cell is empty.

    Args:
        threshold: Smallest share that is kept, between 0 and 1.
        form: ``sparse`` or ``edge``.
    """

    reads_alpha = True
    absolute = True
    threshold: float = 0.85
    form: Literal["sparse", "edge"] = "sparse"

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise ValueError(f"Expected `threshold` to be between 0 and 1, but got {self.threshold}.")
        if self.form not in ("sparse", "edge"):
            raise ValueError(f"Expected `form` to be 'sparse' or 'edge', but got {self.form!r}.")

    def check(self, space: SearchSpace) -> None:
        """Refuse a space in which a node must keep a number of edges, or, for ``edge``, drops some."""
        for kind, cell in space.cells.items():
            if not cell.fewer:
                raise ValueError(
                    "Expected a space in which nodes may keep fewer edges, such as DARTSFewerEdges, with the selection "
                    f"`Threshold`, which may keep none, but got {space.name}, whose cell {kind!r} must keep them."
                )
            if self.form == "edge" and cell.keep is not None:
                raise ValueError(
                    "Expected a space in which nodes may keep any edge, such as DARTSAnyEdges, with the form 'edge' of "
                    f"`Threshold`, but got {space.name}, whose cell {kind!r} keeps {cell.keep} at most."
                )

    def genotype(self, space: SearchSpace, architecture_weights: Mapping[str, Tensor]) -> Genotype:
        self.check(space)
        rows = {kind: weights.tolist() for kind, weights in architecture_weights.items()}
        cells = {
            kind: tuple(choice for node in cell.nodes for choice in self._into(cell, node, rows[kind]))
            for kind, cell in space.cells.items()
        }
        return Genotype(space.name, cells)

    def _into(self, cell: CellSpace, node: int, shares: list[list[float]]) -> list[Choice]:
        """What a node keeps, the strongest edge first."""
        carried = 1 if self.form == "sparse" else cell.carried
        edges = [(edge, _ranked(cell, edge, shares[row])) for row, edge in cell.edges_into(node)]
        edges.sort(key=lambda one: -one[1][0][0])
        return [
            Choice(edge.source, node, edge.operations[column])
            for edge, ranked in edges[: cell.kept(node)]
            for share, column in ranked[:carried]
            if share >= self.threshold
        ]


def _ranked(cell: CellSpace, edge: Edge, shares: list[float]) -> list[tuple[float, int]]:
    """Shares of the operations that a genotype may carry on an edge, with their columns, the largest first."""
    return sorted(((shares[column], column) for column in cell.selectable(edge)), key=lambda one: (-one[0], one[1]))
