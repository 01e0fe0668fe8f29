"""Random search with weight sharing: the baseline of one-shot methods (arXiv:1902.07638)."""

from __future__ import annotations

from typing import Any

from robustnas.strategies import BestOfSampled, Relaxation, Selection, UniformOneHot
from robustnas.training.search import SearchModule


class RandomSharing(SearchModule):
    r"""Train a random path of the supernet in every step, then keep the best of some random architectures.

    .. math:: \min_w \mathbb{E}_{g \sim U} L_\text{weights}(w, g), \qquad
        g^* = \arg\max_{g \in \{g_1, \dots, g_n\}} A_\text{selection}(w, g), \qquad g_i \sim U,

    with :math:`U` uniform over architectures. There is no α to learn: it rests, and the role ``arch`` is not used. A
    method that cannot beat this has not searched; in NAS-Bench-201 it is called RSPS.

    Args:
        relaxation: How a path is drawn.
        selection: How many architectures are measured, and by what.
        arch_start: First epoch in which α moves: none.
        **shared: Arguments of :class:`~robustnas.training.search.SearchModule`.

    Reference:
        Li and Talwalkar, "Random Search and Reproducibility for Neural Architecture Search", UAI 2019.
    """

    def __init__(
        self,
        relaxation: Relaxation = UniformOneHot(),
        selection: Selection = BestOfSampled(),
        arch_start: int = 1_000_000,
        **shared: Any,
    ) -> None:
        super().__init__(relaxation=relaxation, selection=selection, arch_start=arch_start, **shared)
