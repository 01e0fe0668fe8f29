"""What a selection that decides step by step has decided so far."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from robustnas.spaces import CellSpace, Choice, Genotype, SearchSpace

Criterion = Literal["accuracy", "loss"]


class Score(NamedTuple):
    """How the supernet does at some weights of operations."""

    accuracy: float  # the larger the better
    loss: float  # the smaller the better

    def goodness(self, criterion: Criterion) -> float:
        """What is compared: the higher the better."""
        return self.accuracy if criterion == "accuracy" else -self.loss

    def to_json(self) -> dict[str, float | None]:
        """The score as JSON can hold it: what is not finite is ``None``."""
        return {name: value if math.isfinite(value) else None for name, value in self._asdict().items()}


Weights = Mapping[str, Tensor]
Evaluate = Callable[[Weights], Score]


@dataclass(frozen=True)
class Decisions:
    """What has been decided so far; the methods ``with_...`` return the decisions and one more."""

    operations: Mapping[str, Mapping[int, int]] = field(default_factory=dict)  # column on each decided edge, by row
    dropped: Mapping[str, frozenset[int]] = field(default_factory=dict)  # rows of edges
    nodes: Mapping[str, frozenset[int]] = field(default_factory=dict)  # those whose edges are decided

    @classmethod
    def of(cls, made: Iterable[Decision]) -> Decisions:
        """All of these decisions."""
        decisions = cls()
        for one in made:
            if one.node is not None:
                decisions = decisions.with_node(one.kind, one.node, one.dropped)
            elif one.row is not None and one.column is not None:
                decisions = decisions.with_operation(one.kind, one.row, one.column)
        return decisions

    def apply(self, weights: Weights) -> dict[str, Tensor]:
        """Weights of operations with the decisions: a one on what was chosen, zeros on what was dropped."""
        return {kind: self._apply(kind, weight) for kind, weight in weights.items()}

    def _apply(self, kind: str, weight: Tensor) -> Tensor:
        chosen, dropped = self.operations.get(kind, {}), list(self.dropped.get(kind, ()))
        decided, fixed = torch.zeros(len(weight), 1, dtype=torch.bool), torch.zeros(weight.shape)
        decided[[*chosen, *dropped]] = True
        fixed[[*chosen], [*chosen.values()]] = 1.0
        fixed[dropped] = 0.0
        return torch.where(decided.to(weight.device), fixed.to(weight.device, weight.dtype), weight)

    def with_operation(self, kind: str, row: int, column: int) -> Decisions:
        return replace(self, operations={**self.operations, kind: {**self.operations.get(kind, {}), row: column}})

    def with_node(self, kind: str, node: int, dropped: frozenset[int]) -> Decisions:
        return replace(
            self,
            dropped={**self.dropped, kind: self.dropped.get(kind, frozenset()) | dropped},
            nodes={**self.nodes, kind: self.nodes.get(kind, frozenset()) | {node}},
        )

    def kept(self, kept: Weights) -> dict[str, Tensor]:
        """What is still computed."""
        return {kind: weight > 0 for kind, weight in self.apply({k: stay.float() for k, stay in kept.items()}).items()}

    def restrict(self, weights: Weights) -> dict[str, Tensor]:
        """Architecture weights among which only operations that agree with the decisions can be selected."""
        agreeing = self.kept({kind: torch.ones_like(weight, dtype=torch.bool) for kind, weight in weights.items()})
        return {kind: weight.where(agreeing[kind], -1.0) for kind, weight in weights.items()}

    def complete(self, space: SearchSpace) -> bool:
        """Whether nothing is left to decide."""
        return not any(self.open_edges(k, cell) or self.open_nodes(k, cell) for k, cell in space.cells.items())

    def open_edges(self, kind: str, cell: CellSpace) -> list[int]:
        """Rows of the edges whose operation is not decided."""
        return [row for row in range(len(cell.edges)) if row not in self.operations.get(kind, {})]

    def open_nodes(self, kind: str, cell: CellSpace) -> list[int]:
        """Nodes with more edges than the cell keeps that are not decided."""
        return [node for node in crowded(cell) if node not in self.nodes.get(kind, frozenset())]

    def genotype(self, space: SearchSpace) -> Genotype:
        """The architecture, once all is decided."""
        return Genotype(space.name, {kind: self._cell(kind, cell) for kind, cell in space.cells.items()})

    def _cell(self, kind: str, cell: CellSpace) -> tuple[Choice, ...]:
        gone = self.dropped.get(kind, frozenset())
        kept = [(row, edge) for row, edge in enumerate(cell.edges) if row not in gone]
        return tuple(Choice(edge.source, edge.node, edge.operations[self.operations[kind][row]]) for row, edge in kept)


def crowded(cell: CellSpace) -> list[int]:
    """Nodes with more edges than the cell keeps."""
    return [node for node in cell.nodes if len(cell.edges_into(node)) > cell.kept(node)]


class Decision(NamedTuple):
    """One decision, of the operation of an edge or of the edges that a node drops, and what it rests on."""

    kind: str
    row: int | None
    column: int | None
    node: int | None
    dropped: frozenset[int]
    rounds: list[dict[int, Score]]  # the score without each column, or, for each edge that drops, without each row

    def to_json(self, space: SearchSpace, epoch: int) -> dict[str, Any]:
        """The decision in plain words and numbers, as a checkpoint and ``decisions.json`` hold it."""
        cell = space.cells[self.kind]
        names = [edge.name for edge in cell.edges]
        common = {"epoch": epoch, "cell": self.kind}
        if self.row is None:
            rounds = [{names[row]: score.to_json() for row, score in one.items()} for one in self.rounds]
            dropped = [names[row] for row in sorted(self.dropped)]
            return {**common, "node": self.node, "drops": dropped, "without": rounds}
        assert self.column is not None
        operations = cell.edges[self.row].operations
        scores = {operations[k]: score.to_json() for k, score in self.rounds[0].items()}
        return {**common, "edge": names[self.row], "keeps": operations[self.column], "without": [scores]}


def count_scores(decide: Callable[[Evaluate], object]) -> int:
    """How often a decision asks for a score, which does not depend on the scores."""
    asked: list[Weights] = []

    def evaluate(weights: Weights) -> Score:
        asked.append(weights)
        return Score(0.0, 0.0)

    decide(evaluate)
    return len(asked)
