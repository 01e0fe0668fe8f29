"""The divergence of the distribution of mixtures from the uniform one, added to the loss of α."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from robustnas.strategies.dirichlet_sample import concentration
from robustnas.strategies.penalty import ByKind, Penalty, check_weight
from robustnas.strategies.step_context import StepContext


@dataclass(frozen=True)
class DirichletKL(Penalty):
    r"""Sum over edges of :math:`\lambda\, \mathrm{KL}(\mathrm{Dir}(c) \,\|\, \mathrm{Dir}(1))` (arXiv:2006.10355).

    With :math:`c = \mathrm{elu}(\alpha) + 1` of the :math:`K` operations of an edge and :math:`c_0` their sum, it is

    .. math:: \ln \Gamma(c_0) - \ln \Gamma(K) - \sum_k \ln \Gamma(c_k) + \sum_k (c_k - 1)(\psi(c_k) - \psi(c_0)),

    zero at :math:`\alpha = 0`, the uniform distribution over mixtures, to which it pulls α. It is meant for
    :class:`~robustnas.strategies.DirichletSample`, beside which ``arch_weight_decay`` is 0. The authors' code offers
    weight decay of α of 1e-3 instead, which pulls to the same point; its search in NAS-Bench-201 uses that.

    Args:
        weight: λ, zero or more.
        over: Which operations of an edge count: ``all``, where one that left counts with concentration 1, that of
            α = 0, as it does in the authors' code when it leaves; or the ``active`` ones. ``all`` takes columns of α
            without a candidate, in spaces whose edges have unequal numbers of them, for operations that left.

    Raises:
        ValueError: If the weight is negative, or ``over`` is another word.
    """

    weight: float = 1e-3
    over: Literal["all", "active"] = "all"

    def __post_init__(self) -> None:
        check_weight(weight=self.weight)
        if self.over not in ("all", "active"):
            raise ValueError(f"Expected `over` to be 'all' or 'active', but got {self.over!r}.")

    def of(self, alphas: ByKind, shares: ByKind, context: StepContext) -> Tensor:
        return self.weight * torch.stack([self._divergence(alpha) for alpha in alphas.values()]).sum()

    def _divergence(self, alpha: Tensor) -> Tensor:
        """The sum over the edges of a kind of cell."""
        active = alpha.isfinite()
        c = concentration(alpha.masked_fill(~active, 0.0))
        counted = torch.ones_like(active) if self.over == "all" else active
        total = c.where(counted, 0.0).sum(dim=-1)
        terms = (c - 1) * (c.digamma() - total.digamma()[:, None]) - c.lgamma()
        numbers = counted.sum(dim=-1)
        return (total.lgamma() - numbers.to(c).lgamma() + terms.where(counted, 0.0).sum(dim=-1)).sum()
