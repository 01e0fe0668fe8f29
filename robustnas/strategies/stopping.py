"""When a search stops, and to which epoch it returns."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from robustnas.analysis.curvature_rise import LAG, RATIO, START, WINDOW, Rise, judged, rises
from robustnas.analysis.metrics import CURVATURE_NOISE, FLAT_STOPS
from robustnas.spaces import SearchSpace

DRAWS = 4000
DOUBTFUL = 0.05  # chance from which on a decision may be noise


class Stop(NamedTuple):
    """A decision to stop."""

    detected: int  # epoch at whose end the decision fell
    returned: int  # epoch whose architecture is the result


class Stopping(ABC):
    """An answer to when to stop. It watches one number, measured at the end of epochs.

    Attributes:
        monitor: ``curvature`` is the dominant eigenvalue of the Hessian of the architecture loss in α, ``skips`` the
            number of skip connections in the normal cell of the genotype, ``nothing`` is not measured.
        measured_on: Samples of the curvature: ``probe`` are fixed ones of the role arch, as in
            :mod:`robustnas.training.curvature`; ``last_batch`` is RobustDARTS' own form, the last batch of α's steps
            as they saw it, in α alone, with drop path and with the weight decay of α.
        samples: Samples of the probe; all of the role arch where it has fewer.
        interval: Epochs between two measurements, 1 by default. The last epoch is measured too.
        at_last: Whether the rule is asked at the last epoch, where only a return to an earlier one is left to decide.
        rewinds: Whether the whole search returns to an earlier epoch, and goes on from there.
    """

    monitor = "nothing"
    measured_on = "probe"
    samples = 256
    at_last = True
    rewinds = False
    interval = 1

    def noise(self, epochs: Sequence[int], values: Sequence[float]) -> dict[str, float]:
        """How noisy the measurements are and what that means for the rule, as numbers to log; nothing by default."""
        return {}

    def reason(self, epochs: Sequence[int], values: Sequence[float]) -> str:
        """What a decision at the last measurement rests on, a sentence; nothing by default."""
        return ""

    def check(self, space: SearchSpace) -> None:  # noqa: B027
        """Refuse, before a search starts, a space in which nothing can be measured; by default none."""

    @abstractmethod
    def decide(self, epochs: Sequence[int], values: Sequence[float]) -> Stop | None:
        """The first decision that falls by all that was measured at the ends of epochs, or ``None`` to go on.

        Raises:
            ValueError: If there are not as many values as epochs, a value is not finite, or epochs do not increase.
        """


@dataclass(frozen=True)
class Never(Stopping):
    """The search runs to its last epoch, as in DARTS."""

    interval: int = 1

    def decide(self, epochs: Sequence[int], values: Sequence[float]) -> None:
        return None


@dataclass(frozen=True)
class SkipDominance(Stopping):
    """Stop when the normal cell has too many skip connections, and return to the epoch before (arXiv:1909.06035).

    Args:
        max_skips: Skip connections that a normal cell may have.
        start: First epoch that can be judged.
        interval: Epochs between two measurements, at least 1.
    """

    max_skips: int = 2
    start: int = 0
    interval: int = 1
    monitor = "skips"

    def __post_init__(self) -> None:
        if self.max_skips < 0 or self.start < 0 or self.interval < 1:
            raise ValueError(
                "Expected `max_skips` and `start` to be zero or more and `interval` at least 1, "
                f"but got {self.max_skips}, {self.start} and {self.interval}."
            )

    def check(self, space: SearchSpace) -> None:
        kind, cell = next(iter(space.cells.items()))
        if all("skip_connect" not in edge.operations for edge in cell.edges):
            raise ValueError(
                f"Expected `space` to have skip connections beside `SkipDominance`, which counts them, but got "
                f"{space.name}, whose cell {kind!r} has none."
            )

    def decide(self, epochs: Sequence[int], values: Sequence[float]) -> Stop | None:
        _check(epochs, values)
        for i in range(1, len(values)):
            if epochs[i] >= self.start and values[i] > self.max_skips:
                return Stop(epochs[i], epochs[i - 1])
        return None


@dataclass(frozen=True)
class CurvatureRise(Stopping):
    r"""Stop when the loss grows sharp in α, and return to before it did (arXiv:1909.09656).

    The eigenvalue is noisy, so that averages :math:`\bar\lambda` of the last ``window`` measurements are compared, of
    fewer at the start, from half a window on; each belongs to the centre of its window. The search stops at the first
    measurement :math:`i` with

    .. math:: \bar\lambda_i / \bar\lambda_{i - \text{lag}} > \text{ratio},

    and returns to the centre of the earlier window, which must not be before ``start``. By default that is 12 epochs
    before the rule fires, and the first decision can fall at the end of epoch 22.

    Defaults are those of the published trainer. The text of the paper has :math:`\bar\lambda_{i - 5} / \bar\lambda_i <
    0.75`, which is ``CurvatureRise(lag=5, ratio=4 / 3)``. As in the trainer, the last epoch is never judged. An average
    below 0.001, the floor of the trainer's measurements by its weight decay of α, is nothing to rise from.

    **Noise.** A flat curve rises by 1.3 somewhere in 11 % of searches if its measurements scatter by 20 %, in 46 % at
    30 %, and in none of 4,000 at 10 % (50 epochs, defaults). The recorded searches of RobustDARTS, measured on one
    batch, scatter by 14 to 41 %. Hence the measurement on fixed samples, and, logged and said with a decision,
    ``arch/curvature_noise``, the :func:`scatter` of the measurements compared, and ``arch/curvature_flat_stops``, the
    probability that a flat curve with that scatter had stopped by now.

    Args:
        window: Measurements in an average, at least 1.
        lag: Measurements between the averages compared, at least 1.
        ratio: Growth at which the search stops, at least 1.
        start: First epoch that can be returned to.
        interval: Epochs between two measurements, at least 1.
        measured_on: ``probe``, or ``last_batch`` for the form of the paper, see :class:`Stopping`.
        samples: Samples of the probe, at least 2.
    """

    window: int = WINDOW
    lag: int = LAG
    ratio: float = RATIO
    start: int = START
    interval: int = 2
    measured_on: Literal["probe", "last_batch"] = "probe"
    samples: int = 256
    monitor = "curvature"
    at_last = False

    def __post_init__(self) -> None:
        if self.window < 1 or self.lag < 1 or self.interval < 1 or self.start < 0:
            raise ValueError(
                "Expected `window`, `lag` and `interval` to be at least 1 and `start` to be zero or more, "
                f"but got {self.window}, {self.lag}, {self.interval} and {self.start}."
            )
        if not 1 <= self.ratio < math.inf:
            raise ValueError(f"Expected `ratio` to be a finite number of at least 1, but got {self.ratio}.")
        if self.measured_on not in ("probe", "last_batch"):
            raise ValueError(f"Expected `measured_on` to be probe or last_batch, but got {self.measured_on!r}.")
        if self.samples < 2:
            raise ValueError(f"Expected `samples` to be at least 2, but got {self.samples}.")

    def decide(self, epochs: Sequence[int], values: Sequence[float]) -> Stop | None:
        _check(epochs, values)
        counted = self._counted(epochs)
        for i, growth in self._rises(epochs, values).items():
            if growth.ratio > self.ratio:
                return Stop(epochs[counted[i]], epochs[counted[growth.centre]])
        return None

    def noise(self, epochs: Sequence[int], values: Sequence[float]) -> dict[str, float]:
        counted = self._counted(epochs)
        sigma = scatter([values[i] for i in counted[-max(self.window + self.lag, 8) :]])
        if math.isnan(sigma):
            return {}
        measured = list(judged([epochs[i] for i in counted], self.window, self.lag, self.start))
        growth = flat_growth(sigma, len(counted), self.window, self.lag)[:, measured]
        return {CURVATURE_NOISE.name: sigma, FLAT_STOPS.name: float((growth > self.ratio).any(axis=1).mean())}

    def reason(self, epochs: Sequence[int], values: Sequence[float]) -> str:
        growth = list(self._rises(epochs, values).values())
        said = f"the averaged curvature grew {growth[-1].ratio:.3g} times" if growth else "the curvature grew"
        said += f" (threshold {self.ratio:g})."
        if not (found := self.noise(epochs, values)):
            return f"{said} How noisy its measurements are is not known."
        sigma, chance = found.values()
        weighed = "so noise alone may explain it" if chance >= DOUBTFUL else "so noise alone hardly explains it"
        return (
            f"{said} Its measurements scatter by {sigma:.0%}: of flat curves with that scatter, "
            f"{chance:.1%} would have stopped by now, {weighed}."
        )

    def _counted(self, epochs: Sequence[int]) -> list[int]:
        return [i for i, epoch in enumerate(epochs) if (epoch - epochs[0]) % self.interval == 0]

    def _rises(self, epochs: Sequence[int], values: Sequence[float]) -> dict[int, Rise]:
        """Growth of the average at each counted measurement that is judged."""
        counted = self._counted(epochs)
        known = [values[i] for i in counted]
        return rises([epochs[i] for i in counted], known, known, self.window, self.lag, self.start)


def _check(epochs: Sequence[int], values: Sequence[float]) -> None:
    if len(epochs) != len(values):
        raise ValueError(f"Expected `values` to be one for each of {len(epochs)} epochs, but got {len(values)}.")
    for i, (epoch, value) in enumerate(zip(epochs, values, strict=True)):
        if i and epoch <= epochs[i - 1]:
            raise ValueError(f"Expected `epochs` to increase, but got {epoch} after {epochs[i - 1]}.")
        if not math.isfinite(value):
            raise ValueError(f"Expected `values` to be finite, but got {value} at epoch {epoch}.")


def scatter(values: Sequence[float]) -> float:
    r"""Return the relative standard deviation :math:`\sigma` of one measurement around a curve that changes slowly.

    From the differences :math:`d_i` of the logarithms of :math:`m + 1` neighbours, whose variance is
    :math:`2 \sigma^2` whatever the steady growth:

    .. math:: \sigma^2 = \sum_i (d_i - \bar d)^2 \,/\, 2 (m - 1/m).

    A jump of the curve counts as noise: the estimate is then too high, not too low. It is ``nan`` with fewer than four
    values, or where one is not positive.
    """
    if len(values) < 4 or min(values) <= 0:
        return math.nan
    steps = np.diff(np.log(np.asarray(values, dtype=float)))
    count = len(steps)
    return float(math.sqrt(((steps - steps.mean()) ** 2).sum() / (2 * (count - 1 / count))))


def flat_growth(sigma: float, count: int, window: int, lag: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Growth of averages on flat curves with independent normal noise: the same draws each time."""
    first = (window + 1) // 2
    noise = np.random.default_rng(0).standard_normal((DRAWS, count))
    sums = np.cumsum(np.pad(np.maximum(1 + sigma * noise, 0.0), ((0, 0), (1, 0))), axis=1)
    ends = np.arange(first, count + 1)
    begins = np.maximum(ends - window, 0)
    averages = (sums[:, ends] - sums[:, begins]) / (ends - begins)
    growth = np.zeros((DRAWS, count))
    if averages.shape[1] > lag:
        earlier = averages[:, :-lag]
        growth[:, first - 1 + lag :] = np.divide(
            averages[:, lag:], earlier, out=np.zeros_like(earlier), where=earlier > 0
        )
    return growth
