"""How a search is discretised to a genotype."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from robustnas.spaces import CellSpace, Edge, Genotype, SearchSpace, strongest


class Selection(ABC):
    """The step from architecture weights to a genotype."""

    reads_alpha = False  # whether the genotype follows from α alone, so that it means nothing where α never moves
    evaluates = False  # whether architectures are evaluated when a search ends, so that a checkpoint does not suffice

    @abstractmethod
    def genotype(self, space: SearchSpace, architecture_weights: Mapping[str, Tensor]) -> Genotype:
        """Discretise weights of operations, by kind of cell ``[edges, operations]``, to a genotype of the space."""

    def epochs(self, space: SearchSpace) -> int:
        """Epochs of training that it takes after those of the search."""
        return 0


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
