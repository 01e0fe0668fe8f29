"""How α steps along its gradient."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


class ArchOptimizer(ABC):
    """An answer to how α moves, given its gradient."""

    on_simplex = False  # whether its steps are made for α and β that are weights themselves, as ``Direct`` takes them

    @abstractmethod
    def build(
        self, parameters: Sequence[Tensor], lr: float, betas: tuple[float, float], weight_decay: float
    ) -> torch.optim.Optimizer:
        """The optimiser of α, and of β where there is one, in one group of parameters.

        The options are ``arch_lr``, ``arch_betas``, for optimisers with moments, and ``arch_weight_decay``.
        """


@dataclass(frozen=True)
class Adam(ArchOptimizer):
    """Adam with the weight decay in the gradient, as in DARTS."""

    def build(
        self, parameters: Sequence[Tensor], lr: float, betas: tuple[float, float], weight_decay: float
    ) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, lr, betas, weight_decay=weight_decay)
