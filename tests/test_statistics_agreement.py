"""Rank correlations and areas under the curve: scipy, scikit-learn, counting, and coverage by simulation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score
from tables import check_each

from robustnas.statistics import agreement, kendall, lead_time, separation, spearman

X = [0.1, 0.4, 0.4, 0.9, 0.3, 0.8, 0.7]
Y = [54.3, 90.1, 91.2, 94.3, 88.0, 91.2, 93.0]


@pytest.mark.parametrize(("measure", "reference"), [(kendall, stats.kendalltau), (spearman, stats.spearmanr)])
def test_a_correlation_is_that_of_scipy_with_ties_too(measure, reference) -> None:
    found = measure(X, Y)
    assert (found.n, found.value, found.p) == (7, *map(pytest.approx, reference(X, Y)))
    assert found.interval is not None
    assert -1 <= found.interval.low < found.value < found.interval.high <= 1
    assert found == measure(X, Y), "not the same every time"
    assert found.interval.method == "BCa bootstrap"


@pytest.mark.parametrize(
    ("fast", "reference"), [(agreement._taus, stats.kendalltau), (agreement._rhos, stats.spearmanr)]
)
def test_resampled_correlations_are_those_of_the_resamples(fast, reference) -> None:
    cases = np.random.default_rng(0).integers(0, 7, size=(20, 7))
    counts = np.array([np.bincount(row, minlength=7) for row in cases], dtype=float)
    slow = [reference(np.array(X)[row], np.array(Y)[row]).statistic for row in cases]
    assert fast(counts, np.array(X), np.array(Y)) == pytest.approx(np.array(slow))
    constant = np.array([[7.0, 0, 0, 0, 0, 0, 0]])
    assert fast(constant, np.array(X), np.array(Y)) == pytest.approx([0.0])


def test_few_cases_and_perfect_agreement_have_no_interval() -> None:
    assert kendall([1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0]).interval is None
    for measure in (kendall, spearman):
        found = measure(range(8), range(8))
        assert (found.value, found.interval) == (pytest.approx(1.0), None)
        assert measure(range(8), range(8, 0, -1)).interval is None


def test_the_intervals_of_correlations_cover(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "RESAMPLES", 399)
    generator, truth, hits = np.random.default_rng(1), 2 / math.pi * math.asin(0.7), []
    for _ in range(200):
        x = generator.normal(size=15)
        y = 0.7 * x + math.sqrt(1 - 0.49) * generator.normal(size=15)
        both = (kendall(x, y).interval, truth), (spearman(x, y).interval, 6 / math.pi * math.asin(0.35))
        hits.append([interval is not None and value in interval for interval, value in both])
    assert np.mean(hits, axis=0) == pytest.approx([0.96, 0.95], abs=0.05)


def test_an_area_is_the_share_of_pairs_in_order() -> None:
    bad, good = [0.9, 0.4, 0.7, 0.4], [0.1, 0.4, 0.8, 0.2, 0.3]
    found = separation(bad, good)
    assert found.value == pytest.approx(np.mean([(x > y) + (x == y) / 2 for x in bad for y in good]))
    assert found.value == pytest.approx(roc_auc_score([1] * 4 + [0] * 5, bad + good))
    assert found.p == pytest.approx(stats.mannwhitneyu(bad, good).pvalue)
    assert (found.n_bad, found.n_good) == (4, 5)
    assert separation(good, bad).value == pytest.approx(1 - found.value)
    mirrored = separation(good, bad).interval
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - found.interval.high, 1 - found.interval.low))


def test_an_indicator_that_is_always_right_still_has_an_interval() -> None:
    right, wrong = separation([3.0, 4.0, 5.0], [1.0, 2.0]), separation([1.0], [2.0, 3.0])
    assert (right.value, right.interval.high, wrong.value, wrong.interval.low) == (1.0, 1.0, 0.0, 0.0)
    assert 0.3 < right.interval.low < 0.7
    many = separation(np.arange(40.0) + 100, np.arange(60.0))
    assert right.interval.low < many.interval.low < 1.0
    assert "n = 3 bad and 2 good" in str(right)


def test_the_variance_of_an_area_is_that_of_exponential_scores() -> None:
    theta, n = 0.8, 12  # Hanley and McNeil 1982: P(X > Y) = θ with rates 1 - θ and θ
    generator = np.random.default_rng(0)
    x = generator.exponential(1 / (1 - theta), size=(4000, n, 1))
    y = generator.exponential(1 / theta, size=(4000, 1, n))
    areas = (x > y).mean(axis=(1, 2))
    assert areas.mean() == pytest.approx(theta, abs=0.01)
    assert areas.var() == pytest.approx(agreement.area_variance(theta, n, n), rel=0.1)


@pytest.mark.parametrize(("n", "m", "area"), [(9, 24, 0.97), (3, 5, 0.9), (5, 5, 0.5), (30, 30, 0.7)])
def test_the_interval_of_an_area_covers(n: int, m: int, area: float) -> None:
    generator, shift = np.random.default_rng(2), math.sqrt(2) * stats.norm.ppf(area)
    hits = [area in separation(generator.normal(shift, size=n), generator.normal(size=m)).interval for _ in range(300)]
    assert np.mean(hits) == pytest.approx(0.955, abs=0.045)


def test_lead_time_counts_hits_late_and_false_alarms() -> None:
    found = lead_time([10, 12, None, 30], [20, 16, 25, 25], [None, 40, None])
    assert (found.hits.count, found.hits.n, found.late) == (2, 4, 1)
    assert found.false is not None
    assert (found.false.count, found.false.n) == (1, 3)
    assert (found.median, found.earliest, found.latest) == (4.0, 10.0, -5.0)
    assert str(found) == "hit 2/4, late 1, false 1/3, lead +4 epochs"
    silent = lead_time([None], [20])
    assert (silent.hits.count, silent.false, silent.median, silent.earliest) == (0, None, None, None)
    assert lead_time([20], [20]).hits.count == 1, "an alarm at the event is in time"


def test_bad_input_gets_a_sentence() -> None:
    rows = [
        (lambda: kendall([1.0, 2.0, 3.0], [1.0, 2.0]), "3 in `x` and 2 in `y`"),
        (lambda: spearman([1.0, 2.0], [3.0, 3.0]), "`y` to hold at least two different values, but got only 3"),
        (lambda: kendall([1.0], [1.0]), "`x` to hold at least 2 numbers, but got 1"),
        (lambda: spearman([1.0, math.nan], [3.0, 4.0]), "`x` to be finite numbers, but got nan"),
        (lambda: separation([], [1.0]), "`bad` to hold at least 1 numbers, but got 0"),
        (lambda: separation([1.0], [math.nan]), "`good` to be finite"),
        (lambda: separation([1.0], [2.0], level=1.0), "`level` to be between 0 and 1"),
        (lambda: lead_time([], []), "`events` to hold at least 1"),
        (lambda: lead_time([1], [2, 3]), "1 in `alarms` and 2 in `events`"),
        (lambda: lead_time([math.nan], [2]), "`alarms` to be finite"),
    ]

    def check(row: tuple[Any, str]) -> None:
        call, message = row
        with pytest.raises(ValueError, match=message):
            call()

    check_each(rows, check)
