"""β-DARTS: search with a regulariser that keeps α from growing (arXiv:2203.01665)."""

from __future__ import annotations

from typing import Any

from robustnas.strategies import BetaDecay, Penalty
from robustnas.training.search import SearchModule


class BetaDARTS(SearchModule):
    r"""DARTS whose loss of α counts a soft maximum of α, more in every epoch.

    .. math:: \min_\alpha L_\text{arch}(w, \alpha) + w_1 \frac{e}{E}\, \frac{1}{|E|} \sum_i \log \sum_k \exp \alpha_{ik}

    in epoch :math:`e` of :math:`E`. Weight decay of α pulls every α to zero alike; this pulls the largest most. The
    shares of an edge, the paper's β, then stay small in value and variance, and a skip connection that is ahead early
    on does not run away. Weight decay of α stays on, as in the author's code.

    The author's script for the DARTS space also perturbs the mixture of the weights at random, as SDARTS-RS does:
    ``perturbation: RandomPerturbation``.

    Args:
        penalty: What is added to the loss of α.
        **shared: Arguments of :class:`~robustnas.training.search.SearchModule`.

    Reference:
        Ye, Li, Li, Chen, Fan and Ouyang, "β-DARTS: Beta-Decay Regularization for Differentiable Architecture Search",
        CVPR 2022.
    """

    def __init__(self, penalty: Penalty = BetaDecay(), **shared: Any) -> None:
        super().__init__(penalty=penalty, **shared)
