"""How α becomes a soft sample of the operations of each edge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from robustnas.networks import Mixture
from robustnas.strategies.gumbel_one_hot import gumbel_noise
from robustnas.strategies.relaxation import Relaxation
from robustnas.strategies.step_context import StepContext


def concrete(alpha: Tensor, noise: Tensor, temperature: float) -> Tensor:
    r"""Return a sample of the concrete distribution by given Gumbel noise :math:`G` (arXiv:1611.00712).

    .. math:: z_k = \frac{\exp((\alpha_k + G_k) / t)}{\sum_j \exp((\alpha_j + G_j) / t)},

    all ``[edges, operations]``. Its largest entry is that of operation :math:`k` with probability
    :math:`\mathrm{softmax}(\alpha)_k` at any temperature :math:`t`; as :math:`t \to 0` the sample becomes one-hot.
    """
    return ((alpha + noise) / temperature).softmax(dim=-1)


@dataclass(frozen=True)
class Concrete(Relaxation):
    r"""A soft sample of all operations, the same in all cells of a kind, as SNAS draws (arXiv:1812.09926).

    Every step draws new noise; see :func:`concrete`. The sample itself weighs the operations, in the forward pass too,
    and α learns through it by the chain rule. The temperature falls linearly,
    :math:`t(e) = t_0 - (t_0 - t_1)\, e / (E - 1)` in epoch :math:`e` of :math:`E`. In the author's code it is
    :math:`t_0 - (t_0 - t_1)(e + 1) / 150` however long the search is. Shares are :math:`\mathrm{softmax}(\alpha)`.

    Args:
        temperature_start: :math:`t_0`, positive.
        temperature_end: :math:`t_1`, positive.
        evaluation: Whether the supernet is evaluated at a sample, as in the author's code, which draws one for each
            batch, or at the shares. The weights are trained at samples, which become one-hot: the mixture of all
            operations by their shares is none that they have seen. One sample serves a whole validation.
    """

    temperature_start: float = 1.0
    temperature_end: float = 0.03
    evaluation: Literal["sampled", "shares"] = "sampled"

    def __post_init__(self) -> None:
        for name in ("temperature_start", "temperature_end"):
            if not getattr(self, name) > 0:
                raise ValueError(f"Expected `{name}` to be positive, but got {getattr(self, name)}.")
        if self.evaluation not in ("sampled", "shares"):
            raise ValueError(f"Expected `evaluation` to be 'sampled' or 'shares', but got {self.evaluation!r}.")

    def mixture(self, alpha: Tensor, context: StepContext) -> Mixture:
        if context.phase == "evaluation" and self.evaluation == "shares":
            return Mixture(self.shares(alpha))
        return Mixture(concrete(alpha, gumbel_noise(alpha, context.generator), self.temperature(context)))

    def expected(self, alpha: Tensor, context: StepContext) -> Mixture:
        return Mixture(self.shares(alpha))  # no single sample says what an operation is worth

    def temperature(self, context: StepContext) -> float:
        """The temperature of an epoch."""
        return self.temperature_start - (self.temperature_start - self.temperature_end) * context.progress
