"""Selection by perturbation: an operation matters as much as the supernet loses without it (arXiv:2108.04392)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from robustnas.spaces import CellSpace, Choice, Genotype, SearchSpace


class Score(NamedTuple):
    """How the supernet does at some weights of operations.

    Attributes:
        accuracy: The larger the better.
        loss: The smaller the better.
    """

    accuracy: float
    loss: float


Weights = Mapping[str, Tensor]
Evaluate = Callable[[Weights], Score]


@dataclass(frozen=True)
class Decisions:
    """What has been decided so far.

    Args:
        operations: Kind of cell to the column chosen on each decided edge, by row.
        dropped: Kind of cell to the rows of edges that were dropped.
        nodes: Kind of cell to the nodes whose edges are decided.
    """

    operations: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    dropped: Mapping[str, frozenset[int]] = field(default_factory=dict)
    nodes: Mapping[str, frozenset[int]] = field(default_factory=dict)

    def apply(self, weights: Weights) -> dict[str, Tensor]:
        """Weights of operations with the decisions: a one on what was chosen, zeros on what was dropped.

        Args:
            weights: Kind of cell to weights ``[edges, operations]``.

        Returns:
            New weights; rows that are not decided keep their values and their graph.
        """
        return {kind: self._apply(kind, weight) for kind, weight in weights.items()}

    def _apply(self, kind: str, weight: Tensor) -> Tensor:
        decided, fixed = torch.zeros(len(weight), 1, dtype=torch.bool), torch.zeros(weight.shape)
        for row, column in self.operations.get(kind, {}).items():
            decided[row] = True
            fixed[row, column] = 1.0
        for row in self.dropped.get(kind, ()):
            decided[row] = True
            fixed[row] = 0.0
        return torch.where(decided.to(weight.device), fixed.to(weight.device, weight.dtype), weight)

    def with_operation(self, kind: str, row: int, column: int) -> Decisions:
        """The decisions and one more, for an operation."""
        chosen = {**self.operations.get(kind, {}), row: column}
        return replace(self, operations={**self.operations, kind: chosen})

    def with_node(self, kind: str, node: int, dropped: frozenset[int]) -> Decisions:
        """The decisions and one more, for the edges of a node."""
        return replace(
            self,
            dropped={**self.dropped, kind: self.dropped.get(kind, frozenset()) | dropped},
            nodes={**self.nodes, kind: self.nodes.get(kind, frozenset()) | {node}},
        )

    def genotype(self, space: SearchSpace) -> Genotype:
        """The architecture, once all is decided.

        Args:
            space: The search space.

        Returns:
            The genotype.
        """
        return Genotype(space.name, {kind: self._cell(kind, cell) for kind, cell in space.cells.items()})

    def _cell(self, kind: str, cell: CellSpace) -> tuple[Choice, ...]:
        gone = self.dropped.get(kind, frozenset())
        kept = [(row, edge) for row, edge in enumerate(cell.edges) if row not in gone]
        return tuple(Choice(edge.source, edge.node, edge.operations[self.operations[kind][row]]) for row, edge in kept)


@dataclass(frozen=True)
class LargestDrop:
    r"""Keep on each edge the operation without which the supernet does worst, then at each node the edges likewise.

    To score an operation its weight is set to zero, all else left as it is and not normalised again; to score an edge
    its whole row. Ties keep the first operation, and drop the last edge.

    Args:
        criterion: ``accuracy`` as in the paper's runs, or ``loss``.
        restore_dropped: Whether edges that a node has already dropped count again while its next is chosen, as
            in the original code; otherwise they stay away.
    """

    criterion: Literal["accuracy", "loss"] = "accuracy"
    restore_dropped: bool = True

    def operation(
        self, cell: CellSpace, kind: str, row: int, weights: Weights, evaluate: Evaluate
    ) -> tuple[int, dict[int, Score]]:
        """Choose the operation of an edge.

        Args:
            cell: The kind of cell.
            kind: Its name.
            row: Row of the edge.
            weights: Weights of operations, with all earlier decisions.
            evaluate: Measures the supernet at weights.

        Returns:
            The column, and the score without each operation that may be selected.
        """
        names = cell.edges[row].operations
        scores: dict[int, Score] = {}
        for column, name in enumerate(names):
            if name not in cell.never_selected:
                without = weights[kind].clone()
                without[row, column] = 0.0
                scores[column] = evaluate({**weights, kind: without})
        return min(scores, key=lambda column: (self._goodness(scores[column]), column)), scores

    def edges(
        self, cell: CellSpace, kind: str, node: int, weights: Weights, evaluate: Evaluate
    ) -> tuple[frozenset[int], list[Score]]:
        """Choose the edges that a node drops, one after the other.

        Args:
            cell: The kind of cell, which keeps some edges of a node.
            kind: Its name.
            node: The node.
            weights: Weights of operations, with all earlier decisions.
            evaluate: Measures the supernet at weights.

        Returns:
            Rows of the dropped edges, and every score in the order it was taken.
        """
        left = [row for row, _ in cell.edges_into(node)]
        dropped: list[int] = []
        taken: list[Score] = []
        while cell.keep is not None and len(left) > cell.keep:
            scores = {row: self._without(kind, row, dropped, weights, evaluate) for row in left}
            taken += scores.values()
            weakest = max(left, key=lambda row: (self._goodness(scores[row]), row))
            left.remove(weakest)
            dropped.append(weakest)
        return frozenset(dropped), taken

    def _without(self, kind: str, row: int, dropped: list[int], weights: Weights, evaluate: Evaluate) -> Score:
        without = weights[kind].clone()
        without[row if self.restore_dropped else [row, *dropped]] = 0.0
        return evaluate({**weights, kind: without})

    def _goodness(self, score: Score) -> float:
        return score.accuracy if self.criterion == "accuracy" else -score.loss
