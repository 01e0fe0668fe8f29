"""RobustDARTS: stop the search before the loss grows sharp in α, and regularise it (arXiv:1909.09656)."""

from __future__ import annotations

from typing import Any

from robustnas.strategies import CurvatureRise, Stopping
from robustnas.training.search import SearchModule


class RobustDARTS(SearchModule):
    r"""DARTS that watches the curvature of the validation loss in α.

    Where the largest eigenvalue of :math:`\nabla^2_\alpha L_\text{arch}` is high, discretisation loses the accuracy
    that was searched for, and often leaves skip connections and poolings alone. The search stops when the eigenvalue
    rises, and its result is the architecture of the epoch before the rise began (the paper's DARTS-ES).

    The eigenvalue is measured on 256 fixed samples, see :mod:`robustnas.training.curvature`. The paper's trainer takes
    the last batch of α's steps, which is noisier: ``CurvatureRise(measured_on="last_batch")``.

    The paper's other remedy keeps the eigenvalue low by regularising the weights: ``drop_path`` with Cutout (its
    R-DARTS(DP)) or more ``weight_decay`` (its R-DARTS(L2), 3e-4 to 8.1e-3). It runs a search at each of four strengths
    and keeps the architecture that is best after training. Its DARTS-ADA needs one search: with ``RaiseDecay`` it
    continues from the epoch returned to, with more weight decay. The paper searches with second order, ``Unrolled``.

    Args:
        stopping: When to stop, and where to return; ``RaiseDecay`` to go on from there, ``Never`` for regularisation
            alone.
        **shared: Arguments of :class:`~robustnas.training.search.SearchModule`.

    Reference:
        Zela, Elsken, Saikia, Marrakchi, Brox and Hutter, "Understanding and Robustifying Differentiable Architecture
        Search", ICLR 2020.
    """

    def __init__(self, stopping: Stopping = CurvatureRise(), **shared: Any) -> None:
        super().__init__(stopping=stopping, **shared)
