"""How α becomes one sampled operation for each edge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from robustnas.networks import Mixture
from robustnas.strategies.relaxation import Relaxation
from robustnas.strategies.step_context import StepContext


class Sample(NamedTuple):
    """One operation for each edge, drawn with Gumbel noise."""

    shares: Tensor  # relaxed probabilities, [edges, operations]
    chosen: Tensor  # column of the operation of each edge, [edges]
    hard: Tensor  # one at the chosen operation and zero elsewhere, exactly, with the derivative of the shares


def straight_through(alpha: Tensor, noise: Tensor, tau: float) -> Sample:
    r"""Return the choice by given noise :math:`g`, with the derivative of a softmax (arXiv:1611.01144).

    .. math:: q = \mathrm{softmax}\Bigl(\frac{\log \mathrm{softmax}(\alpha) + g}{\tau}\Bigr), \qquad
        k^* = \arg\max_k q_k, \qquad h = \mathrm{onehot}(k^*) + q - \mathrm{const}(q),

    so that :math:`\partial L / \partial \alpha = \frac{1}{\tau}\, q \odot (\partial h - \langle q, \partial h\rangle)`.
    """
    logits = (alpha.log_softmax(dim=-1) + noise) / tau
    shares = logits.softmax(dim=-1)
    chosen = logits.argmax(dim=-1)
    hard = F.one_hot(chosen, alpha.shape[-1]).to(shares.dtype) + (shares - shares.detach())
    return Sample(shares, chosen, hard)


def one_path(chosen: Tensor, hard: Tensor, ghost_gradient: bool = False) -> Mixture:
    r"""Return the mixture in which only the ``chosen`` column of each edge is computed, differentiable in ``hard``.

    These weights are one there and zero elsewhere, ``[edges, operations]``. With ``ghost_gradient``, :math:`\sum_{k \ne
    k^*} h_k`, which is zero, is added to the output of the edge.
    """
    active = F.one_hot(chosen.cpu(), hard.shape[-1]).bool()
    offsets = hard.masked_fill(active.to(hard.device), 0.0).sum(dim=-1) if ghost_gradient else None
    return Mixture(hard, active=active, offsets=offsets)


@dataclass(frozen=True)
class GumbelOneHot(Relaxation):
    r"""One sampled operation for each edge, the same in all cells of a kind, as GDAS does (arXiv:1910.04465).

    Every step draws new noise; see :func:`straight_through`. Operation :math:`k` is drawn with probability
    :math:`\mathrm{softmax}(\alpha)_k` at any temperature, and only what was drawn is computed. The temperature falls
    linearly, :math:`\tau(e) = \tau_0 - (\tau_0 - \tau_1)\, e / (E - 1)` in epoch :math:`e` of :math:`E`.

    Args:
        tau_start: :math:`\tau_0`, positive.
        tau_end: :math:`\tau_1`, positive.
        ghost_gradient: The gradient of the weight of an operation that was not drawn: zero, as in the paper and in the
            author's code for NASNet cells; or, if true, the sum of the gradient of the edge's output, as if the
            operation had answered with ones, as in the author's code for NAS-Bench-201.
        evaluation: Whether the supernet is evaluated at the most probable operations, or at sampled ones as in the
            author's code; there they are drawn for each batch, here once for a whole validation.
    """

    samples = True
    tau_start: float = 10.0
    tau_end: float = 0.1
    ghost_gradient: bool = False
    evaluation: Literal["argmax", "sampled"] = "argmax"

    def __post_init__(self) -> None:
        for name, tau in (("tau_start", self.tau_start), ("tau_end", self.tau_end)):
            if not tau > 0:
                raise ValueError(f"Expected `{name}` to be positive, but got {tau}.")
        if self.evaluation not in ("argmax", "sampled"):
            raise ValueError(f"Expected `evaluation` to be 'argmax' or 'sampled', but got {self.evaluation!r}.")

    def mixture(self, alpha: Tensor, context: StepContext) -> Mixture:
        if context.phase == "evaluation" and self.evaluation == "argmax":
            chosen = alpha.argmax(dim=-1)
            return one_path(chosen, F.one_hot(chosen, alpha.shape[-1]).to(alpha.dtype))
        sample = straight_through(alpha, gumbel_noise(alpha, context.generator), self.tau(context))
        return one_path(sample.chosen, sample.hard, self.ghost_gradient and context.phase == "arch")

    def tau(self, context: StepContext) -> float:
        """The temperature of an epoch."""
        return self.tau_start - (self.tau_start - self.tau_end) * context.progress


def gumbel_noise(like: Tensor, generator: torch.Generator) -> Tensor:
    """Standard Gumbel noise, drawn on the CPU, so that every device sees the same, and again until it is finite."""
    while True:
        noise = -torch.empty(like.shape, dtype=torch.float64).exponential_(generator=generator).log()
        if noise.isfinite().all():
            return noise.to(like.device, like.dtype)
