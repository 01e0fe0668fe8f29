"""α that are weights themselves."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from robustnas.networks import Mixture
from robustnas.strategies.relaxation import Relaxation
from robustnas.strategies.step_context import StepContext


@dataclass(frozen=True)
class Direct(Relaxation):
    r"""The weights of the operations are α, a point of the simplex for each edge: no softmax (arXiv:2004.07802).

    At first a row of α is :math:`\mathrm{softmax}(z)` with :math:`z` drawn with standard deviation ``alpha_init``: the
    same for all candidates where that is 0, as in the paper. After a step it is put back on the simplex,

    .. math:: \alpha_k \leftarrow \frac{\max(\alpha_k, \epsilon)}{\sum_j \max(\alpha_j, \epsilon)},

    over the operations that are left; those that are not are exactly zero. The weights of the edges are β likewise,
    with a sum of one over the edges that enter a node, put back by division alone. Steps that fit are those of
    :class:`~robustnas.strategies.ExponentiatedGradient`.

    Args:
        floor: :math:`\epsilon`, zero or more and below one, so small that :math:`n` of them are below one. At zero, a
            weight that falls to zero stays there.
        clamp_last: Whether a row is divided by its sum first and clamped then, as in the author's code for sampled
            operations. Its sum may exceed one by :math:`n \epsilon`.
    """

    on_simplex = True
    floor: float = 1e-5
    clamp_last: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.floor < 1:
            raise ValueError(f"Expected `floor` to be zero or more and below one, but got {self.floor}.")

    def initial(self, normal: Tensor) -> Tensor:
        return normal.softmax(dim=-1)

    def mixture(self, alpha: Tensor, context: StepContext) -> Mixture:
        return Mixture(self.shares(alpha))

    def shares(self, alpha: Tensor) -> Tensor:
        return alpha.masked_fill(alpha.isneginf(), 0.0)

    def edge_weights(self, beta: Tensor) -> Tensor:
        return beta

    def project_alpha(self, before: Tensor, after: Tensor, context: StepContext) -> Tensor:
        gone, weights = after.isneginf(), self.shares(after)
        if not self.clamp_last:
            weights = weights.clamp(min=self.floor).masked_fill(gone, 0.0)
        weights = weights / weights.sum(dim=-1, keepdim=True)
        return weights.clamp(min=self.floor).masked_fill(gone, 0.0) if self.clamp_last else weights

    def project_beta(self, after: Tensor) -> Tensor:
        return after / after.sum()
