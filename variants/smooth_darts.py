"""SmoothDARTS: weights that are good in a whole neighbourhood of the mixture (arXiv:2002.05283)."""

from __future__ import annotations

from typing import Any

from robustnas.strategies import AdversarialPerturbation, Perturbation
from robustnas.training.search import SearchModule


class SmoothDARTS(SearchModule):
    r"""Train the weights not at the mixture of α but at the worst one near it.

    A genotype is far from the mixture :math:`a = \mathrm{softmax}(\alpha)` that it was discretised from, and does not
    keep its accuracy where the loss is sharply curved in :math:`a`, as in a collapse. Here the weights descend

    .. math:: \min_w \max_{\|\delta\|_\infty \le \epsilon} L_\text{weights}(w, a + \delta),

    with every row of :math:`a + \delta` on the simplex and a radius :math:`\epsilon` that grows linearly over the
    epochs, so that the loss becomes flat around :math:`a`. The step of α is that of DARTS, at :math:`a` itself.

    Args:
        perturbation: How :math:`\delta` is found. ``AdversarialPerturbation``, by ascent, is the paper's SDARTS-ADV;
            ``RandomPerturbation``, by drawing it, its SDARTS-RS, which costs no more than DARTS.
        **shared: Arguments of :class:`~robustnas.training.search.SearchModule`.

    Reference:
        Chen and Hsieh, "Stabilizing Differentiable Architecture Search via Perturbation-based Regularization",
        ICML 2020.
    """

    def __init__(self, perturbation: Perturbation = AdversarialPerturbation(), **shared: Any) -> None:
        super().__init__(perturbation=perturbation, **shared)
