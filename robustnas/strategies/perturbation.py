"""At which mixture the weights are trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from robustnas.networks import Mixture
from robustnas.strategies.moment import Moment

Mixtures = Mapping[str, Mixture]


class Perturbation(ABC):
    """The step from the mixture of α to the mixture at which the weights are trained."""

    @abstractmethod
    def perturb(self, mixtures: Mixtures, loss_at: Callable[[Mixtures], Tensor], moment: Moment) -> Mixtures:
        """Perturb the mixtures.

        Args:
            mixtures: Kind of cell to its mixture, cut from the graph of α.
            loss_at: The loss of the weight step at given mixtures, a scalar.
            moment: The step the mixtures serve.

        Returns:
            The mixtures at which the weights descend.
        """


@dataclass(frozen=True)
class Unperturbed(Perturbation):
    """The weights are trained at the mixture itself, as DARTS does."""

    def perturb(self, mixtures: Mixtures, loss_at: Callable[[Mixtures], Tensor], moment: Moment) -> Mixtures:
        return mixtures
