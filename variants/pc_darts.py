"""PC-DARTS: search with a part of the channels, and weigh the edges (arXiv:1907.05737)."""

from __future__ import annotations

from typing import Any

from robustnas.networks import Connection, PartialChannels
from robustnas.training.search import SearchModule


class PCDARTS(SearchModule):
    r"""DARTS in which a quarter of the channels passes through the operations, and edges have weights of their own.

    Of the :math:`C` channels of a state the first :math:`C / k` enter the mixed operation of an edge; the others
    bypass it. This saves memory and time, which pays for larger batches. As α then says less about which edges to keep,
    each edge gets a weight: with β of shape ``[edges]`` for each kind of cell, node :math:`n` is

    .. math:: x_n = \sum_j b_{jn}\, \mathrm{shuffle}\Big(\mathrm{cat}\big(\sum_k a_{jnk}\, o_k(x_j^{(1)}),\;
        x_j^{(2)}\big)\Big), \qquad b_{\cdot n} = \mathrm{softmax}(\beta_{\cdot n}),

    with :math:`a = \mathrm{softmax}(\alpha)` and :math:`x^{(1)}, x^{(2)}` the two parts of the channels. Selection
    compares :math:`a\,b`. α and β rest for the first epochs, while the weights warm up.

    Args:
        connection: Which channels take part.
        edge_weights: Whether there is β, the paper's edge normalisation.
        arch_start: First epoch in which α and β move; the paper's 15 of 50.
        arch_lr: Step size of α and β.
        lr: Step size of the weights at the start; the paper's is for batches of 256.
        lr_min: That at the end.
        **shared: Arguments of :class:`~robustnas.training.search.SearchModule`.

    Reference:
        Xu et al., "PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture Search", ICLR 2020.
    """

    def __init__(
        self,
        connection: Connection = PartialChannels(4),
        edge_weights: bool = True,
        arch_start: int = 15,
        arch_lr: float = 6e-4,
        lr: float = 0.1,
        lr_min: float = 0.0,
        **shared: Any,
    ) -> None:
        super().__init__(
            connection=connection, edge_weights=edge_weights, arch_start=arch_start, arch_lr=arch_lr, lr=lr,
            lr_min=lr_min, **shared,
        )  # fmt: skip
