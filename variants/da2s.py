"""DA²S: search with a loss that grows until the mixture is nearly discrete (arXiv:2007.03154)."""

from __future__ import annotations

from typing import Any

from robustnas.strategies import DiscretisationLoss, Penalty
from robustnas.training.search import SearchModule


class DA2S(SearchModule):
    r"""DARTS with edge weights, whose loss of α counts how far the supernet is from a discrete network.

    .. math:: \min_\alpha L_\text{arch}(w, \alpha, \beta) + \lambda\, r(t) \Bigl[ r_O(t) \sum_e H(a_e)
        + \kappa \sum_n L^E(\beta_n) \Bigr], \qquad a = \mathrm{softmax}(\alpha),

    with the entropy :math:`H` of the operations of each edge, and a term :math:`L^E` that is least where a node keeps
    as many edges as a discrete cell does, see :class:`~robustnas.strategies.DiscretisationLoss`. Both grow over the
    epochs: the search explores first, and little is left to discretise at its end.

    The author's code leaves α where it is in the first seven epochs and moves β; here ``arch_start`` is that of both.
    It adds the loss to that of the weights too, where it changes nothing. In NAS-Bench-201, where nodes keep all
    edges, the term of edges is zero.

    Args:
        penalty: What is added to the loss of α.
        edge_weights: Whether there is β.
        arch_start: First epoch in which α and β move.
        **shared: Arguments of :class:`~robustnas.training.search.SearchModule`.

    Reference:
        Tian, Liu, Xie, Jiao and Ye, "Discretization-Aware Architecture Search", Pattern Recognition 2021.
    """

    def __init__(
        self,
        penalty: Penalty = DiscretisationLoss(),
        edge_weights: bool = True,
        arch_start: int = 7,
        **shared: Any,
    ) -> None:
        super().__init__(penalty=penalty, edge_weights=edge_weights, arch_start=arch_start, **shared)
