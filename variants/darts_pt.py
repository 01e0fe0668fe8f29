"""DARTS-PT: choose by what the supernet loses, not by α (arXiv:2108.04392)."""

from __future__ import annotations

from typing import Any

from robustnas.strategies import LargestDrop, Selection
from robustnas.training.search import SearchModule


class DARTSPT(SearchModule):
    r"""DARTS whose result is decided operation by operation, with training in between.

    The weight :math:`\mathrm{softmax}(\alpha)_k` of an operation need not say how much the supernet owes to it. After
    the search, one random edge at a time keeps the operation without which the validation accuracy of the supernet is
    lowest, and the supernet trains on for some epochs at what is left. Then the nodes drop the edges that are missed
    least. The epochs of the decisions come after the ``trainer.max_epochs`` of the search.

    The paper's variant without α ("blank") trains the supernet at a mixture that never moves: ``arch_start`` beyond all
    epochs, such as 1000000, and ``alpha_init`` 0 for a uniform one. With ``perturbation`` the weights are smoothed as
    in SmoothDARTS, at the largest radius while decisions are taken.

    The original scores on augmented images in a random order, and lets running statistics drift meanwhile; here
    neither happens, and all scores of a decision see the same batches.

    Args:
        selection: How and how often is decided.
        **shared: Arguments of :class:`~robustnas.training.search.SearchModule`.

    Reference:
        Wang, Cheng, Chen, Tang and Hsieh, "Rethinking Architecture Selection in Differentiable NAS", ICLR 2021.
    """

    def __init__(self, selection: Selection = LargestDrop(), **shared: Any) -> None:
        super().__init__(selection=selection, **shared)
