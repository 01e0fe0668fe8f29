"""Ranking of methods over several tasks: average ranks and the critical difference."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from robustnas.statistics.friedman import Friedman, friedman
from robustnas.statistics.samples import check_share, table


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
