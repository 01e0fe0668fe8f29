"""How α becomes weights of operations that do not compete."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from robustnas.networks import Mixture
from robustnas.strategies.relaxation import Relaxation
from robustnas.strategies.step_context import StepContext


@dataclass(frozen=True)
class Sigmoid(Relaxation):
    r"""All operations at once, each weighed by itself, as FairDARTS does (arXiv:1911.12126).

    .. math:: a_k = \sigma(\alpha_k) = \frac{1}{1 + e^{-\alpha_k}}, \qquad
        \frac{\partial L}{\partial \alpha_k} = \frac{\partial L}{\partial a_k}\, a_k (1 - a_k).

    No operation gains by another's loss: the rows of the shares, which are these weights, do not sum to one. At α of 0
    each is one half.
    """

    independent = True

    def mixture(self, alpha: Tensor, context: StepContext) -> Mixture:
        return Mixture(self.shares(alpha))

    def shares(self, alpha: Tensor) -> Tensor:
        return alpha.sigmoid()
