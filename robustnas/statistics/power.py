"""Power of paired tests: the smallest detectable difference for a number of seeds, and the seeds a difference needs."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from robustnas.statistics.samples import check_share

MAX_SEEDS = 1_000_000


@dataclass(frozen=True)
class PowerNote:
    """The smallest difference that a study with n seeds can detect."""

    n: int  #: common seeds of both methods
    deviation: float  #: standard deviation of the paired differences
    difference: float  #: smallest true difference detected with this power
    power: float  #: probability of detecting it
    alpha: float  #: level of the test

    def __format__(self, spec: str) -> str:
        spec = spec or ".3g"
        return (
            f"With {self.n} seeds, differences below {self.difference:{spec}} are usually missed "
            f"(paired t test at {100 * self.alpha:g} %, power {100 * self.power:g} %, "
            f"standard deviation of the differences {self.deviation:{spec}})."
        )

    def __str__(self) -> str:
        return format(self, "")


def power(difference: float, deviation: float, n: int, alpha: float = 0.05) -> float:
    r"""Return the probability that a two-sided paired t test detects a difference.

    .. math:: P(|T| > t_{n-1,\,1-\alpha/2}), \qquad T \sim t'_{n-1}(\delta), \quad \delta = \sqrt n\, \Delta / \sigma,

    with the noncentral t distribution.

    Args:
        difference: True mean difference :math:`\Delta`.
        deviation: Standard deviation :math:`\sigma` of the paired differences, above 0.
        n: Pairs, at least two.
        alpha: Level of the test.

    Raises:
        ValueError: If a number is out of range.
    """
    _check(deviation, alpha, n)
    edge = stats.t.ppf(1 - alpha / 2, n - 1)
    shift = min(abs(difference) / deviation * math.sqrt(n), 1e6)
    below, above = stats.nct.cdf(-edge, n - 1, shift), stats.nct.sf(edge, n - 1, shift)
    if not np.isfinite(above):  # scipy's noncentral t overflows for large shifts, where the power is 1
        return 1.0
    return float(np.clip(above + np.nan_to_num(below), 0.0, 1.0))


def smallest_difference(deviation: float, n: int, probability: float = 0.8, alpha: float = 0.05) -> float:
    """Return the smallest true difference, in the unit of the deviation, that a paired t test detects with this power.

    The deviation may be 0, and ``probability`` is the power wanted, above ``alpha``; see :func:`power` for the rest.
    """
    _check(deviation or 1.0, alpha, n)
    _check_power(probability, alpha)
    high = 1.0
    while power(high, 1.0, n, alpha) < probability:
        high *= 2
    return deviation * float(optimize.brentq(lambda d: power(d, 1.0, n, alpha) - probability, 0.0, high, xtol=1e-10))


def seeds_needed(difference: float, deviation: float, probability: float = 0.8, alpha: float = 0.05) -> int:
    """Return the smallest number of seeds with which a paired t test detects a difference with a given probability.

    The difference is not 0; see :func:`smallest_difference` for the rest.

    Raises:
        ValueError: If a number is out of range, or more than a million seeds would be needed.
    """
    _check(deviation, alpha)
    _check_power(probability, alpha)
    low, high = 1, 2
    while power(difference, deviation, high, alpha) < probability:
        if high > MAX_SEEDS:
            raise ValueError(
                f"Expected `difference` to be detectable with {MAX_SEEDS:,} seeds, but got {difference:g}."
            )
        low, high = high, 2 * high
    between = range(low + 1, high)
    return low + 1 + bisect_left(between, True, key=lambda n: power(difference, deviation, n, alpha) >= probability)


def power_note(deviation: float, n: int, probability: float = 0.8, alpha: float = 0.05) -> PowerNote:
    """Return a note, which prints as a sentence: the differences that this number of seeds cannot detect.

    The deviation is itself uncertain from few seeds: see :func:`~robustnas.statistics.intervals.deviation_interval`.
    Arguments and errors are those of :func:`smallest_difference`.
    """
    return PowerNote(n, deviation, smallest_difference(deviation, n, probability, alpha), probability, alpha)


def _check(deviation: float, alpha: float, n: int = 2) -> None:
    if n < 2:
        raise ValueError(f"Expected `n` to be at least 2, but got {n}.")
    if not (math.isfinite(deviation) and deviation > 0):
        raise ValueError(f"Expected `deviation` to be a number above 0, but got {deviation}.")
    check_share(alpha, "alpha")


def _check_power(probability: float, alpha: float) -> None:
    if not alpha < check_share(probability, "probability") < 1:
        raise ValueError(f"Expected `probability` to be above the level {alpha}, but got {probability}.")
