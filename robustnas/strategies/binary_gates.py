"""How α becomes gates that open one operation of each edge and are closed for the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from robustnas.networks import Mixture
from robustnas.strategies.gumbel_one_hot import gumbel_noise
from robustnas.strategies.relaxation import Relaxation
from robustnas.strategies.step_context import StepContext

Mode = Literal["two", "full", "full_v2"]


class Draw(NamedTuple):
    """What a step looks at."""

    looked_at: Tensor  # operations whose gates get a gradient, boolean [edges, operations]
    chosen: Tensor  # column of the operation whose gate is open, one that is looked at, [edges]


def binary_gates(alpha: Tensor, draw: Draw) -> Tensor:
    r"""Return gates :math:`b`, ``[edges, operations]``, exactly one and zero, with the derivative of a softmax.

    With :math:`S` the operations looked at and :math:`r` their softmax,

    .. math:: r_i = \frac{e^{\alpha_i}}{\sum_{j \in S} e^{\alpha_j}}, \qquad
        \frac{\partial L}{\partial \alpha_i}
        = \sum_{j \in S} \frac{\partial L}{\partial b_j}\, r_j\, (\delta_{ij} - r_i).
    """
    shares = alpha.masked_fill(~draw.looked_at, -torch.inf).softmax(dim=-1)
    return F.one_hot(draw.chosen, alpha.shape[-1]).to(shares.dtype) + (shares - shares.detach())


def rescaled(before: Tensor, after: Tensor, looked_at: Tensor) -> Tensor:
    r"""Return α, shifted where it was looked at so that the probabilities of other operations are what they were.

    With :math:`\alpha^0` before the step, α after it and the operations :math:`S`, all ``[edges, operations]``,

    .. math:: \alpha_i \leftarrow \alpha_i - \log \frac{\sum_{j \in S} e^{\alpha_j}}{\sum_{j \in S} e^{\alpha^0_j}},
        \qquad i \in S.
    """
    old, new = (x.masked_fill(~looked_at, -torch.inf).logsumexp(dim=-1, keepdim=True) for x in (before, after))
    return torch.where(looked_at, after - (new - old), after)


@dataclass(frozen=True)
class BinaryGates(Relaxation):
    r"""One open gate for each edge, the same in all cells of a kind, as ProxylessNAS does (arXiv:1812.00332).

    A weight step draws one operation for each edge from :math:`p = \mathrm{softmax}(\alpha)` and computes nothing
    else; the weights of the others rest. Evaluation opens the most probable gates. An architecture step learns from
    :math:`\partial L / \partial b_k = \langle G, o_k \rangle`, with :math:`G` the gradient of the edge's output; see
    :func:`binary_gates` for how it reaches α.

    ``two`` draws two operations from :math:`p` without replacement and opens the gate of one, drawn from the softmax
    over the two. Only they are computed, and after the step α is :func:`rescaled`. Only if Adam's first decay rate and
    the weight decay of α are 0 does α stay where no gate was looked at.

    ``full`` opens one gate, drawn from :math:`p`, and learns from all. ``full_v2`` has the same gradient, but computes
    what is behind closed gates in the backward pass, one bundle of edges after the other, so that only the path in use
    is held in memory. Both move running statistics of BatchNorm once for each operation, as the author's code does.

    Args:
        mode: What an architecture step looks at; the paper has ``two``, the author's script ``full_v2``.
        skip_update_at_zero: Whether an edge whose open gate is that of ``none`` learns nothing in that step, as in the
            author's code.
    """

    freezes_inactive = True
    samples = True
    mode: Mode = "two"
    skip_update_at_zero: bool = True

    def __post_init__(self) -> None:
        if self.mode not in ("two", "full", "full_v2"):
            raise ValueError(f"Expected `mode` to be 'two', 'full' or 'full_v2', but got {self.mode!r}.")

    def mixture(self, alpha: Tensor, context: StepContext) -> Mixture:
        return self.at(alpha, self.draw(alpha, context))

    def at(self, alpha: Tensor, draw: Draw) -> Mixture:
        """The mixture of a given draw."""
        gates = binary_gates(alpha, draw)
        if self.mode != "full_v2":
            return Mixture(gates, active=draw.looked_at.cpu())
        both = torch.stack([draw.looked_at, F.one_hot(draw.chosen, alpha.shape[-1]).bool()])
        looked_at, opened = both.cpu()  # one read, for which the host waits on a GPU
        closed = looked_at & ~opened
        return Mixture(gates, active=opened, probed=closed if closed.any() else None)

    def draw(self, alpha: Tensor, context: StepContext) -> Draw:
        """Draw what a step looks at."""
        alpha = alpha.detach()
        if context.phase == "evaluation":
            return _alone(alpha, alpha.argmax(dim=-1))
        looked_at = alpha.isfinite()
        if context.phase == "arch" and self.mode == "two":
            best = _shaken(alpha, context).topk(min(2, alpha.shape[-1]), dim=-1).indices
            looked_at &= torch.zeros_like(looked_at).scatter(-1, best, True)
        chosen = _shaken(alpha, context).masked_fill(~looked_at, -torch.inf).argmax(dim=-1)
        alone = _alone(alpha, chosen)
        if context.phase == "weights":
            return alone
        if self.skip_update_at_zero and context.zero_mask is not None:
            zero_mask = context.zero_mask.to(alpha.device) & alone.looked_at
            looked_at = torch.where(zero_mask.any(dim=-1, keepdim=True), alone.looked_at, looked_at)
        return Draw(looked_at, chosen)

    def project_alpha(self, before: Tensor, after: Tensor, context: StepContext) -> Tensor:
        return rescaled(before, after, self.draw(before, context).looked_at) if self.mode == "two" else after


def _alone(alpha: Tensor, chosen: Tensor) -> Draw:
    return Draw(F.one_hot(chosen, alpha.shape[-1]).bool(), chosen)


def _shaken(alpha: Tensor, context: StepContext) -> Tensor:
    """α with Gumbel noise: its largest entries are a draw without replacement from softmax(α)."""
    return alpha + gumbel_noise(alpha, context.generator)
