"""GDAS: search by sampling one operation for each edge, differentiably (arXiv:1910.04465)."""

from __future__ import annotations

from typing import Any, Literal

from robustnas.strategies import GumbelOneHot, Relaxation
from robustnas.training.search import SearchModule


class GDAS(SearchModule):
    r"""Train one sampled path at a time, and learn from which distribution to sample.

    Every step draws Gumbel noise :math:`g` and computes only the operation

    .. math:: k^* = \arg\max_k\, \log \mathrm{softmax}(\alpha)_k + g_k

    of each edge, the same in all cells of a kind. α learns through the derivative of
    :math:`\mathrm{softmax}((\log \mathrm{softmax}(\alpha) + g) / \tau)`, with τ falling from 10 to 0.1. A step costs
    one operation for each edge in place of all of them.

    ``GumbelOneHot(ghost_gradient=True, evaluation="sampled")`` follows the author's code for NAS-Bench-201 where it
    differs from the paper. That code also counts α in when it clips the gradient of the weights, by a gradient left
    from the step before; here α is never part of that.

    Args:
        relaxation: How α becomes weights of operations.
        step_order: Whether α or the weights step first; the weights, in the author's code.
        nesterov: Whether the momentum of the weights is Nesterov's.
        weight_decay: Weight decay of the weights.
        **shared: Arguments of :class:`~robustnas.training.search.SearchModule`.

    Reference:
        Dong and Yang, "Searching for A Robust Neural Architecture in Four GPU Hours", CVPR 2019.
    """

    def __init__(
        self,
        relaxation: Relaxation = GumbelOneHot(tau_start=10.0, tau_end=0.1),
        step_order: Literal["arch_first", "weights_first"] = "weights_first",
        nesterov: bool = True,
        weight_decay: float = 5e-4,
        **shared: Any,
    ) -> None:
        super().__init__(
            relaxation=relaxation, step_order=step_order, nesterov=nesterov, weight_decay=weight_decay, **shared
        )
