"""Selection by perturbation: an operation matters as much as the supernet loses without it (arXiv:2108.04392)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from robustnas.spaces import CellSpace, Genotype, SearchSpace
from robustnas.strategies.decisions import (
    Criterion,
    Decision,
    Decisions,
    Evaluate,
    Score,
    Weights,
    count_scores,
    crowded,
)
from robustnas.strategies.selection import EndedSearch, Selected, Selection, Strongest


@dataclass(frozen=True)
class LargestDrop(Selection):
    r"""Keep on each edge the operation without which the supernet does worst, then at each node the edges likewise.

    Selection is a phase of training after the search: a decision for one random edge of each kind of cell, then
    ``finetune`` epochs of search at the decisions so far, then the next. When all edges have an operation, each random
    node drops the edges that it does best without. With :math:`d` decisions, of edges and of nodes that have too many
    edges, and :math:`T` = ``finetune``, it takes :math:`T (d - 1) + 1` epochs (81 in the DARTS space with :math:`T =
    5`); where nodes keep all edges, the last decision is an epoch early, as in the original NAS-Bench-201 code (25).

    With ``finetune`` 0 there is no phase: all is decided in one shot when the last epoch has ended, each operation and
    each edge by its score with all others at the weights of the search. No decision sees another, so that their order
    does not matter; as a whole they take one pass over the samples for each operation, and one for each edge of a node
    that drops some.

    To score an operation its weight is set to zero, all else left as it is and not normalised again; to score an edge
    its whole row. Ties keep the first operation, and drop the last edge.

    Args:
        criterion: ``accuracy`` as in the paper's runs, or ``loss``.
        finetune: Epochs of training after a decision; 0 decides in one shot.
        lr: Step size of the weights in the phase, positive and constant; by default a tenth of the search's.
        batch_statistics: Whether scores are taken with the statistics of each batch, as in the original code, or with
            running statistics, which are those of the supernet with all operations.
        restore_dropped: Whether edges that a node has dropped count again while its next is chosen, as in the original.
    """

    criterion: Criterion = "accuracy"
    finetune: int = 5
    lr: float | None = None
    batch_statistics: bool = True
    restore_dropped: bool = True

    def __post_init__(self) -> None:
        if self.criterion not in ("accuracy", "loss"):
            raise ValueError(f"Expected `criterion` to be 'accuracy' or 'loss', but got {self.criterion!r}.")
        if self.finetune < 0:
            raise ValueError(f"Expected `finetune` to be at least 0, but got {self.finetune}.")
        if self.lr is not None and not (self.lr > 0 and math.isfinite(self.lr)):
            raise ValueError(f"Expected `lr` to be positive, but got {self.lr}.")
        if self.evaluates and self.lr is not None:
            raise ValueError(f"Expected no `lr` with `finetune` 0, which trains nothing, but got {self.lr}.")
        if self.evaluates and not self.restore_dropped:
            raise ValueError("Expected `restore_dropped` to be true with `finetune` 0, but got False.")

    def genotype(self, space: SearchSpace, architecture_weights: Weights) -> Genotype:
        """The strongest operations: what holds before anything is decided."""
        return Strongest().genotype(space, architecture_weights)

    @property
    def evaluates(self) -> bool:
        return self.finetune == 0

    def epochs(self, space: SearchSpace) -> int:
        if self.evaluates:
            return 0
        edges, nodes = _turns(space)
        last = self.finetune * (edges + nodes - 1)
        return last + 1 if nodes else max(last, edges)

    def turn(self, space: SearchSpace, epoch: int) -> int | None:
        """Which decision falls at the start of an epoch."""
        turns, last = sum(_turns(space)), self.epochs(space) - 1
        return {min(self.finetune * turn, last): turn for turn in range(turns)}.get(epoch)

    def decide(
        self,
        space: SearchSpace,
        decisions: Decisions,
        active_mask: Weights,
        weights: Weights,
        evaluate: Evaluate,
        generator: torch.Generator,
    ) -> tuple[Decisions, list[Decision]]:
        """Return all decisions, and those that are new: of a random edge of each kind of cell, or else of a node.

        Nodes wait for the edges of all kinds. ``active_mask`` says by kind of cell which operations can be chosen,
        boolean ``[edges, operations]``; ``evaluate`` measures the supernet at weights of operations.
        """
        new: list[Decision] = []
        nodes_turn = not any(decisions.open_edges(kind, cell) for kind, cell in space.cells.items())
        for kind, cell in space.cells.items():
            left = decisions.open_nodes(kind, cell) if nodes_turn else decisions.open_edges(kind, cell)
            if not left:
                continue
            chosen = left[int(torch.randint(len(left), (1,), generator=generator))]
            present = decisions.apply(weights)
            if nodes_turn:
                dropped, rounds = self.edges(cell, kind, chosen, present, evaluate)
                decisions = decisions.with_node(kind, chosen, frozenset(dropped))
                new.append(Decision(kind, None, None, chosen, frozenset(dropped), rounds))
            else:
                column, scores = self.operation(cell, kind, chosen, present, evaluate, active_mask[kind][chosen])
                decisions = decisions.with_operation(kind, chosen, column)
                new.append(Decision(kind, chosen, column, None, frozenset(), [scores]))
        return decisions, new

    def select(self, search: EndedSearch) -> Selected:
        """Decide in one shot."""
        seed = search.seed("selection", search.epoch)
        decide = partial(self.decide_at_once, search.space, search.active_mask, search.operations)
        with search.scores(self.batch_statistics, seed, "deciding in one shot", count_scores(decide)) as scores:
            made = decide(scores.at)
        entries = [one.to_json(search.space, search.epoch) for one in made]
        return Selected(Decisions.of(made).genotype(search.space), {"decisions.json": {"decisions": entries}})

    def decide_at_once(
        self, space: SearchSpace, active_mask: Weights, weights: Weights, evaluate: Evaluate
    ) -> list[Decision]:
        """All decisions, each with everything else at the given weights; arguments are those of :meth:`decide`."""
        made: list[Decision] = []
        for kind, cell in space.cells.items():
            for row in range(len(cell.edges)):
                column, scores = self.operation(cell, kind, row, weights, evaluate, active_mask[kind][row])
                made.append(Decision(kind, row, column, None, frozenset(), [scores]))
            for node in crowded(cell):
                scores = {row: _score_without(kind, [row], weights, evaluate) for row, _ in cell.edges_into(node)}
                dropped = frozenset(self._most_missed(scores)[cell.kept(node) :])
                made.append(Decision(kind, None, None, node, dropped, [scores]))
        return made

    def operation(
        self,
        cell: CellSpace,
        kind: str,
        row: int,
        weights: Weights,
        evaluate: Evaluate,
        active_mask: Tensor | None = None,
    ) -> tuple[int, dict[int, Score]]:
        """Choose the operation of an edge."""
        allowed = [k for k in cell.selectable(cell.edges[row]) if active_mask is None or active_mask[k]]
        if len(allowed) == 1:
            return allowed[0], {}
        scores = {column: _score_without(kind, (row, column), weights, evaluate) for column in allowed}
        return self._most_missed(scores)[0], scores

    def _most_missed(self, scores: Mapping[int, Score]) -> list[int]:
        """Rows or columns by the scores without them, the worst first; of equals, the first."""
        return sorted(scores, key=lambda place: (scores[place].goodness(self.criterion), place))

    def edges(
        self, cell: CellSpace, kind: str, node: int, weights: Weights, evaluate: Evaluate
    ) -> tuple[list[int], list[dict[int, Score]]]:
        """Choose the edges that a node drops, one after the other, each by the scores of a round."""
        left = [row for row, _ in cell.edges_into(node)]
        dropped: list[int] = []
        rounds: list[dict[int, Score]] = []
        while len(left) > cell.kept(node):
            away = [] if self.restore_dropped else dropped
            scores = {row: _score_without(kind, [row, *away], weights, evaluate) for row in left}
            weakest = max(left, key=lambda row: (scores[row].goodness(self.criterion), row))
            left.remove(weakest)
            dropped.append(weakest)
            rounds.append(scores)
        return dropped, rounds


def _score_without(kind: str, place: list[int] | tuple[int, int], weights: Weights, evaluate: Evaluate) -> Score:
    without = weights[kind].clone()
    without[place] = 0.0
    return evaluate({**weights, kind: without})


def _turns(space: SearchSpace) -> tuple[int, int]:
    """Decisions of edges, and of nodes, one for each kind of cell at a time."""
    cells = space.cells.values()
    return max(len(cell.edges) for cell in cells), max(len(crowded(cell)) for cell in cells)
