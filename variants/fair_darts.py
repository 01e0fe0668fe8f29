"""FairDARTS: search with operations that do not compete, and keep those above a threshold (arXiv:1911.12126)."""

from __future__ import annotations

from typing import Any

from robustnas.strategies import Penalty, Relaxation, Selection, Sigmoid, Threshold, ZeroOne
from robustnas.training.search import SearchModule


class FairDARTS(SearchModule):
    r"""DARTS with a sigmoid for each operation in place of a softmax over those of an edge.

    A softmax lets an operation gain only by what others lose, and skip connections have an unfair advantage in that
    race. Here the weight of an operation is its own, and a loss pushes each to zero or one:

    .. math:: a_{ek} = \sigma(\alpha_{ek}), \qquad
        L_\text{arch} - \frac{w}{N} \sum_{e, k} \Bigl(\sigma(\alpha_{ek}) - \frac12\Bigr)^2, \quad w = 10.

    A node keeps those of its two strongest edges whose operation reaches 0.85: it may keep one or none. The space must
    allow that (``DARTSFewerEdges``); ``Threshold(form="edge")`` keeps up to two operations on any edge
    (``DARTSAnyEdges``), and in other spaces ``Strongest`` selects as in DARTS. α starts at 0, every weight at one half.

    Args:
        relaxation: How α becomes weights of operations.
        penalty: What is added to the loss of α.
        selection: How the search is discretised.
        alpha_init: Standard deviation of the initial α.
        arch_lr: Step size of α.
        arch_betas: Decay rates of Adam's moments for α.
        lr: Step size of the weights at the start; the author's script, for batches of 128.
        **shared: Arguments of :class:`~robustnas.training.search.SearchModule`.

    Reference:
        Chu, Zhou, Zhang and Li, "Fair DARTS: Eliminating Unfair Advantages in Differentiable Architecture Search",
        ECCV 2020.
    """

    def __init__(
        self,
        relaxation: Relaxation = Sigmoid(),
        penalty: Penalty = ZeroOne(weight=10.0, form="l2"),
        selection: Selection = Threshold(0.85, form="sparse"),
        alpha_init: float = 0.0,
        arch_lr: float = 3e-3,
        arch_betas: tuple[float, float] = (0.9, 0.999),
        lr: float = 0.005,
        **shared: Any,
    ) -> None:
        super().__init__(
            relaxation=relaxation, penalty=penalty, selection=selection, alpha_init=alpha_init, arch_lr=arch_lr,
            arch_betas=arch_betas, lr=lr, **shared,
        )  # fmt: skip
