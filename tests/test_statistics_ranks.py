"""Ranks over tasks against Demšar's published example and scipy; profiles against counting."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats
from tables import check_each

from robustnas.statistics import critical_difference, distribution, friedman, profile, rank
from robustnas.statistics.ranks import cliques

# Demšar 2006, table 6: AUC of four variants of C4.5 on 14 data sets. On "voting" the paper ranks 0.975 above 0.975:
# they differ in a digit that is not printed.
AUC = {
    "C4.5": [763, 599, 954, 628, 882, 936, 661, 583, 775, 1000, 940, 619, 972, 957],
    "C4.5+m": [768, 591, 971, 661, 888, 931, 668, 583, 838, 1000, 962, 666, 981, 978],
    "C4.5+cf": [771, 590, 968, 654, 886, 916, 609, 563, 866, 1000, 965, 614, 975.1, 946],
    "C4.5+m+cf": [798, 569, 967, 657, 898, 931, 685, 625, 875, 1000, 962, 669, 975, 970],
}


def places(scores: dict[str, list[float]]) -> np.ndarray:
    return stats.rankdata(-np.array(list(scores.values())).T, axis=1)


def test_the_published_example_comes_out() -> None:
    found = rank(AUC)
    assert {name: round(value, 3) for name, value in found.ranks.items()} == {
        "C4.5+m+cf": 1.964,
        "C4.5+m": 2.0,
        "C4.5+cf": 2.893,
        "C4.5": 3.143,
    }
    assert list(found.ranks) == ["C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5"], "best first"
    printed = friedman(places(AUC), correct_ties=False)
    assert (round(printed.chi_squared, 2), round(printed.f, 2)) == (9.28, 3.69)
    assert printed.f_p == pytest.approx(stats.f.sf(3.69, 3, 39), abs=2e-4)
    assert printed.f_p < 0.05, "the paper rejects: F(3, 39) is 2.85 at 0.05"
    assert round(found.critical_difference, 2) == 1.25
    assert round(critical_difference(4, 14, alpha=0.1), 2) == 1.12
    # At 0.05 the paper cannot tell the extremes apart (1.18 < 1.25); at 0.1 it can (1.18 > 1.12), but not the rest.
    assert found.cliques == (("C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5"),)
    loose = rank(AUC, alpha=0.1)
    assert loose.differ("C4.5", "C4.5+m+cf")
    assert loose.differ("C4.5", "C4.5+m")
    assert loose.cliques == (("C4.5+m+cf", "C4.5+m", "C4.5+cf"), ("C4.5+cf", "C4.5"))


def test_friedman_is_that_of_scipy_with_and_without_ties() -> None:
    generator = np.random.default_rng(0)
    for scores in (generator.normal(size=(9, 5)), generator.integers(0, 4, size=(9, 5)).astype(float)):
        found = rank({str(k): scores[:, k].tolist() for k in range(5)})
        reference = stats.friedmanchisquare(*scores.T)
        assert found.friedman.chi_squared == pytest.approx(reference.statistic, rel=1e-12)
        assert found.friedman.chi_squared_p == pytest.approx(reference.pvalue, rel=1e-12)
        assert (found.friedman.n, found.friedman.methods, found.n) == (9, 5, 9)


def test_iman_and_davenport_is_the_analysis_of_variance_of_ranks() -> None:
    ranked = places({str(k): np.random.default_rng(k).normal(k / 4, size=8).tolist() for k in range(4)})
    within = ranked - ranked.mean(0) - ranked.mean(1, keepdims=True) + ranked.mean()
    between = 8 * ((ranked.mean(0) - ranked.mean()) ** 2).sum() / 3
    found = friedman(ranked)
    assert found.f == pytest.approx(between / ((within**2).sum() / 21), rel=1e-12)
    assert found.f_p == pytest.approx(stats.f.sf(found.f, 3, 21))


def test_tasks_that_all_rank_alike_or_tie_throughout() -> None:
    alike = rank({"a": [1, 2, 3], "b": [2, 3, 4], "c": [5, 6, 7]}).friedman
    assert (alike.chi_squared, alike.f, alike.f_p) == (pytest.approx(6.0), math.inf, 0.0)
    assert (alike.p, alike.source, alike.smallest) == (pytest.approx(1 / 36), "exact", pytest.approx(1 / 36))
    tied = rank({"a": [1, 2], "b": [1, 2], "c": [1, 2]})
    assert (tied.friedman.chi_squared, tied.friedman.p) == (0.0, 1.0)
    assert set(tied.ranks.values()) == {2.0}


def test_losses_rank_the_other_way() -> None:
    scores = {"a": [1.0, 2.0], "b": [3.0, 1.5]}
    assert rank(scores, higher_is_better=False).ranks == {name: 3 - r for name, r in rank(scores).ranks.items()}


@pytest.mark.parametrize(("k", "q"), [(2, 1.960), (3, 2.343), (5, 2.728), (8, 3.031), (10, 3.164)])
def test_the_quantiles_are_those_of_the_published_table(k: int, q: float) -> None:
    assert critical_difference(k, 6 * k * (k + 1)) * 6 == pytest.approx(q, abs=1.5e-3)  # Demšar 2006, table 5a


def test_cliques_are_the_largest_groups_and_no_group_lies_in_another() -> None:
    ranks = {"d": 4.0, "a": 1.0, "b": 1.5, "c": 2.4, "e": 6.0}
    assert cliques(ranks, 1.0) == (("a", "b"), ("b", "c"))
    assert cliques(ranks, 1.7) == (("a", "b", "c"), ("c", "d"))
    assert cliques(ranks, 0.1) == ()
    assert cliques({"a": 1.0, "b": 2.0}, 1.0) == (), "as far apart as the difference is apart"
    assert cliques(ranks, 9.0) == (("a", "b", "c", "d", "e"),)


def test_a_profile_counts_tasks_within_a_distance_of_the_best() -> None:
    scores = {"a": [94.3, 70.0, 40.0], "b": [94.2, 72.0, 40.0], "c": [90.0, 71.0, 46.0]}
    found = profile(scores, taus=[1.0, 0.0, 0.1, 10.0])
    assert (found.n, found.taus) == (3, (0.0, 0.1, 1.0, 10.0))
    assert found.shares["a"] == pytest.approx((1 / 3, 1 / 3, 1 / 3, 1.0))
    assert found.shares["b"] == pytest.approx((1 / 3, 2 / 3, 2 / 3, 1.0)), "94.3 - 94.2 is within 0.1"
    assert found.shares["c"] == pytest.approx((1 / 3, 1 / 3, 2 / 3, 1.0))
    own = profile(scores)
    assert own.taus == pytest.approx((0.0, 0.1, 1.0, 2.0, 4.3, 6.0))
    assert all(list(shares) == sorted(shares) and shares[-1] == 1.0 for shares in own.shares.values())


def test_a_distribution_weighs_tasks_alike_and_trims_a_quarter_at_each_end() -> None:
    runs = [[0.1, 0.9], [0.2, 0.4, 0.6, 0.8, 1.0, 0.5]]
    found = distribution(runs, [0.0, 0.5, 0.95])
    assert (found.n, found.tasks) == (8, 2)
    assert found.shares == pytest.approx((1.0, (1 / 2 + 3 / 6) / 2, (0 + 1 / 6) / 2))
    assert found.iqm == pytest.approx(np.mean([0.4, 0.5, 0.6, 0.8]))
    assert found.interval is not None
    assert found.iqm in found.interval
    assert distribution([[0.3], [0.4]], [0.5]).interval is None
    same = distribution([[0.3, 0.3], [0.7, 0.7]], [0.5]).interval
    assert same is not None
    assert (same.low, same.high) == (0.5, 0.5), "resampled within tasks, not over them"


def test_the_interval_of_the_interquartile_mean_covers() -> None:
    generator, hits = np.random.default_rng(5), 0
    for _ in range(300):
        found = distribution(list(generator.normal(size=(4, 10))), [0.0], resamples=400).interval
        hits += found is not None and 0.0 in found
    assert hits / 300 == pytest.approx(0.93, abs=0.05)


def test_bad_input_gets_a_sentence() -> None:
    rows = [
        (lambda: rank({"a": [1.0, 2.0]}), "`scores` to hold at least 2 methods, but got 1"),
        (lambda: rank({"a": [1.0], "b": [2.0]}), r"`scores\['a'\]` to hold at least 2 numbers, but got 1"),
        (lambda: rank({"a": [1.0, 2.0, 3.0], "b": [2.0, 1.0]}), "score on every task, but got .* a: 3, b: 2"),
        (lambda: rank({"a": [1.0, 2.0], "b": [2.0, math.nan]}), r"`scores\['b'\]` to be finite"),
        (lambda: rank(AUC, alpha=5), "`alpha` to be between 0 and 1, but got 5"),
        (lambda: critical_difference(1, 3), "at least 2 `methods` and 1 of `tasks`, but got 1 and 3"),
        (lambda: profile(AUC, taus=[-1.0]), "`taus` to be at least 0, but got -1"),
        (lambda: distribution([], [0.5]), "at least one task, but got none"),
        (lambda: distribution([[]], [0.5]), r"`runs\[0\]` to hold at least 1"),
    ]

    def check(row: tuple[Any, str]) -> None:
        call, message = row
        with pytest.raises(ValueError, match=message):
            call()

    check_each(rows, check)
