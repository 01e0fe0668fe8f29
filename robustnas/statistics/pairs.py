r"""Comparison of methods run with the same seeds: paired tests, effect sizes, families of comparisons.

With n pairs no exact test can give a p-value below :math:`2^{1-n}`: 0.25 for three seeds. Every result states this
bound, and :func:`pairs_needed` gives the seeds that a family of comparisons requires. Student's paired test can go
below, since it assumes normal differences, an assumption that three of them cannot support.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import numpy as np
from scipy import special, stats

from robustnas.statistics.intervals import Interval, mean_interval
from robustnas.statistics.samples import Array, check_share, no_spread, numbers, same_length, seeded

Key = TypeVar("Key", bound=Hashable)
Test = Literal["permutation", "wilcoxon", "t"]
EXACT_UP_TO = 16  # pairs; more than 2^16 sign patterns are sampled
SAMPLED = 99_999


@dataclass(frozen=True)
class Matched(Generic[Key]):
    """Scores of two methods by common key, such as the seed, and the keys that only one of them has."""

    keys: tuple[Key, ...]
    first: tuple[float, ...]
    second: tuple[float, ...]
    only_first: tuple[Key, ...]
    only_second: tuple[Key, ...]


@dataclass(frozen=True)
class Paired:
    """Differences, first minus second, over pairs."""

    n: int  #: pairs
    difference: float  #: mean difference :math:`\bar d`
    interval: Interval  #: its interval, by :func:`~robustnas.statistics.intervals.mean_interval`
    deviation: float  #: standard deviation :math:`s_d` of the differences
    #: Hedges' corrected :math:`d_z = J(n-1)\, \bar d / s_d`; ``None`` for two pairs, where it has no expectation, and
    #: where all differences are equal
    effect: float | None
    wins: int  #: pairs in which the first is higher
    losses: int  #: pairs in which the second is higher
    permutation: float  #: two-sided p-value of the sign-flip test on the mean
    wilcoxon: float  #: two-sided p-value of the signed-rank test
    t: float | None  #: two-sided p-value of Student's paired test; ``None`` where all differences are equal and not 0

    @property
    def ties(self) -> int:
        """Pairs without a winner."""
        return self.n - self.wins - self.losses

    @property
    def share_won(self) -> float:
        """Share of pairs that the first wins; a tie counts as half a win."""
        return (self.wins + self.ties / 2) / self.n

    @property
    def smallest_p(self) -> float:
        """The smallest p-value that an exact two-sided test of n pairs can give."""
        return smallest_p(self.n)

    def p(self, test: Test) -> float:
        """The p-value of a test; that of the permutation test where Student's is undefined."""
        found = {"permutation": self.permutation, "wilcoxon": self.wilcoxon, "t": self.t}[test]
        return self.permutation if found is None else found


@dataclass(frozen=True)
class Comparison:
    """One comparison of a family."""

    name: str  #: what is compared to the baseline
    result: Paired  #: the comparison, the named method minus the baseline
    test: Test  #: the test whose p-values are adjusted
    adjusted: float  #: its p-value after Holm's correction
    family: int  #: number of comparisons in the family

    @property
    def smallest(self) -> float:
        """The smallest p-value that an exact test can reach in the family, after the correction."""
        return min(1.0, self.family * self.result.smallest_p)


def match(first: Mapping[Key, float], second: Mapping[Key, float]) -> Matched[Key]:
    """Scores by common keys, such as seeds, at least one, and the keys without a partner, which should be reported."""
    keys = tuple(key for key in first if key in second)
    if not keys:
        raise ValueError(
            f"Expected `first` and `second` to share keys, such as seeds, but got {list(first)} and {list(second)}."
        )
    return Matched(
        keys,
        tuple(first[key] for key in keys),
        tuple(second[key] for key in keys),
        tuple(key for key in first if key not in second),
        tuple(key for key in second if key not in first),
    )


def compare(first: Iterable[float], second: Iterable[float], level: float = 0.95) -> Paired:
    r"""Return the comparison of two methods, first minus second; scores ``[n]`` with the same seeds in the same order.

    The permutation test flips the signs of the differences, :math:`p = P(|\sum \pm d_i| \ge |\sum d_i|)`, over all
    :math:`2^n` patterns up to 16 pairs. Wilcoxon's test does the same with the ranks of :math:`|d_i|`, so that it stays
    exact with ties; a difference of 0 is ranked, but has no sign (Pratt 1959).

    Raises:
        ValueError: If there are fewer than two pairs, lists differ in length, or scores are not finite.

    Reference:
        Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 2006; Hedges, "Distribution
        Theory for Glass's Estimator of Effect Size", 1981.
    """
    a, b = numbers(first, "first"), numbers(second, "second")
    n, d = same_length(first=a, second=b), a - b
    d = np.where(np.abs(d) <= 1e-12 * np.maximum(np.abs(a), np.abs(b)), 0.0, d)
    steps = np.rint(1e9 * d / (np.abs(d).max() or 1.0))  # integers: ties stay ties, and sums are exact
    ranks = stats.rankdata(np.abs(steps)) * np.sign(steps)
    flat, mean, deviation = no_spread(d), float(d.mean()), float(d.std(ddof=1))
    return Paired(
        n=n,
        difference=mean,
        interval=mean_interval(d, level),
        deviation=0.0 if flat else deviation,
        effect=None if flat or n < 3 else hedges(n - 1) * mean / deviation,
        wins=int((d > 0).sum()),
        losses=int((d < 0).sum()),
        permutation=_sign_flip(steps),
        wilcoxon=_sign_flip(ranks),
        t=(None if mean else 1.0) if flat else float(stats.ttest_rel(a, b).pvalue),
    )


def compare_to_baseline(
    baseline: Iterable[float], others: Mapping[str, Iterable[float]], test: Test = "permutation", level: float = 0.95
) -> tuple[Comparison, ...]:
    """Return the comparison of each method with one baseline over the same seeds, scores ``[n]`` each.

    The p-values of ``test`` are corrected by Holm's method; intervals are not. Errors are those of :func:`compare`.
    """
    base = numbers(baseline, "baseline")
    results = {name: compare(scores, base, level) for name, scores in others.items()}
    adjusted = holm({name: result.p(test) for name, result in results.items()})
    return tuple(Comparison(name, result, test, adjusted[name], len(results)) for name, result in results.items())


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    r"""Return p-values after Holm's correction, :math:`\tilde p_{(i)} = \max_{j \le i} \min(1, (m - j + 1)\, p_{(j)})`.

    Rejecting below 0.05 keeps the family-wise error rate at 5 %, whatever the dependence of the :math:`m` tests (Holm,
    "A Simple Sequentially Rejective Multiple Test Procedure", 1979).

    Raises:
        ValueError: If one is not from 0 to 1.
    """
    for name, p in p_values.items():
        if not 0 <= p <= 1:
            raise ValueError(f"Expected `p_values` to be from 0 to 1, but got {p} for {name!r}.")
    adjusted, worst = {}, 0.0
    for place, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        worst = adjusted[name] = max(worst, min(1.0, (len(p_values) - place) * p_values[name]))
    return {name: adjusted[name] for name in p_values}


def smallest_p(pairs: int) -> float:
    """The smallest two-sided p-value of an exact test of n pairs: 2 of its 2^n sign patterns."""
    return 2.0 ** (1 - pairs)


def pairs_needed(alpha: float = 0.05, comparisons: int = 1) -> int:
    """The pairs that an exact test of this level needs to reject one of several comparisons in the best case."""
    check_share(alpha, "alpha")
    if comparisons < 1:
        raise ValueError(f"Expected `comparisons` to be at least 1, but got {comparisons}.")
    return max(2, 1 + math.ceil(math.log2(comparisons / alpha)))


def hedges(freedom: float) -> float:
    r"""Hedges' bias correction, :math:`J(\nu) = \Gamma(\nu/2) / (\sqrt{\nu/2}\, \Gamma((\nu-1)/2))`."""
    return float(np.exp(special.gammaln(freedom / 2) - special.gammaln((freedom - 1) / 2)) / np.sqrt(freedom / 2))


def _sign_flip(differences: Array) -> float:
    if not differences.any():
        return 1.0
    found = stats.permutation_test(
        (differences,),
        np.sum,
        permutation_type="samples",
        vectorized=True,
        n_resamples=2 ** len(differences) if len(differences) <= EXACT_UP_TO else SAMPLED,
        batch=4096,
        **seeded(),
    )
    return float(found.pvalue)
