"""DARTS-: take the advantage from skip connections by an auxiliary one (arXiv:2009.01027)."""

from __future__ import annotations

from typing import Any

from robustnas.networks import AuxiliarySkip, Connection
from robustnas.training.search import SearchModule


class DARTSMinus(SearchModule):
    r"""DARTS with an auxiliary skip connection beside every edge, which fades out.

    A skip connection plays two parts in a supernet: it is a candidate operation, and it lets gradients pass, as in a
    residual network. The second makes it win although the discrete network is worse for it. Here the second part has a
    path of its own, which α does not weigh:

    .. math:: x_n = \sum_{j < n} \Bigl(\sum_k a_{jnk}\, o_k(x_j) + \beta\, h_{jn}(x_j)\Bigr), \qquad
        a = \mathrm{softmax}(\alpha),

    with :math:`h` the identity, or a factorised reduction where the edge halves the resolution. The weight β falls from
    1 to 0, so that the last epoch trains the supernet that is discretised. Nothing is measured to detect a collapse.

    Args:
        connection: What an edge carries besides its operations; ``AuxiliarySkip(channels=PartialChannels(4))`` for the
            combination with PC-DARTS.
        **shared: Arguments of :class:`~robustnas.training.search.SearchModule`.

    Reference:
        Chu, Wang, Zhang, Lu, Wei and Yan, "DARTS-: Robustly Stepping out of Performance Collapse Without Indicators",
        ICLR 2021.
    """

    def __init__(self, connection: Connection = AuxiliarySkip(), **shared: Any) -> None:
        super().__init__(connection=connection, **shared)
