"""Sparsemax DARTS: a mixture that drops operations during the search (arXiv:1602.02068, arXiv:1806.09055)."""

from __future__ import annotations

from typing import Any

from robustnas.strategies import Relaxation, Sparsemax
from robustnas.training.search import SearchModule


class SparsemaxDARTS(SearchModule):
    r"""DARTS with the Euclidean projection on the simplex in place of the softmax.

    DARTS keeps every operation until the end: what the weights were trained for is not what is kept. Here the mixture
    of an edge is

    .. math:: p = \arg\min_{q \in \Delta} \|q - \alpha / T\|^2,

    whose weak operations are exactly zero. They are no longer computed, so that the search gets faster as it decides,
    and there is less left to discretise.

    A dead operation has no gradient. By default it has no weight decay either, and its α stays once Adam's momentum has
    run out: it revives only if the others fall to it. With ``arch_weight_decay`` above zero Adam moves it towards zero,
    in time by ``arch_lr`` a step however small the decay.

    Args:
        relaxation: How α becomes weights of operations.
        arch_weight_decay: Weight decay of α; above zero, dead operations may revive.
        **shared: Arguments of :class:`~robustnas.training.search.SearchModule`.

    Reference:
        Martins and Astudillo, "From Softmax to Sparsemax", ICML 2016, for the projection. There is no original of this
        search; its other settings are those of DARTS.
    """

    def __init__(self, relaxation: Relaxation = Sparsemax(), arch_weight_decay: float = 0.0, **shared: Any) -> None:
        super().__init__(relaxation=relaxation, arch_weight_decay=arch_weight_decay, **shared)
