"""When a search stops, and to which epoch it returns."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Stop(NamedTuple):
    """A decision to stop.

    Attributes:
        detected: Epoch at whose end the decision fell.
        returned: Epoch whose architecture is the result.
    """

    detected: int
    returned: int


class Stopping(ABC):
    """An answer to when to stop. It watches one number, measured at the end of epochs.

    Attributes:
        watches: ``curvature`` is the dominant eigenvalue of the Hessian of the architecture loss in α, ``skips`` the
            number of skip connections in the normal cell of the genotype, ``nothing`` is not measured.
        every: Epochs between two measurements. The last epoch is measured too.
        at_last: Whether the rule is asked at the last epoch, where only a return to an earlier one is left to decide.
    """

    watches = "nothing"
    at_last = True
    every: int

    @abstractmethod
    def decide(self, epochs: Sequence[int], values: Sequence[float]) -> Stop | None:
        """Decide by all that was measured.

        Args:
            epochs: Epochs at whose end there was a measurement, in order.
            values: What was measured.

        Returns:
            The first decision that falls, or ``None`` to go on.

        Raises:
            ValueError: If there are not as many values as epochs, a value is not finite, or epochs do not increase.
        """


@dataclass(frozen=True)
class Never(Stopping):
    """The search runs to its last epoch, as in DARTS."""

    every: int = 1
    watches = "nothing"

    def decide(self, epochs: Sequence[int], values: Sequence[float]) -> None:
        return None


@dataclass(frozen=True)
class SkipDominance(Stopping):
    """Stop when the normal cell has too many skip connections, and return to the epoch before (arXiv:1909.06035).

    Args:
        most: Skip connections that a normal cell may have.
        start: First epoch that can be judged.
        every: Epochs between two measurements.

    Raises:
        ValueError: If an argument is out of range.
    """

    most: int = 2
    start: int = 0
    every: int = 1
    watches = "skips"

    def __post_init__(self) -> None:
        if self.most < 0 or self.start < 0 or self.every < 1:
            raise ValueError(
                "Expected `most` and `start` to be zero or more and `every` at least 1, "
                f"but got {self.most}, {self.start} and {self.every}."
            )

    def decide(self, epochs: Sequence[int], values: Sequence[float]) -> Stop | None:
        _check(epochs, values)
        for i in range(1, len(values)):
            if epochs[i] >= self.start and values[i] > self.most:
                return Stop(epochs[i], epochs[i - 1])
        return None


@dataclass(frozen=True)
class CurvatureRise(Stopping):
    r"""Stop when the loss grows sharp in α, and return to before it did (arXiv:1909.09656).

    The watched eigenvalue is noisy, so that averages :math:`\bar\lambda` are compared: of all measurements so far while
    there are fewer than ``window``, then of the last ``window``, from half a window on. An average belongs to the
    centre of its window. The search stops at the first measurement :math:`i` with

    .. math:: \bar\lambda_i / \bar\lambda_{i - \text{lag}} > \text{ratio},

    and returns to the centre of the earlier window, which must not be before ``start``. By default that is 12 epochs
    before the rule fires, and the first decision can fall at the end of epoch 22.

    Defaults are those of the published trainer. The text of the paper has :math:`\bar\lambda_{i - 5} / \bar\lambda_i <
    0.75`, which is ``CurvatureRise(lag=5, ratio=4 / 3)``. As in the trainer, the last epoch is never judged: the search
    does not ask there, and a measurement that is not ``every`` epochs after others does not count. An average that is
    not positive is nothing to rise from; with weight decay of α there is none.

    Args:
        window: Measurements in an average.
        lag: Measurements between the averages compared.
        ratio: Growth at which the search stops.
        start: First epoch that can be returned to.
        every: Epochs between two measurements.

    Raises:
        ValueError: If an argument is out of range.
    """

    window: int = 5
    lag: int = 4
    ratio: float = 1.3
    start: int = 10
    every: int = 2
    watches = "curvature"
    at_last = False

    def __post_init__(self) -> None:
        if self.window < 1 or self.lag < 1 or self.every < 1 or self.start < 0:
            raise ValueError(
                "Expected `window`, `lag` and `every` to be at least 1 and `start` to be zero or more, "
                f"but got {self.window}, {self.lag}, {self.every} and {self.start}."
            )
        if not 1 <= self.ratio < math.inf:
            raise ValueError(f"Expected `ratio` to be a finite number of at least 1, but got {self.ratio}.")

    def averages(self, values: Sequence[float]) -> list[float]:
        """Average at each measurement, from the one that fills half a window on."""
        first = (self.window + 1) // 2
        ends = range(first, len(values) + 1)
        return [math.fsum(part) / len(part) for part in (values[max(0, end - self.window) : end] for end in ends)]

    def decide(self, epochs: Sequence[int], values: Sequence[float]) -> Stop | None:
        _check(epochs, values)
        counted = [i for i, epoch in enumerate(epochs) if (epoch - epochs[0]) % self.every == 0]
        averages = self.averages([values[i] for i in counted])
        first = len(counted) - len(averages)  # the measurement of the first average
        for i in range(first + self.lag, len(counted)):
            earlier, now = averages[i - first - self.lag], averages[i - first]
            centre = i - self.lag - self.window // 2
            if centre < 0 or epochs[counted[centre]] < self.start:
                continue
            if earlier > 0 and now / earlier > self.ratio:
                return Stop(epochs[counted[i]], epochs[counted[centre]])
        return None


def _check(epochs: Sequence[int], values: Sequence[float]) -> None:
    if len(epochs) != len(values):
        raise ValueError(f"Expected `values` to be one for each of {len(epochs)} epochs, but got {len(values)}.")
    for i, (epoch, value) in enumerate(zip(epochs, values, strict=True)):
        if i and epoch <= epochs[i - 1]:
            raise ValueError(f"Expected `epochs` to increase, but got {epoch} after {epochs[i - 1]}.")
        if not math.isfinite(value):
            raise ValueError(f"Expected `values` to be finite, but got {value} at epoch {epoch}.")
