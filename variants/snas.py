"""SNAS: search by soft samples of operations that become one-hot, on one level (arXiv:1812.09926)."""

from __future__ import annotations

from typing import Any

from robustnas.strategies import Concrete, Gradient, Relaxation, SingleLevel
from robustnas.training.search import SearchModule


class SNAS(SearchModule):
    r"""Train weights and the distribution of architectures together, on the same samples.

    Every step draws Gumbel noise :math:`G` and weighs the operations of an edge, in all cells of a kind, by

    .. math:: z = \mathrm{softmax}\bigl((\alpha + G) / t\bigr),

    with a temperature :math:`t` that falls from 1 to 0.03, so that the samples become one-hot and little is left to
    discretise. α and the weights descend one loss, :math:`\mathbb{E}_z\, L(w, z)`, on the same batch and the same
    sample. ``LogCost`` adds the paper's resource constraint.

    In the paper every edge keeps its strongest operation, where ``none`` may win and is an absent edge: that is the
    space ``DARTSAllEdges``. α starts at :math:`N(1, 0.01^2)` there. Here its mean is 0: the softmax and the samples do
    not change where all α of an edge move by one number. The author's code clips the gradient of α at 10 and drops
    paths with probability 0.3 (``drop_path``); its single-process script steps α by plain SGD.

    Args:
        relaxation: How α becomes weights of operations.
        gradient: How the loss reaches α.
        alpha_init: Standard deviation of the initial α.
        **shared: Arguments of :class:`~robustnas.training.search.SearchModule`.

    Reference:
        Xie, Zheng, Liu and Lin, "SNAS: Stochastic Neural Architecture Search", ICLR 2019.
    """

    def __init__(
        self,
        relaxation: Relaxation = Concrete(temperature_start=1.0, temperature_end=0.03),
        gradient: Gradient = SingleLevel(),
        alpha_init: float = 0.01,
        **shared: Any,
    ) -> None:
        super().__init__(relaxation=relaxation, gradient=gradient, alpha_init=alpha_init, **shared)
