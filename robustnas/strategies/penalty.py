"""What is added to the loss of α."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from robustnas.spaces import SearchSpace
from robustnas.strategies.ramp import Ramp, check_ramp, ramped
from robustnas.strategies.step_context import StepContext

ByKind: TypeAlias = Mapping[str, Tensor]


class Penalty(ABC):
    """A term of the architecture loss that depends on α alone.

    Where it means nothing for shares of another kind, it ``wants`` those whose rows sum to one, ``normalised``, or
    those that are ``independent`` of each other.
    """

    wants = "any"  # or "normalised", or "independent"

    @abstractmethod
    def of(self, alphas: ByKind, shares: ByKind, context: StepContext) -> Tensor:
        """The penalty, a scalar that is differentiable in α and in the shares that follow from it.

        Both are ``[edges, operations]`` by kind of cell: α is minus infinity where there is no such candidate, or it
        has left; rows of shares sum to one unless the relaxation is ``independent``.
        """

    def total(self, loss: Tensor, alphas: ByKind, shares: ByKind, context: StepContext) -> Tensor:
        """The loss of α, a scalar: that of the supernet and the penalty; arguments as in :meth:`of`."""
        return loss + self.of(alphas, shares, context)

    def check(self, space: SearchSpace) -> None:  # noqa: B027
        """Refuse, before a search starts, a space in which it cannot be penalised; by default none."""


@dataclass(frozen=True)
class NoPenalty(Penalty):
    """Nothing is added, as in DARTS."""

    def of(self, alphas: ByKind, shares: ByKind, context: StepContext) -> Tensor:
        return next(iter(shares.values())).new_zeros(())


@dataclass(frozen=True)
class LpSparsity(Penalty):
    r"""Mean over edges of :math:`\lambda \sum_k (s_k + \epsilon)^p` with :math:`p < 1`, which is least at the corners.

    Args:
        weight: λ, zero or more.
        power: :math:`p`, between 0 and 1.
        epsilon: ε, positive, which keeps the gradient of an unused operation finite.
    """

    wants = "normalised"
    weight: float = 0.1
    power: float = 0.5
    epsilon: float = 1e-4

    def __post_init__(self) -> None:
        if not 0 < self.power < 1:
            raise ValueError(f"Expected `power` to be between 0 and 1, but got {self.power}.")
        check_weight(weight=self.weight)
        if not self.epsilon > 0:
            raise ValueError(f"Expected `epsilon` to be positive, but got {self.epsilon}.")

    def of(self, alphas: ByKind, shares: ByKind, context: StepContext) -> Tensor:
        edges = torch.cat([(share + self.epsilon).pow(self.power).sum(dim=-1) for share in shares.values()])
        return self.weight * edges.mean()


@dataclass(frozen=True)
class EntropyPenalty(Penalty):
    r"""Mean over edges of the entropy :math:`-\lambda(t) \sum_k s_k \log s_k`, which pushes a mixture to one operation.

    The weight grows over the epochs, so that the search stays open at first.

    Args:
        weight: λ, that of the last epoch, zero or more.
        ramp: How it grows, one of those of :func:`~robustnas.strategies.ramp.ramped`.
        start: First epoch in which it counts, zero or more.
    """

    wants = "normalised"
    weight: float = 0.1
    ramp: Ramp = "linear"
    start: int = 0

    def __post_init__(self) -> None:
        check_weight(weight=self.weight, start=self.start)
        check_ramp(ramp=self.ramp)

    def of(self, alphas: ByKind, shares: ByKind, context: StepContext) -> Tensor:
        return ramped(self.weight, self.ramp, context, self.start) * entropies(shares).mean()


def entropies(shares: ByKind) -> Tensor:
    r"""The entropy :math:`-\sum_k s_k \log s_k` of every edge of every kind of cell, ``[all edges]``."""
    tiny = torch.finfo(next(iter(shares.values())).dtype).tiny  # keeps the gradient at a share of zero finite
    return torch.cat([-(share * share.clamp_min(tiny).log()).sum(dim=-1) for share in shares.values()])


def check_weight(**values: float) -> None:
    """Refuse weights below zero."""
    for name, value in values.items():
        if not value >= 0:
            raise ValueError(f"Expected `{name}` to be zero or more, but got {value}.")
