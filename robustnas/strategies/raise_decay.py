"""Going back instead of stopping: the search continues from the epoch returned to, with more weight decay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from robustnas.strategies.stopping import CurvatureRise, Stop, Stopping


@dataclass(frozen=True)
class RaiseDecay(Stopping):
    r"""DARTS-ADA: where ``rule`` would stop, go back, regularise the weights more, and go on (arXiv:1909.09656).

    The search returns to its whole state at the end of the epoch that the rule names: weights, α, β, both optimisers,
    running statistics, what was pruned, and what was measured until then. From there it continues to the last epoch
    with the weight decay of the weights multiplied by ``factor``, again and again until it would exceed
    ``max_weight_decay``; then the rule no longer acts. With the defaults and a weight decay of 3e-4 there are at most
    two increases, to 3e-3 and 3e-2, as in the published experiments.

    Epochs after the one returned to are run again under their old numbers, so that every schedule (learning rate,
    drop path, temperatures, thresholds) follows them, and batches come in the order they had; the number of steps goes
    on. The genotype is that of the end. What the rule alone would have returned (DARTS-ES) is said in the log at the
    first increase. A checkpoint holds the states that can still be returned to, each as large as weights and momentum.

    Unlike the original code, the unrolled step sees the raised weight decay, and the averages after a return forget
    what was measured on the way that was given up.

    Args:
        rule: When to go back, and where.
        factor: By how much the weight decay grows each time.
        max_weight_decay: Largest weight decay.

    Raises:
        ValueError: If an argument is out of range.
    """

    rule: CurvatureRise = field(default=CurvatureRise())
    factor: float = 10.0
    max_weight_decay: float = 0.03
    monitor = "curvature"
    at_last = False

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
        """All weight decays of a search in their order, at least two; refused if the first cannot be raised."""
        if not 0 < weight_decay * self.factor <= self.max_weight_decay * (1 + 1e-9):
            raise ValueError(
                f"Expected `weight_decay` to be positive and, times the `factor` {self.factor:g} of `RaiseDecay`, at "
                f"most {self.max_weight_decay:g}, but got {weight_decay:g}."
            )
        increases = math.floor(math.log(self.max_weight_decay / weight_decay) / math.log(self.factor) + 1e-9)
        return tuple(weight_decay * self.factor**k for k in range(increases + 1))

    def returnable(self, epochs: Sequence[int], increases: int) -> list[int]:
        """Return the measured epochs that decisions to come can return to, with so many increases left.

        A decision returns over ``lag`` and half a window of measurements, the next one from there on over as many.
        """
        counted = [epoch for epoch in epochs if (epoch - epochs[0]) % self.interval == 0]
        depth = increases * (self.rule.lag + self.rule.window // 2 - 1) + 1 if increases else 0
        return [epoch for epoch in counted[max(len(counted) - depth, 0) :] if epoch >= self.rule.start]
