"""Comparison of methods run with different seeds: two-sample tests, and improvement over random search."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from robustnas.statistics.intervals import Interval
from robustnas.statistics.pairs import hedges
from robustnas.statistics.samples import Array, check_share, no_spread, numbers, same_length, seeded

EXACT_UP_TO = 20_000  # permutations; of more, a sample is drawn


@dataclass(frozen=True)
class Unpaired:
    """The difference of two samples, first minus second."""

    n_first: int  #: scores of the first method
    n_second: int  #: scores of the second
    difference: float  #: difference of the means
    interval: Interval | None  #: Welch's interval of it; ``None`` where neither sample has spread
    #: Hedges' :math:`g = J(\nu)\,(\bar a - \bar b) / s`, with the pooled deviation; ``None`` where that is 0
    effect: float | None
    superiority: float  #: probability that a score of the first is higher than one of the second, a tie counts as half
    #: two-sided p-value of Welch's test, which lets the deviations differ; ``None`` where there is no spread
    welch: float | None
    permutation: float  #: two-sided p-value of the permutation test on the difference of the means

    @property
    def smallest_p(self) -> float:
        """The smallest p-value the permutation test can give: 2 over the number of permutations."""
        return min(1.0, 2 / math.comb(self.n_first + self.n_second, self.n_first))


@dataclass(frozen=True)
class RelativeImprovement:
    """How much better than random search, in percent of random search."""

    value: float  #: :math:`100\,(\bar a - \bar r) / \bar r`
    #: Fieller's interval; ``None`` with a single score on one side, where the scores have no spread, or where the mean
    #: of random search does not differ significantly from 0
    interval: Interval | None
    n: int  #: scores of the method
    n_random: int  #: scores of random search

    def __str__(self) -> str:
        within = "" if self.interval is None else f", {self.interval:+.2f}"
        return f"{self.value:+.2f} % over random search{within}, n = {self.n} and {self.n_random}"


def compare_unpaired(first: Iterable[float], second: Iterable[float], level: float = 0.95) -> Unpaired:
    """The comparison of two methods with unrelated runs: ``[n_first]`` minus ``[n_second]`` scores, at least two."""
    a, b = numbers(first, "first"), numbers(second, "second")
    check_share(level, "level")
    freedom = len(a) + len(b) - 2
    pooled = math.sqrt(((len(a) - 1) * a.var(ddof=1) + (len(b) - 1) * b.var(ddof=1)) / freedom)
    difference, flat = float(a.mean() - b.mean()), no_spread(a) and no_spread(b)
    interval = welch = None
    if not flat:
        found = stats.ttest_ind(a, b, equal_var=False)
        low, high = found.confidence_interval(level)
        interval, welch = Interval(float(low), float(high), level, "Welch"), float(found.pvalue)
    return Unpaired(
        n_first=len(a),
        n_second=len(b),
        difference=difference,
        interval=interval,
        effect=None if flat else hedges(freedom) * difference / pooled,
        superiority=float(stats.mannwhitneyu(a, b).statistic) / (len(a) * len(b)),
        welch=welch,
        permutation=_permutation(a, b),
    )


def relative_improvement(
    scores: Iterable[float], random: Iterable[float], paired: bool = False, level: float = 0.95
) -> RelativeImprovement:
    r"""Return the relative improvement over random search, :math:`100\,(\bar a - \bar r) / \bar r` (arXiv:1912.12522).

    The interval is Fieller's: all ratios :math:`\rho` with
    :math:`(\bar a - \rho \bar r)^2 \le t^2\,(v_a - 2 \rho v_{ar} + \rho^2 v_r)`, where :math:`v` are the variances and
    the covariance of the means, and :math:`t` has Welch's degrees of freedom (n - 1 where runs are paired).

    Args:
        scores: Scores of the method, higher better and above 0, such as accuracies, ``[n]``.
        random: Scores of random architectures of the same space, trained in the same way, ``[n_random]``.
        paired: Whether both were run with the same seeds, in the same order.
        level: Level of the interval.

    Raises:
        ValueError: If a list is empty or not finite, the mean of random search is not above 0, or paired lists differ
            in length.
    """
    a, r = numbers(scores, minimum=1), numbers(random, "random", minimum=1)
    if paired:
        same_length(scores=a, random=r)
    if (below := float(r.mean())) <= 0:
        raise ValueError(f"Expected `random` to have a mean above 0, but got {below:g}.")
    check_share(level, "level")
    interval = _fieller(a, r, paired, level) if min(len(a), len(r)) > 1 else None
    return RelativeImprovement(100 * (float(a.mean()) / below - 1), interval, len(a), len(r))


def _fieller(a: Array, r: Array, paired: bool, level: float) -> Interval | None:
    va, vr = a.var(ddof=1) / len(a), r.var(ddof=1) / len(r)
    both = float(np.cov(a, r)[0, 1]) / len(a) if paired else 0.0
    ratio = a.mean() / r.mean()
    if va + vr == 0:
        return None
    welch = (va + ratio**2 * vr) ** 2 / (va**2 / (len(a) - 1) + (ratio**2 * vr) ** 2 / (len(r) - 1))
    t2 = stats.t.ppf((1 + level) / 2, len(a) - 1 if paired else welch) ** 2
    square, linear, constant = r.mean() ** 2 - t2 * vr, a.mean() * r.mean() - t2 * both, a.mean() ** 2 - t2 * va
    if square <= 0:
        return None
    half = math.sqrt(max(0.0, linear**2 - square * constant))
    low, high = ((linear + sign * half) / square for sign in (-1, 1))
    return Interval(float(100 * (low - 1)), float(100 * (high - 1)), level, "Fieller")


def _permutation(a: Array, b: Array) -> float:
    exact = math.comb(len(a) + len(b), len(a)) <= EXACT_UP_TO
    found = stats.permutation_test(
        (a, b),
        lambda x, y, axis: x.mean(axis) - y.mean(axis),
        vectorized=True,
        n_resamples=EXACT_UP_TO if exact else EXACT_UP_TO - 1,
        batch=1000,
        **seeded(),
    )
    return float(found.pvalue)
