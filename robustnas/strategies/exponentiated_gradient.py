"""Multiplicative steps for α that are weights themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from robustnas.strategies.arch_optimizer import ArchOptimizer

_LARGEST = 50.0  # exponents beyond it would overflow in single precision


class MultiplicativeDescent(torch.optim.Optimizer):
    r"""Steps :math:`\theta \leftarrow \theta \odot e^{-\eta g}` along the gradient :math:`g`; there is no state.

    :math:`\eta g` counts as 50 at most, so that nothing overflows.
    """

    def __init__(self, parameters: Sequence[Tensor], lr: float) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_((-group["lr"] * parameter.grad).clamp(-_LARGEST, _LARGEST).exp())
        return loss


@dataclass(frozen=True)
class ExponentiatedGradient(ArchOptimizer):
    r"""Exponentiated gradient on α and β, which are weights themselves, as GAEA does (arXiv:2004.07802).

    .. math:: \alpha \leftarrow P\bigl(\alpha \odot e^{-\eta\, \partial L / \partial \alpha}\bigr)

    with the step size :math:`\eta` = ``arch_lr`` and :math:`P` the projection of the relaxation, such as that of
    :class:`~robustnas.strategies.Direct`. It is mirror descent with the entropy as its mirror map: steps are large
    where a weight is large, and iterates become sparse. There is no momentum, and ``arch_betas`` are not used. The
    author's code has further options that no published search uses, a step size divided by the largest gradient and
    plain projected gradient descent; they are left out.
    """

    on_simplex = True

    def build(
        self, parameters: Sequence[Tensor], lr: float, betas: tuple[float, float], weight_decay: float
    ) -> torch.optim.Optimizer:
        return MultiplicativeDescent(parameters, lr)
