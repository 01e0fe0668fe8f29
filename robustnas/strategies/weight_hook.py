"""What else shapes the step of the weights, beside the gradient of the training loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from robustnas.spaces import SearchSpace
from robustnas.strategies.gradient import Gradient
from robustnas.strategies.relaxation import Relaxation


class WeightHook(ABC):
    """An answer to what else shapes the step of the weights.

    The part holds formula and options. What acts, and keeps a state, is the hook that it brings, by the events of
    :class:`~robustnas.training.search_hook.SearchHook` that concern the gradient of the weights.
    """

    extra_depth = 0  # by how much the smallest network in which it makes sense is deeper than its space asks for

    @abstractmethod
    def check(self, space: SearchSpace, kinds: Sequence[str], relaxation: Relaxation, gradient: Gradient) -> None:
        """Refuse a search in which it makes no sense; ``kinds`` are those of the supernet's cells, in order."""


@dataclass(frozen=True)
class NoWeightHook(WeightHook):
    """The weights descend the training loss, all of them, as in DARTS."""

    def check(self, space: SearchSpace, kinds: Sequence[str], relaxation: Relaxation, gradient: Gradient) -> None:
        pass
