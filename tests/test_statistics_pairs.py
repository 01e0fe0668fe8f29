"""Two methods against each other: scipy, brute force over sign patterns, published numbers."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from scipy import stats
from tables import check_each

from robustnas.statistics import (
    compare,
    compare_to_baseline,
    compare_unpaired,
    holm,
    match,
    pairs_needed,
    relative_improvement,
)
from robustnas.statistics.pairs import hedges

FIRST = [94.1, 94.3, 94.0, 93.2, 95.0]
SECOND = [93.9, 94.4, 93.1, 92.9, 94.1]


def brute_force(values: list[float]) -> float:
    flips = [abs(sum(s * v for s, v in zip(signs, values, strict=True))) for signs in patterns(len(values))]
    return sum(total >= abs(sum(values)) - 1e-9 for total in flips) / len(flips)


def patterns(n: int) -> list[tuple[int, ...]]:
    return list(itertools.product((-1, 1), repeat=n))


def test_a_comparison_is_that_of_scipy() -> None:
    found = compare(FIRST, SECOND)
    d = np.subtract(FIRST, SECOND)
    # pingouin 0.7.0: ttest(FIRST, SECOND, paired=True): p 0.091516, interval -0.11 to 0.99
    assert found.t == pytest.approx(0.091516, abs=1e-6)
    assert (found.interval.low, found.interval.high) == pytest.approx((-0.11, 0.99), abs=0.005)
    assert (found.n, found.difference) == (5, pytest.approx(0.44))
    assert found.effect == pytest.approx(0.7979 * d.mean() / d.std(ddof=1), rel=1e-4)  # J(4)
    assert (found.wins, found.losses, found.ties, found.share_won) == (4, 1, 0, 0.8)
    assert found.permutation == pytest.approx(brute_force([2, -1, 9, 3, 9]))
    assert found.wilcoxon == pytest.approx(brute_force([2, -1, 4.5, 3, 4.5]))
    uneven = compare([5.0, 1.0, 1.5, 0.2, -3.0], [0.0] * 5)
    assert [uneven.p(test) for test in ("permutation", "wilcoxon", "t")] == [
        brute_force([50, 10, 15, 2, -30]),
        brute_force([5, 2, 3, 1, -4]),
        pytest.approx(stats.ttest_1samp([5.0, 1.0, 1.5, 0.2, -3.0], 0.0).pvalue),
    ]


@pytest.mark.parametrize("n", [3, 6, 11])
def test_without_ties_wilcoxon_is_the_exact_test_of_scipy(n: int) -> None:
    a, b = np.random.default_rng(n).normal(size=(2, n))
    assert compare(a, b).wilcoxon == pytest.approx(stats.wilcoxon(a, b, method="exact").pvalue, rel=1e-12)
    assert compare(a, b).permutation == pytest.approx(brute_force((a - b).tolist()), rel=1e-12)
    assert compare(a, b).t == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=1e-12)
    assert compare(b, a).permutation == compare(a, b).permutation


def test_many_pairs_are_sampled_and_agree_with_scipy() -> None:
    a, b = np.random.default_rng(4).normal([[0.4], [0.0]], 1.0, size=(2, 30))
    found = compare(a, b)
    assert found.wilcoxon == pytest.approx(stats.wilcoxon(a, b, method="exact").pvalue, abs=0.005)
    assert found == compare(a, b), "not the same every time"


def test_ties_stay_ties_after_rounding() -> None:
    found = compare([94.2, 0.3, 1.0, 94.3], [94.1, 0.1 + 0.2, 0.9, 94.4])  # 0.1, a tie, 0.1 and -0.1, but for rounding
    assert (found.wins, found.losses, found.ties, found.share_won) == (2, 1, 1, 0.625)
    assert found.wilcoxon == found.permutation == brute_force([1, 0, 1, -1]) == 1.0


def test_the_same_scores_are_not_different_and_a_constant_shift_has_no_t() -> None:
    same, shift = compare(FIRST, FIRST), compare(np.add(FIRST, 0.1), FIRST)
    assert (same.permutation, same.wilcoxon, same.t, same.effect, same.difference) == (1.0, 1.0, 1.0, None, 0.0)
    assert (shift.t, shift.effect, shift.deviation) == (None, None, 0.0)
    assert shift.p("t") == shift.permutation == shift.smallest_p == 0.0625


@pytest.mark.parametrize("n", [2, 3, 4, 8])
def test_no_exact_test_of_few_pairs_goes_below_its_floor(n: int) -> None:
    found = compare(np.arange(1.0, n + 1) ** 2, np.zeros(n))
    assert found.permutation == found.wilcoxon == found.smallest_p == 2 ** (1 - n)


def test_the_pairs_that_a_family_needs() -> None:
    for alpha, comparisons in [(0.05, 1), (0.05, 8), (0.01, 3), (0.25, 2)]:
        need = pairs_needed(alpha, comparisons)
        assert comparisons * 2.0 ** (1 - need) <= alpha < comparisons * 2.0 ** (2 - need)
    assert (pairs_needed(), pairs_needed(0.05, 8)) == (6, 9)


def test_the_exact_test_keeps_its_level() -> None:
    generator = np.random.default_rng(0)
    found = [compare(*generator.standard_t(2, size=(2, 7))) for _ in range(400)]
    for p in ([one.permutation for one in found], [one.wilcoxon for one in found]):
        assert 0.005 < np.mean(np.array(p) <= 0.05) < 0.085  # 4 standard errors; the attainable level is 6/128 or less


def test_hedges_factor_makes_the_effect_unbiased() -> None:
    closed = {2: 1 / math.sqrt(math.pi), 3: math.sqrt(math.pi / 6), 4: math.sqrt(2 / math.pi)}
    assert {freedom: hedges(freedom) for freedom in closed} == pytest.approx(closed)
    assert hedges(40) == pytest.approx(1 - 3 / (4 * 40 - 1), abs=1e-4)  # Hedges' own approximation
    draws = np.random.default_rng(3).normal(0.7, size=(800, 6))
    effects = [compare(row, np.zeros(6)).effect or 0.0 for row in draws]
    assert np.mean(effects) == pytest.approx(0.7, abs=4 * np.std(effects) / math.sqrt(800))
    assert compare([1.0, 3.0], [0.0, 0.0]).effect is None


def test_holm_gives_the_published_numbers() -> None:
    # statsmodels 0.15.0: multipletests([0.01, 0.04, 0.03, 0.005, 0.2], method="holm")[1]
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005, "e": 0.2})
    assert list(found) == list("abcde")
    assert list(found.values()) == pytest.approx([0.04, 0.09, 0.09, 0.025, 0.2])
    # Demšar 2006, 3.2.2: of C4.5's three variants against it, Holm rejects the first and the second, not the third
    z = {name: (3.143 - rank) / math.sqrt(4 * 5 / (6 * 14)) for name, rank in RANKS.items()}
    p = {name: 2 * stats.norm.sf(value) for name, value in z.items()}
    assert {name: round(value, 2) for name, value in p.items()} == {"m+cf": 0.02, "m": 0.02, "cf": 0.61}
    assert {name: value < 0.05 for name, value in holm(p).items()} == {"m+cf": True, "m": True, "cf": False}


RANKS = {"m+cf": 1.964, "m": 2.000, "cf": 2.893}


def test_a_family_against_a_baseline_is_corrected_as_a_whole() -> None:
    others = {"better": np.add(FIRST, [1, 2, 3, 4, 5]), "same": FIRST, "second": SECOND}
    found = {one.name: one for one in compare_to_baseline(FIRST, others)}
    assert {one.family for one in found.values()} == {3}
    assert {name: one.result for name, one in found.items()} == {n: compare(s, FIRST) for n, s in others.items()}
    assert found["better"].adjusted == found["better"].smallest == pytest.approx(3 / 16)
    assert found["second"].adjusted == pytest.approx(2 * compare(SECOND, FIRST).permutation)
    assert found["same"].adjusted == 1.0
    by_t = {one.name: one.adjusted for one in compare_to_baseline(FIRST, others, test="t")}
    assert by_t == holm({name: compare(scores, FIRST).p("t") for name, scores in others.items()})


def test_scores_are_matched_by_seed_and_what_has_no_partner_is_said() -> None:
    found = match({0: 0.1, 1: 0.2, 3: 0.4}, {3: 4.0, 1: 2.0, 2: 3.0})
    assert (found.keys, found.first, found.second) == ((1, 3), (0.2, 0.4), (2.0, 4.0))
    assert (found.only_first, found.only_second) == ((0,), (2,))


def test_two_samples_are_compared_as_scipy_does() -> None:
    a, b = [1.0, 2.0, 3.0, 7.0], [2.0, 4.0, 5.0, 6.0, 9.5]
    found, welch = compare_unpaired(a, b), stats.ttest_ind(a, b, equal_var=False)
    assert (found.n_first, found.n_second, found.difference) == (4, 5, pytest.approx(-2.05))
    assert found.welch == pytest.approx(welch.pvalue, rel=1e-12)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx(tuple(welch.confidence_interval()))
    # pingouin 0.7.0: compute_effsize(a, b, eftype="cohen")
    assert found.effect == pytest.approx(-0.7554201174387877 * hedges(7), rel=1e-9)
    assert found.superiority == pytest.approx(np.mean([(x > y) + (x == y) / 2 for x in a for y in b]))
    ways = [np.mean(w) - (35.5 + 4 - sum(w)) / 5 for w in itertools.combinations([*a, *b], 4)]
    below = sum(way <= found.difference + 1e-9 for way in ways) / len(ways)
    assert found.permutation == pytest.approx(2 * below)
    assert found.smallest_p == 2 / math.comb(9, 4)
    flat = compare_unpaired([1.0, 1.0], [2.0, 2.0])
    assert (flat.interval, flat.effect, flat.welch, flat.superiority) == (None, None, None, 0.0)


def test_relative_improvement_is_in_percent_of_random_search() -> None:
    found = relative_improvement([96.0, 98.0], [92.0, 94.0, 96.0])
    assert (found.value, found.n, found.n_random) == (pytest.approx(100 * 3 / 94), 2, 3)
    assert found.interval is not None
    assert 100 * 3 / 94 in found.interval
    assert "n = 2 and 3" in str(found)
    assert relative_improvement([96.0], [92.0, 94.0]).interval is None
    assert relative_improvement([1.0, 2.0], [0.1, 10.0]).interval is None  # a mean that may as well be 0


@pytest.mark.parametrize(("paired", "n", "m"), [(False, 3, 8), (False, 4, 4), (True, 4, 4)])
def test_the_interval_of_relative_improvement_covers(paired: bool, n: int, m: int) -> None:
    generator, hits, runs, narrow = np.random.default_rng(2), 0, 800, 0
    for _ in range(runs):
        seeds = generator.normal(size=max(n, m))
        a = 75 + 3 * seeds[:n] + generator.normal(size=n)
        r = 60 + 3 * seeds[:m] + generator.normal(size=m) if paired else 60 + 4 * generator.normal(size=m)
        found, unpaired = (relative_improvement(a, r, way).interval for way in (paired, False))
        assert found is not None
        assert unpaired is not None
        hits += 25.0 in found
        narrow += found.high - found.low < unpaired.high - unpaired.low
    assert hits / runs == pytest.approx(0.95, abs=0.035)
    assert (narrow > 0.7 * runs) == paired


def test_bad_input_gets_a_sentence() -> None:
    rows = [
        (lambda: compare([1.0, 2.0], [1.0]), "`second` to hold at least 2 numbers, but got 1"),
        (lambda: compare([1.0, 2.0, 3.0], [1.0, 2.0]), "the same length, but got 3 in `first` and 2 in `second`"),
        (lambda: compare([1.0, math.nan], [1.0, 2.0]), "`first` to be finite numbers, but got nan at place 2 of 2"),
        (lambda: compare_unpaired([1.0], [1.0, 2.0]), "`first` to hold at least 2"),
        (lambda: match({0: 1.0}, {1: 1.0}), r"share keys, such as seeds, but got \[0\] and \[1\]"),
        (lambda: holm({"a": 1.5}), "from 0 to 1, but got 1.5 for 'a'"),
        (lambda: holm({"a": math.nan}), "but got nan"),
        (lambda: pairs_needed(0.05, 0), "`comparisons` to be at least 1"),
        (lambda: relative_improvement([1.0], [-1.0]), "`random` to have a mean above 0, but got -1"),
        (lambda: relative_improvement([1.0, 2.0], [1.0], paired=True), "2 in `scores` and 1 in `random`"),
    ]

    def check(row: tuple[Any, str]) -> None:
        call, message = row
        with pytest.raises(ValueError, match=message):
            call()

    check_each(rows, check)
