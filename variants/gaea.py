"""GAEA: search with exponentiated gradients on α that are weights themselves (arXiv:2004.07802)."""

from __future__ import annotations

from typing import Any

from robustnas.strategies import ArchOptimizer, Direct, ExponentiatedGradient, Relaxation
from robustnas.training.search import SearchModule


class GAEA(SearchModule):
    r"""DARTS in which α are the weights of the operations, and move by multiplicative steps.

    There is no softmax. A row of α starts at :math:`1 / n` for each of its :math:`n` operations, and after a step

    .. math:: \alpha \leftarrow \frac{\max(\alpha \odot e^{-\eta g}, \epsilon)}
        {\|\max(\alpha \odot e^{-\eta g}, \epsilon)\|_1}, \qquad g = \frac{\partial L_\text{arch}}{\partial \alpha}.

    This is mirror descent in the geometry of the simplex. It comes to sparse α faster than Adam on the logits of a
    softmax, so that less is lost when the mixture is discretised. With ``edge_weights`` β moves likewise: the weights
    of the edges that enter a node sum to one. The paper's GAEA PC-DARTS adds ``connection: PartialChannels(4)``; unlike
    PC-DARTS, α and β move from the first epoch.

    The paper's search in NAS-Bench-201 is single-level: α and the weights both learn from all training data. Here α
    learns from data of its own, as in the paper's bilevel form. There the genotype is that of the epoch with the best
    validation accuracy of the supernet; here it is the last one.

    Args:
        relaxation: How α becomes weights of operations.
        arch_optimizer: How α steps along its gradient.
        arch_lr: Step size :math:`\eta` of α and β.
        arch_weight_decay: Weight decay of α, none: it would only be undone.
        alpha_init: Standard deviation of the logits that α starts from; at 0 all operations start alike.
        **shared: Arguments of :class:`~robustnas.training.search.SearchModule`.

    Reference:
        Li, Khodak, Balcan and Talwalkar, "Geometry-Aware Gradient Algorithms for Neural Architecture Search",
        ICLR 2021.
    """

    def __init__(
        self,
        relaxation: Relaxation = Direct(),
        arch_optimizer: ArchOptimizer = ExponentiatedGradient(),
        arch_lr: float = 0.1,
        arch_weight_decay: float = 0.0,
        alpha_init: float = 0.0,
        **shared: Any,
    ) -> None:
        super().__init__(
            relaxation=relaxation, arch_optimizer=arch_optimizer, arch_lr=arch_lr,
            arch_weight_decay=arch_weight_decay, alpha_init=alpha_init, **shared,
        )  # fmt: skip
