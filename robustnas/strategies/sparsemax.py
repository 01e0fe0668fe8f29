"""How α becomes weights of which most are exactly zero."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustnas.networks import Mixture
from robustnas.strategies.relaxation import Relaxation
from robustnas.strategies.step_context import StepContext

_TIE_BREAK = 1e-5


@dataclass(frozen=True)
class Sparsemax(Relaxation):
    r"""The nearest point of the simplex, :math:`p = \arg\min_{q \in \Delta} \|q - \alpha / T\|^2` (arXiv:1602.02068).

    On the support :math:`S` of an edge, :math:`p_k = z_k - (\sum_{j \in S} z_j - 1) / |S|` with
    :math:`z = \alpha / T`; elsewhere it is exactly zero, and the operation is not computed. The gradient is exact,

    .. math:: \frac{\partial L}{\partial z_k} = \mathbb 1[k \in S]
        \Bigl(g_k - \frac{1}{|S|} \sum_{j \in S} g_j\Bigr), \qquad g = \frac{\partial L}{\partial p},

    and zero outside the support: a dead operation does not learn. Its α then moves by weight decay alone, which Adam
    scales up to full steps: with ``arch_weight_decay`` 0 it stays, and revives only if the others fall to it.

    Args:
        temperature: :math:`T`, positive. Small α differ by about :math:`1 / n` of it when the first of :math:`n`
            operations dies.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"Expected `temperature` to be positive, but got {self.temperature}.")

    def mixture(self, alpha: Tensor, context: StepContext) -> Mixture:
        return Mixture(self.project(alpha), active=self.support(alpha).cpu())

    def project(self, alpha: Tensor) -> Tensor:
        """The projection of α / T on the simplex, ``[edges, operations]``, differentiable as often as one likes."""
        inside = self.support(alpha)
        z = self._below_largest(alpha).masked_fill(~inside, 0.0)
        surplus = (z.sum(dim=-1, keepdim=True) - 1) / inside.sum(dim=-1, keepdim=True)
        return (z - surplus).clamp(min=0.0).masked_fill(~inside, 0.0)

    def support(self, alpha: Tensor) -> Tensor:
        """Which operations have a weight above zero, boolean ``[edges, operations]``."""
        z = self._below_largest(alpha.detach())
        ordered = z.sort(dim=-1, descending=True).values
        ranks = torch.arange(1, z.shape[-1] + 1, device=z.device)
        size = (1 + ranks * ordered > ordered.cumsum(dim=-1)).sum(dim=-1, keepdim=True)
        return z >= ordered.gather(-1, (size - 1).clamp(min=0))

    def _below_largest(self, alpha: Tensor) -> Tensor:
        """α / T, shifted so that large numbers cost no digits; the projection is the same."""
        return (alpha - alpha.detach().amax(dim=-1, keepdim=True)) / self.temperature

    def shares(self, alpha: Tensor) -> Tensor:
        r"""Return the projection, mixed with :math:`10^{-5}\,\mathrm{softmax}(\alpha / T)` so that no zeros are equal.

        So operations of an edge are ordered as their α, also those at zero, and edges by their projections where these
        differ by more than :math:`10^{-5}`. The gradient is that of the projection: a penalty moves no dead operation.
        """
        return tie_broken(self.project(alpha), alpha / self.temperature)


def tie_broken(weights: Tensor, z: Tensor) -> Tensor:
    """Weights of which some are zero, mixed with a trace of softmax(z) that orders those too; gradients stay."""
    return weights + _TIE_BREAK * (z.softmax(dim=-1) - weights).detach()
