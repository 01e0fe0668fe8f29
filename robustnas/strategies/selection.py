"""How a search is discretised to a genotype."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from robustnas.spaces import CellSpace, Edge, Genotype, SearchSpace, strongest
from robustnas.strategies.decisions import Score, Weights


class Scores(Protocol):
    """Measures the supernet of a search, always on the same batches of the role selection."""

    def at(self, weights: Weights) -> Score:
        """Measure it at weights of operations, by kind of cell ``[edges, operations]``."""

    def of(self, genotype: Genotype) -> Score:
        """Measure it at the operations of a genotype alone, each with weight one."""


class EndedSearch(Protocol):
    """What a selection may read of a search that has ended.

    Attributes:
        space: Its search space.
        epoch: Its last epoch.
        architecture_weights: Shares of operations times weights of edges, ``[edges, operations]``; of the epoch that
            a stopping rule returned to, where one did.
        operations: Weights of operations in the supernet's mixture at the end, ``[edges, operations]``.
        active_mask: Operations that were not pruned, boolean ``[edges, operations]``.
    """

    space: SearchSpace
    epoch: int
    architecture_weights: Weights
    operations: Weights
    active_mask: Weights

    def seed(self, *purpose: str | int) -> int:
        """A seed that follows from that of the search."""

    def scores(self, batch_statistics: bool, seed: int, says: str, total: int) -> AbstractContextManager[Scores]:
        """Measurements in the order of a seed, ``total`` of them, shown as progress with the words ``says``."""


@dataclass(frozen=True)
class Selected:
    """A genotype, and what its selection rests on.

    Args:
        genotype: The genotype.
        record: The measurements as JSON, by name of the file that keeps them; empty for none.
        says: What the user should know beside the genotype, in a sentence.
    """

    genotype: Genotype
    record: Mapping[str, Any] = field(default_factory=dict)
    says: str = ""


class Selection(ABC):
    """The step from architecture weights to a genotype."""

    reads_alpha = False  # whether the genotype follows from α alone, so that it means nothing where α never moves
    absolute = False  # whether it compares shares with a fixed number, so that weights of edges (β) would distort them

    @abstractmethod
    def genotype(self, space: SearchSpace, architecture_weights: Mapping[str, Tensor]) -> Genotype:
        """Discretise weights of operations, by kind of cell ``[edges, operations]``, to a genotype of the space."""

    def check(self, space: SearchSpace) -> None:  # noqa: B027
        """Refuse, before a search starts, a space that has no genotypes of the kind it finds; by default none."""

    def check_files(self, space: SearchSpace) -> None:  # noqa: B027
        """Refuse, before a search starts, files that it reads and that do not fit the space; by default none."""

    def says(self, genotype: Genotype, space: SearchSpace) -> str:
        """What the user should know beside a genotype that it made from weights, a sentence; by default nothing."""
        return ""

    def epochs(self, space: SearchSpace) -> int:
        """Epochs of training that it takes after those of the search."""
        return 0

    @property
    def evaluates(self) -> bool:
        """Whether it evaluates the supernet once, when the search has ended, by :meth:`select`."""
        return False

    def select(self, search: EndedSearch) -> Selected:
        """Select from a search that has ended, without training."""
        return self.by_weights(search.space, search.architecture_weights)

    def by_weights(self, space: SearchSpace, architecture_weights: Mapping[str, Tensor]) -> Selected:
        """The genotype that follows from weights alone, with what is said beside it."""
        genotype = self.genotype(space, architecture_weights)
        return Selected(genotype, says=self.says(genotype, space))


def column_mask(cell: CellSpace, columns: Callable[[Edge], Iterable[int]]) -> Tensor:
    """The given columns of each edge, such as those that a genotype may carry: boolean ``[edges, operations]``."""
    mask = torch.zeros(cell.shape, dtype=torch.bool)
    for row, edge in enumerate(cell.edges):
        mask[row, list(columns(edge))] = True
    return mask


@dataclass(frozen=True)
class Strongest(Selection):
    """The strongest operation of an edge, and the edges that carry the strongest operations (arXiv:1806.09055).

    An edge counts as strong as its strongest operation that may be selected: ``none`` takes mass in DARTS, but is
    never selected there. Ties go to the earlier column and the earlier source. Where a node keeps all its
    edges, as in NAS-Bench-201, this is the strongest operation of every edge.
    """

    reads_alpha = True

    def genotype(self, space: SearchSpace, architecture_weights: Mapping[str, Tensor]) -> Genotype:
        return strongest(space, {kind: rows.tolist() for kind, rows in architecture_weights.items()})
