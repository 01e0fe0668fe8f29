"""DARTS: differentiable architecture search (arXiv:1806.09055)."""

from __future__ import annotations

from typing import Any

from robustnas.strategies import FirstOrder, Gradient
from robustnas.training.search import SearchModule


class DARTS(SearchModule):
    r"""Relax the choice of operations to a softmax, and descend the validation loss in its logits.

    .. math:: \min_\alpha L_\text{arch}(w^*(\alpha), \alpha), \qquad
        w^*(\alpha) = \arg\min_w L_\text{weights}(w, \alpha),

    with the weights of operations :math:`\mathrm{softmax}(\alpha)`, one row for each edge. First-order DARTS takes the
    current weights for :math:`w^*`; second-order DARTS the weights after one more step, through which it
    differentiates. The genotype keeps the two strongest edges of a node, each with its strongest operation.

    Args:
        gradient: ``FirstOrder``; ``Unrolled`` for second order, exact; or ``UnrolledByDifferences`` for second order
            with the finite difference of the original code.
        **shared: Arguments of :class:`~robustnas.training.search.SearchModule`.

    Reference:
        Liu, Simonyan and Yang, "DARTS: Differentiable Architecture Search", ICLR 2019.
    """

    def __init__(self, gradient: Gradient = FirstOrder(), **shared: Any) -> None:
        super().__init__(gradient=gradient, **shared)
