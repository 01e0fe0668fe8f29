"""DrNAS: learn the distribution that mixtures are drawn from (arXiv:2006.10355)."""

from __future__ import annotations

from typing import Any

from robustnas.strategies import DirichletKL, DirichletSample, Penalty, Relaxation
from robustnas.training.search import SearchModule


class DrNAS(SearchModule):
    r"""Draw the mixture of every edge from a Dirichlet distribution, and learn its concentrations.

    .. math:: \min_\alpha \mathbb{E}_{a \sim \mathrm{Dir}(c)}\, L_\text{arch}(w^*, a)
        + \lambda \sum_\text{edges} \mathrm{KL}\bigl(\mathrm{Dir}(c) \,\|\, \mathrm{Dir}(1)\bigr), \qquad
        c = \mathrm{elu}(\alpha) + 1.

    Each step draws one mixture for each kind of cell, and α learns through the pathwise derivative of the sample. So
    the search explores while concentrations are near one, the uniform distribution, and less as they grow. The genotype
    is that of the mean.

    The paper's search in the space of DARTS has two stages, with fewer operations and more channels in the second:
    ``KeepStrongest`` as ``pruning`` and ``WideningChannels`` as ``connection``. The authors' code for NAS-Bench-201 has
    weight decay of α in place of the divergence: ``NoPenalty`` and an ``arch_weight_decay`` of 1e-3.

    Args:
        relaxation: How α becomes weights of operations.
        penalty: What is added to the loss of α.
        arch_weight_decay: Weight decay of α; it pulls to the same point as the penalty.
        **shared: Arguments of :class:`~robustnas.training.search.SearchModule`.

    Reference:
        Chen, Wang, Cheng, Tang and Hsieh, "DrNAS: Dirichlet Neural Architecture Search", ICLR 2021.
    """

    def __init__(
        self,
        relaxation: Relaxation = DirichletSample(),
        penalty: Penalty = DirichletKL(1e-3),
        arch_weight_decay: float = 0.0,
        **shared: Any,
    ) -> None:
        super().__init__(relaxation=relaxation, penalty=penalty, arch_weight_decay=arch_weight_decay, **shared)
