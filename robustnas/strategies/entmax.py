"""How α becomes weights between those of a softmax and those of sparsemax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from robustnas.networks import Mixture
from robustnas.strategies.relaxation import Relaxation
from robustnas.strategies.sparsemax import tie_broken
from robustnas.strategies.step_context import StepContext

_HALVINGS = 64  # of an interval no longer than one: as exact as numbers in double precision are


def entmax(z: Tensor, power: float) -> Tensor:
    r"""Return the weights of :class:`Entmax` at :math:`z`, ``[edges, operations]``, for a power above 1 and up to 2.

    The threshold is found by bisection, between where the largest entry alone has weight one and where it has
    :math:`1 / n`. The derivative is exact, and can be taken again.
    """
    weights: Tensor = _Entmax.apply(z, power)  # type: ignore[no-untyped-call]
    return weights


class _Entmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, power: float) -> Tensor:
        scaled = (power - 1) * (z - z.amax(dim=-1, keepdim=True))
        low = torch.full_like(scaled[:, :1], -1.0)
        high = torch.full_like(low, -(z.shape[-1] ** (1 - power)))
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            enough = _weights(scaled, middle, power).sum(dim=-1, keepdim=True) >= 1
            low, high = middle.where(enough, low), high.where(enough, middle)
        weights = _weights(scaled, low, power)
        weights = weights / weights.sum(dim=-1, keepdim=True)
        ctx.power = power
        ctx.save_for_backward(weights)
        return weights

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (weights,) = ctx.saved_tensors
        inside = weights > 0
        slopes = weights.where(inside, 1.0).pow(2 - ctx.power).where(inside, 0.0)
        mean = (slopes * gradient).sum(dim=-1, keepdim=True) / slopes.sum(dim=-1, keepdim=True)
        return slopes * (gradient - mean), None


def _weights(scaled: Tensor, threshold: Tensor, power: float) -> Tensor:
    return (scaled - threshold).clamp(min=0.0).pow(1 / (power - 1))


@dataclass(frozen=True)
class Entmax(Relaxation):
    r"""Weights between softmax and sparsemax, of which weak ones are exactly zero: entmax (arXiv:1905.05702).

    With the power :math:`a` and :math:`z = \alpha / T`,

    .. math:: p = \arg\max_{q \in \Delta}\; \langle q, z \rangle + \frac{1 - \sum_k q_k^a}{a\, (a - 1)}, \qquad
        p_k = \bigl[(a - 1)\, z_k - \tau\bigr]_+^{1 / (a - 1)},

    where :math:`\tau` makes the weights of an edge sum to one. At :math:`a = 1` this is softmax, which keeps every
    operation, and at 2 it is sparsemax. The higher the power, the closer are the α at which an operation dies. The
    derivative is exact,

    .. math:: \frac{\partial L}{\partial z_k} = s_k \Bigl(g_k - \frac{\sum_j s_j g_j}{\sum_j s_j}\Bigr), \qquad
        s_k = \mathbb 1[p_k > 0]\, p_k^{2 - a}, \qquad g = \frac{\partial L}{\partial p}.

    An operation of weight zero is not computed and does not learn; what :class:`Sparsemax` says of weight decay holds
    here too. Above 1 but close to it, digits are lost: about as many as :math:`a - 1` has zeros after the point.

    Args:
        power: :math:`a`, from 1 to 2.
        temperature: :math:`T`, positive.

    Reference:
        Peters, Niculae and Martins, "Sparse Sequence-to-Sequence Models", ACL 2019.
    """

    power: float = 1.5
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.power <= 2:
            raise ValueError(f"Expected `power` to be from 1 to 2, but got {self.power}.")
        if not self.temperature > 0:
            raise ValueError(f"Expected `temperature` to be positive, but got {self.temperature}.")

    def mixture(self, alpha: Tensor, context: StepContext) -> Mixture:
        weights = self.project(alpha)
        return Mixture(weights, active=None if self.power == 1 else (weights > 0).cpu())

    def project(self, alpha: Tensor) -> Tensor:
        """The weights, ``[edges, operations]``, differentiable as often as one likes."""
        z = alpha / self.temperature
        return z.softmax(dim=-1) if self.power == 1 else entmax(z, self.power)

    def shares(self, alpha: Tensor) -> Tensor:
        """Return the weights; above power 1 with a trace of the softmax, which orders those that are zero."""
        weights = self.project(alpha)
        return weights if self.power == 1 else tie_broken(weights, alpha / self.temperature)
