"""OLES: stop the weights of each operation before it overfits (NeurIPS 2023)."""

from __future__ import annotations

from typing import Any

from robustnas.strategies import GradientAgreement, WeightHook
from robustnas.training.search import SearchModule


class OLES(SearchModule):
    r"""DARTS in which operations whose gradients of training and validation disagree stop learning.

    Weights are trained on one part of the data and α on another. Operations with weights fit the first part ever
    closer, so that on the second part they lose against skip connections and poolings, which have nothing to overfit
    with. Here the weights of an operation freeze for good once the mean of a similarity between

    .. math:: \nabla_w L_\text{arch} \quad\text{and}\quad \nabla_w L_\text{weights}

    falls below a threshold. α learns on. The validation gradient comes from the backward pass of α's step.

    Args:
        weight_hook: What else shapes the step of the weights. ``GradientAgreement`` compares as the published code
            does, for which the paper's threshold is made; ``GradientAgreement(rule="clean")`` as the paper says.
        **shared: Arguments of :class:`~robustnas.training.search.SearchModule`.

    Reference:
        Jiang et al., "Operation-Level Early Stopping for Robustifying Differentiable NAS", NeurIPS 2023.
    """

    def __init__(self, weight_hook: WeightHook = GradientAgreement(), **shared: Any) -> None:
        super().__init__(weight_hook=weight_hook, **shared)
