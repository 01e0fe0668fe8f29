"""Ranking of methods over several tasks: average ranks, the critical difference, and Friedman's test.

Friedman's p-values are valid for few tasks and with ties.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import Literal

import numpy as np
from scipy import stats

from robustnas.statistics.samples import Array, check_share, table

EXACT_METHODS = 8  # of more, there are too many permutations
EXACT_WORK = 2_000_000  # rank sums that the exact distribution may visit, about a second
DRAWS, SAMPLED_WORK, MIN_DRAWS = 100_000, 40_000_000, 10_000  # random rankings, and ranks in all of them
SEED = 0


@dataclass(frozen=True)
class Friedman:
    """Friedman's test that all methods are equal."""

    n: int  #: tasks :math:`N`
    methods: int  #: methods :math:`k`
    chi_squared: float  #: Friedman's statistic
    #: its p-value, never 0: the probability of a statistic at least as large if, in each task, all permutations of the
    #: ranks are equally likely
    p: float
    #: how ``p`` was computed: ``exact``, all permutations; ``sampled``, random ones; ``F``, Iman and Davenport's
    #: approximation, which is accurate for so many tasks
    source: Literal["exact", "sampled", "F"]
    error: float  #: standard error of a sampled ``p``, else 0
    smallest: float  #: the smallest possible ``p`` for this number of tasks and methods: equal rankings without ties
    chi_squared_p: float  #: p-value from :math:`\chi^2_{k-1}`, an approximation for many tasks
    f: float  #: Iman and Davenport's statistic; infinite where all tasks give the same ranks
    #: p-value from :math:`F_{k-1,\,(k-1)(N-1)}`, far too small for few tasks: 0 where all give the same ranks
    f_p: float


def friedman(places: Array, correct_ties: bool = True) -> Friedman:
    r"""Return Friedman's test, and Iman and Davenport's statistic.

    .. math:: \chi^2 = \frac{12 N}{k (k + 1)} \sum_j \left(R_j - \frac{k + 1}{2}\right)^2 / c, \qquad
        F = \frac{(N - 1)\, \chi^2}{N (k - 1) - \chi^2},

    with the average ranks :math:`R_j` and :math:`c = 1 - \sum (t^3 - t) / (N (k^3 - k))` over groups of :math:`t` ties.

    Args:
        places: Rank of each method in each task, ``[tasks, methods]``.
        correct_ties: Divide by :math:`c`, as scipy does; Demšar's paper does not. The p-value does not depend on it.
    """
    n, k = places.shape
    chi_squared = 12 * n / (k * (k + 1)) * float(((places.mean(axis=0) - (k + 1) / 2) ** 2).sum())
    if correct_ties:
        tied = sum(int(t) ** 3 - int(t) for row in places for t in np.unique(row, return_counts=True)[1])
        correction = 1 - tied / (n * (k**3 - k))
        chi_squared = chi_squared / correction if correction > 0 else 0.0
    rest = n * (k - 1) - chi_squared
    f = (n - 1) * chi_squared / rest if rest > 1e-9 * n * k else math.inf
    chi_squared_p, f_p = stats.chi2.sf(chi_squared, k - 1), stats.f.sf(f, k - 1, (k - 1) * (n - 1))
    smallest = _positive(math.exp(-(n - 1) * math.lgamma(k + 1)))
    p, source, error = _p_value(np.rint(2 * places - (k + 1)).astype(np.int64), float(f_p), smallest)
    return Friedman(n, k, chi_squared, p, source, error, smallest, float(chi_squared_p), f, float(f_p))


def _p_value(
    deviations: Array, approximation: float, smallest: float
) -> tuple[float, Literal["exact", "sampled", "F"], float]:
    """The p-value, its source and its standard error, from twice the deviations of ranks from their mean."""
    if (exact := exact_p(deviations)) is not None:
        return _positive(exact), "exact", 0.0
    draws = min(DRAWS, SAMPLED_WORK // deviations.size)
    if draws >= MIN_DRAWS:
        p = sampled_p(deviations, draws)
        return p, "sampled", math.sqrt(p * (1 - p) / draws)
    return max(approximation, smallest), "F", 0.0


def _positive(p: float) -> float:
    return min(max(p, float(np.finfo(float).tiny)), 1.0)


def exact_p(deviations: Array, work: int = EXACT_WORK) -> float | None:
    r"""Exact probability of so large a :math:`\sum_j (\sum_i d_{ij})^2`; ``None`` if it takes more than ``work``."""
    n, k = deviations.shape
    # Columns can be exchanged, so that only sorted sums count, and the first row may stay fixed.
    base = 2 * int(np.abs(deviations).max(axis=1).sum()) + 1
    if k > EXACT_METHODS or base**k >= 2**63:
        return None
    observed = int((deviations.sum(axis=0) ** 2).sum())
    powers = base ** np.arange(k, dtype=np.int64)
    sums: Array = np.sort(deviations[:1], axis=1)
    chances: Array = np.ones(1)
    for number, row in enumerate(deviations[1:], start=1):
        orders = np.array(sorted(set(permutations(row.tolist()))), dtype=np.int64)  # [orders, methods]
        work -= len(sums) * len(orders)
        if work < 0:
            return None
        added = (sums[:, None] + orders).reshape(-1, k)
        shared = np.repeat(chances / len(orders), len(orders))
        if number == n - 1:
            return float(shared[(added**2).sum(axis=1) >= observed].sum())
        added.sort(axis=1)
        _, first, group = np.unique(added @ powers, return_index=True, return_inverse=True)
        sums, chances = added[first], np.bincount(group, shared).astype(np.float64)
    return 1.0


def sampled_p(deviations: Array, draws: int) -> float:
    """The probability from seeded random permutations, :math:`(1 + b) / (1 + B)`, which is never too small."""
    generator = np.random.default_rng(SEED)
    observed, count = int((deviations.sum(axis=0) ** 2).sum()), 0
    step = max(1, 1_000_000 // deviations.size)
    for start in range(0, draws, step):
        many = np.broadcast_to(deviations, (min(step, draws - start), *deviations.shape))
        count += int(((generator.permuted(many, axis=2).sum(axis=1) ** 2).sum(axis=1) >= observed).sum())
    return (1 + count) / (1 + draws)


@dataclass(frozen=True)
class Ranking:
    """Average ranks of methods, and groups without a significant difference, as in a critical-difference diagram."""

    n: int  #: tasks
    ranks: Mapping[str, float]  #: method to its average rank, best first; 1 is best
    #: the test that all are equal. If its p-value is not below ``alpha``, no pair differs significantly
    friedman: Friedman
    critical_difference: float  #: otherwise ranks at least this far apart differ, by Nemenyi's test
    alpha: float  #: level of Friedman's test, and of Nemenyi's over all pairs
    #: the largest groups without a significant difference, best first; each of at least two methods
    cliques: tuple[tuple[str, ...], ...]

    def differ(self, first: str, second: str) -> bool:
        """Whether Friedman's test rejects and two methods are at least the critical difference apart."""
        apart = abs(self.ranks[first] - self.ranks[second]) >= self.critical_difference
        return self.friedman.p < self.alpha and apart


def rank(scores: Mapping[str, Iterable[float]], alpha: float = 0.05, higher_is_better: bool = True) -> Ranking:
    """Return ranks of methods over tasks, such as pairs of a space and a data set; ties share their mean rank.

    A task gives one score for each method, the mean over seeds. Seeds are not independent tasks: counting them as tasks
    makes noise significant (Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 2006).

    Args:
        scores: Method to its scores, one for each task, in the same order.
        alpha: Level of Friedman's and of Nemenyi's test.
        higher_is_better: Whether the highest score has rank 1.

    Raises:
        ValueError: If there are fewer than two methods or tasks, or a method lacks a task.
    """
    names, values = table(scores)
    places = stats.rankdata(-values if higher_is_better else values, axis=1)
    difference = critical_difference(len(names), len(values), alpha)
    ranks = dict(sorted(zip(names, places.mean(axis=0).tolist(), strict=True), key=lambda item: item[1]))
    test = friedman(places)
    groups = cliques(ranks, difference if test.p < alpha else math.inf)
    return Ranking(len(values), ranks, test, difference, alpha, groups)


def critical_difference(methods: int, tasks: int, alpha: float = 0.05) -> float:
    r"""Return Nemenyi's critical difference of average ranks, :math:`q_\alpha \sqrt{k (k + 1) / (6 N)}`.

    Args:
        methods: Number of methods :math:`k`, at least two.
        tasks: Number of tasks :math:`N`, at least one.
        alpha: Level over all pairs. :math:`q_\alpha` is the quantile of the studentised range over :math:`\sqrt 2`.

    Raises:
        ValueError: If there are too few methods or tasks, or the level is not between 0 and 1.
    """
    if methods < 2 or tasks < 1:
        raise ValueError(f"Expected at least 2 `methods` and 1 of `tasks`, but got {methods} and {tasks}.")
    quantile = stats.studentized_range.ppf(1 - check_share(alpha, "alpha"), methods, np.inf) / math.sqrt(2)
    return float(quantile * math.sqrt(methods * (methods + 1) / (6 * tasks)))


def cliques(ranks: Mapping[str, float], difference: float) -> tuple[tuple[str, ...], ...]:
    """The largest groups of at least two methods whose ranks differ by less than ``difference``, best first."""
    names = sorted(ranks, key=ranks.__getitem__)
    found: list[tuple[str, ...]] = []
    for start, name in enumerate(names):
        group = tuple(other for other in names[start:] if ranks[other] - ranks[name] < difference)
        if len(group) > 1 and not (found and set(group) <= set(found[-1])):
            found.append(group)
    return tuple(found)
