"""Return to an earlier epoch instead of stopping, and continue from there with more weight decay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from robustnas.strategies.stopping import CurvatureRise, Stop, Stopping


@dataclass(frozen=True)
class RaiseDecay(Stopping):
    r"""DARTS-ADA: where ``rule`` would stop, go back, regularise the weights more, and go on (arXiv:1909.09656).

    The search returns to its complete state at the end of the epoch that the rule names: weights, α, β, both
    optimisers, running statistics, masks and measurements. It continues to the last epoch with the weight decay of the
    weights multiplied by ``factor``. This repeats until the weight decay would exceed ``max_weight_decay``; then the
    rule no longer acts. With the defaults and a weight decay of 3e-4 there are at most two increases, to 3e-3 and 3e-2,
    as in the published experiments.

    Repeated epochs keep their numbers, so that every schedule (learning rate, drop path, temperatures, thresholds) and
    the order of batches repeat too; the number of steps continues. The genotype is that of the last epoch. The log
    names the genotype of early stopping alone (DARTS-ES) at the first increase. A checkpoint holds the states that can
    still be returned to, each as large as weights and momentum.

    Unlike the original code, the unrolled step uses the raised weight decay, and averages after a return leave out
    measurements of discarded epochs.

    Args:
        rule: When to go back, and where.
        factor: By how much the weight decay grows each time, above 1.
        max_weight_decay: Largest weight decay.
    """

    rule: CurvatureRise = field(default=CurvatureRise())
    factor: float = 10.0
    max_weight_decay: float = 0.03
    monitor = "curvature"
    at_last = False
    rewinds = True

    def __post_init__(self) -> None:
        if not 1 < self.factor < math.inf:
            raise ValueError(f"Expected `factor` to be a finite number above 1, but got {self.factor}.")
        if not 0 < self.max_weight_decay < math.inf:
            raise ValueError(f"Expected `max_weight_decay` to be positive, but got {self.max_weight_decay}.")
        for name in ("interval", "measured_on", "samples"):
            object.__setattr__(self, name, getattr(self.rule, name))

    def decide(self, epochs: Sequence[int], values: Sequence[float]) -> Stop | None:
        return self.rule.decide(epochs, values)

    def noise(self, epochs: Sequence[int], values: Sequence[float]) -> dict[str, float]:
        return self.rule.noise(epochs, values)

    def reason(self, epochs: Sequence[int], values: Sequence[float]) -> str:
        return self.rule.reason(epochs, values)

    def decays(self, weight_decay: float) -> tuple[float, ...]:
        """All weight decays of a search in order, at least two; a ``ValueError`` if the first cannot be raised."""
        if not 0 < weight_decay * self.factor <= self.max_weight_decay * (1 + 1e-9):
            raise ValueError(
                f"Expected `weight_decay` to be positive and, times the `factor` {self.factor:g} of `RaiseDecay`, at "
                f"most {self.max_weight_decay:g}, but got {weight_decay:g}."
            )
        increases = math.floor(math.log(self.max_weight_decay / weight_decay) / math.log(self.factor) + 1e-9)
        return tuple(weight_decay * self.factor**k for k in range(increases + 1))

    def returnable(self, epochs: Sequence[int], increases: int) -> list[int]:
        """Return the measured epochs that later decisions can return to while ``increases`` are left.

        Each decision goes back by ``lag`` and half a window of measurements.
        """
        counted = [epoch for epoch in epochs if (epoch - epochs[0]) % self.interval == 0]
        depth = increases * (self.rule.lag + self.rule.window // 2 - 1) + 1 if increases else 0
        return [epoch for epoch in counted[max(len(counted) - depth, 0) :] if epoch >= self.rule.start]
