"""How a search is discretised to a genotype."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from robustnas.spaces import Genotype, SearchSpace, strongest


class Selection(ABC):
    """The step from architecture weights to a genotype.

    Attributes:
        reads_alpha: Whether the genotype follows from α alone, so that it means nothing where α never moves.
        evaluates: Whether architectures are evaluated when a search ends, so that a checkpoint does not suffice.
    """

    reads_alpha = False
    evaluates = False

    @abstractmethod
    def genotype(self, space: SearchSpace, architecture_weights: Mapping[str, Tensor]) -> Genotype:
        """Discretise weights of operations, by kind of cell ``[edges, operations]``, to a genotype of the space."""

    def epochs(self, space: SearchSpace) -> int:
        """Epochs of training that it takes after those of the search."""
        return 0


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
