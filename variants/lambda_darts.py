"""Λ-DARTS: cells that want the same architecture (arXiv:2210.07998)."""

from __future__ import annotations

from typing import Any

from robustnas.strategies import LayerAlignment, WeightHook
from robustnas.training.search import SearchModule


class LambdaDARTS(SearchModule):
    r"""DARTS whose weights are trained so that all cells of a kind send similar gradients to the α that they share.

    The softmax saturates, and the gradient of α comes to depend on the last cells, whose input needs little more than a
    skip connection. With :math:`g_l` the gradient of the training loss in the mixture at cell :math:`l`, the weights
    here descend

    .. math:: L_\text{weights} - \lambda_e R, \qquad
        R = \frac{2}{M (M - 1)} \sum_{l < m} \frac{\langle g_l, g_m \rangle}{\|g_l\| \|g_m\|},

    with a weight :math:`\lambda_e` that grows linearly from zero. The step of α is that of DARTS.

    Args:
        weight_hook: What else shapes the step of the weights.
        **shared: Arguments of :class:`~robustnas.training.search.SearchModule`.

    Reference:
        Movahedi et al., "Λ-DARTS: Mitigating Performance Collapse by Harmonizing Operation Selection among Cells",
        ICLR 2023.
    """

    def __init__(self, weight_hook: WeightHook = LayerAlignment(), **shared: Any) -> None:
        super().__init__(weight_hook=weight_hook, **shared)
