"""How α becomes the weights of operations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from robustnas.networks import Mixture
from robustnas.strategies.step_context import StepContext


class Relaxation(ABC):
    """The step from α to a mixture of operations."""

    freezes_inactive = False  # whether momentum and weight decay leave alone operations that a step does not compute
    per_cell = False  # whether each cell has a mixture of its own, instead of one for all cells of a kind
    samples = False  # whether a mixture is one sampled operation of each edge
    surrogate = False  # whether a mixture is drawn so that its derivative is not that of the draw with fixed numbers
    on_simplex = False  # whether α and β are themselves weights that sum to one, for which an optimiser must be made

    def initial(self, normal: Tensor) -> Tensor:
        """Return α of some edges, ``[edges, operations]``, or β of the edges that enter a node, ``[edges]``, at first.

        ``normal`` is drawn with standard deviation ``alpha_init``, minus infinity where an edge has no such candidate.
        """
        return normal

    independent = False  # whether shares are sigmoids of α, each between 0 and 1 by itself: rows do not sum to one

    @abstractmethod
    def mixture(self, alpha: Tensor, context: StepContext) -> Mixture:
        """Weigh the operations of one kind of cell, or of one cell where ``per_cell`` is true, differentiable in α.

        α is ``[edges, operations]``, minus infinity where an edge has no such candidate.
        """

    def expected(self, alpha: Tensor, context: StepContext) -> Mixture:
        """Return the mixture at which the supernet is scored without one or another operation: that of evaluation.

        Where that is one sampled operation, the mean over samples takes its place: no other operation could be missed.
        """
        return Mixture(self.shares(alpha)) if self.samples else self.mixture(alpha, context)

    def shares(self, alpha: Tensor) -> Tensor:
        """Share of each operation in its edge, ``[edges, operations]``; rows sum to one unless ``independent``."""
        return alpha.softmax(dim=-1)

    def edge_weights(self, beta: Tensor) -> Tensor:
        """Weights of the edges that enter a node, which sum to one, from their β; both ``[edges]``."""
        return beta.softmax(dim=-1)

    def project_alpha(self, before: Tensor, after: Tensor, context: StepContext) -> Tensor:
        """Return α of a kind of cell ``after`` a step, ``[edges, operations]``, corrected where it must be.

        The mixture of the step was made at α ``before``; the context draws the numbers that the mixture drew. Where
        operations have left, α is corrected too, with ``before`` and ``after`` the same.
        """
        return after

    def project_beta(self, after: Tensor) -> Tensor:
        """Return β of the edges that enter a node after a step, ``[edges]``, corrected where it must be."""
        return after


@dataclass(frozen=True)
class Softmax(Relaxation):
    r"""All operations at once, weighed by :math:`\mathrm{softmax}(\alpha / T)`, as DARTS does (arXiv:1806.09055).

    Args:
        temperature: :math:`T`, positive.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"Expected `temperature` to be positive, but got {self.temperature}.")

    def mixture(self, alpha: Tensor, context: StepContext) -> Mixture:
        return Mixture(self.shares(alpha))

    def shares(self, alpha: Tensor) -> Tensor:
        return (alpha / self.temperature).softmax(dim=-1)
