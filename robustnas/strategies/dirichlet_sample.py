"""How α becomes a mixture drawn from a Dirichlet distribution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from robustnas.networks import Mixture
from robustnas.strategies.relaxation import Relaxation
from robustnas.strategies.step_context import StepContext

LEAST = 1e-12  # concentration of a candidate: below it derivatives overflow


def concentration(alpha: Tensor) -> Tensor:
    r"""Concentration :math:`c = \mathrm{elu}(\alpha) + 1`, positive, one at α zero; zero where α is minus infinity."""
    c = torch.where(alpha > 0, alpha + 1, alpha.clamp(max=0).exp())  # elu itself rounds to minus one soon
    return c.clamp_min(LEAST).where(alpha.isfinite(), 0.0)


def pathwise(sample: Tensor, concentrations: Tensor) -> Tensor:
    r"""Return a given sample with its pathwise derivative by the concentrations, ``[edges, operations]`` as both.

    The derivative is the implicit one of :class:`torch.distributions.Dirichlet`: with :math:`D` from
    ``torch._dirichlet_grad``, :math:`\partial x_i / \partial c_j = D_j (\delta_{ij} - x_i)`. To second derivatives the
    sample is linear in the concentrations: the curvature is that of :math:`L(x + J (c - c_0))`, symmetric. Operations
    with concentration zero take no part.
    """
    return _moving(sample, concentrations, concentrations.detach().to("cpu", torch.float64))


def _moving(sample: Tensor, concentrations: Tensor, c: Tensor) -> Tensor:
    """:func:`pathwise`, for concentrations that were copied to the CPU once, as ``c`` in float64."""
    kept = c > 0
    inside = sample.to(c).clamp(torch.finfo(torch.float64).tiny, 1 - torch.finfo(torch.float64).eps)
    total = c.sum(dim=-1, keepdim=True).expand_as(c)
    slopes = torch._dirichlet_grad(inside, c.where(kept, 1.0), total.where(kept, 2.0))
    alone = kept.sum(dim=-1, keepdim=True) < 2  # such a sample is one, whatever the concentration
    factors = slopes.masked_fill(alone | ~kept, 0.0).to(concentrations)
    x, moved = sample.to(concentrations), factors * (concentrations - concentrations.detach())
    return x + moved - x * moved.sum(dim=-1, keepdim=True)


@torch.no_grad()
def draw(concentrations: Tensor, generator: torch.Generator) -> Tensor:
    r"""Return a sample of each row, ``[edges, operations]`` in float64, drawn on the CPU, the same for every device.

    Gamma variables of all columns are drawn, then masked and :func:`divided`, as
    :math:`\ln g = \ln g' + \ln(u) / c` with :math:`g'` of shape :math:`c + 1`, since :math:`g` itself may underflow.
    """
    c = concentrations.to("cpu", torch.float64)
    larger = torch._standard_gamma(c + 1, generator=generator)
    exponential = torch.empty_like(c).exponential_(generator=generator)  # minus the logarithm of a uniform number
    return divided(larger.log() - exponential / c, c > 0)


def divided(logs: Tensor, kept: Tensor) -> Tensor:
    """Return gamma variables or a Dirichlet sample, given by logarithms, masked and divided by the sum of what is kept.

    The result is a sample of the Dirichlet distribution of the operations that are kept, ``[edges, operations]``.
    """
    return logs.where(kept, -torch.inf).softmax(dim=-1)


@dataclass(frozen=True)
class DirichletSample(Relaxation):
    r"""A mixture drawn anew in every step, the same in all cells of a kind, as DrNAS does (arXiv:2006.10355).

    The weights of an edge are a sample of the Dirichlet distribution with concentrations
    :math:`c = \mathrm{elu}(\alpha) + 1`, and α learns through the :func:`pathwise` derivative of the sample. The mean
    is :math:`c_k / \sum_j c_j`; the larger :math:`\sum_j c_j`, the closer are samples to it. All operations are
    computed. Of operations that left, the others' sample is divided by its sum.

    Args:
        evaluation: Whether the supernet is evaluated at the mean, or at a sample, as in the authors' code; there it is
            drawn for each batch, here once for a whole validation.
        ranking: What operations and edges are compared by: the ``mean``, as in the paper, or the ``softmax`` of α, as
            in the authors' code. Both agree on the operations of an edge, but not on which edges a node keeps.

    Raises:
        ValueError: If an argument is not one of its words.
    """

    surrogate = True
    evaluation: Literal["mean", "sampled"] = "mean"
    ranking: Literal["mean", "softmax"] = "mean"

    def __post_init__(self) -> None:
        if self.evaluation not in ("mean", "sampled"):
            raise ValueError(f"Expected `evaluation` to be 'mean' or 'sampled', but got {self.evaluation!r}.")
        if self.ranking not in ("mean", "softmax"):
            raise ValueError(f"Expected `ranking` to be 'mean' or 'softmax', but got {self.ranking!r}.")

    def mixture(self, alpha: Tensor, context: StepContext) -> Mixture:
        if context.phase == "evaluation" and self.evaluation == "mean":
            return Mixture(_mean(alpha))
        c = concentration(alpha)
        near = c.detach().to("cpu", torch.float64)  # once, since a GPU is waited for
        return Mixture(_moving(draw(near, context.generator), c, near))

    def expected(self, alpha: Tensor, context: StepContext) -> Mixture:
        return Mixture(_mean(alpha))

    def shares(self, alpha: Tensor) -> Tensor:
        return _mean(alpha) if self.ranking == "mean" else alpha.softmax(dim=-1)


def _mean(alpha: Tensor) -> Tensor:
    c = concentration(alpha)
    return c / c.sum(dim=-1, keepdim=True)
