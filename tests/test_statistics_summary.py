"""Means with intervals against scipy, their coverage by simulation, and a best that never comes without its n."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats
from tables import check_each

from robustnas.statistics import Best, deviation_interval, mean_interval, proportion, summarise
from robustnas.statistics import intervals as intervals_module
from robustnas.statistics.intervals import BOOTSTRAP_FROM, bootstrap_interval, t_interval

SCORES = [94.1, 93.7, 93.9, 92.8, 93.0]


def test_a_summary_is_that_of_scipy() -> None:
    found = summarise(SCORES, missing=2)
    assert (found.n, found.missing, found.count) == (5, 2, "n = 5 of 7")
    assert found.mean == pytest.approx(93.5, rel=1e-12)
    assert found.deviation == pytest.approx(stats.tstd(SCORES), rel=1e-12)
    low, high = stats.t.interval(0.95, 4, loc=93.5, scale=stats.sem(SCORES))
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high), rel=1e-12)
    assert (found.interval.level, found.interval.method) == (0.95, "t")
    assert (found.best, found.worst) == (Best(94.1, 5), Best(92.8, 5, "worst"))


def test_a_single_score_has_no_spread_and_no_interval() -> None:
    found = summarise([0.5])
    assert (found.n, found.mean, found.deviation, found.interval) == (1, 0.5, None, None)
    assert str(found) == "0.5, n = 1"


def test_of_losses_the_lowest_is_best() -> None:
    found = summarise([0.3, 0.1, 0.2], higher_is_better=False)
    assert (found.best.value, found.worst.value) == (0.1, 0.3)


def test_a_best_is_never_printed_without_its_n() -> None:
    best = summarise(SCORES).best
    assert str(best) == f"{best}" == "94.1 (best of 5)"
    assert f"{best:.2f}" == "94.10 (best of 5)"
    assert "(worst of 5)" in f"{summarise(SCORES).worst:.1f}"
    assert "best of 5" not in (text := f"{summarise(SCORES):.2f}")
    assert text == "93.50 ± 0.57, 92.79 to 94.21 (95 %, t), n = 5"
    with pytest.raises(TypeError):
        float(best)  # type: ignore[arg-type]


def test_the_bootstrap_takes_over_from_twenty_scores_and_says_so() -> None:
    scores = np.random.default_rng(0).exponential(size=BOOTSTRAP_FROM)
    few, many = mean_interval(scores[:-1]), mean_interval(scores)
    assert (few.method, many.method) == ("t", "BCa bootstrap")
    assert many == mean_interval(scores), "not the same every time"
    reference = stats.bootstrap((scores,), np.mean, n_resamples=20_000, rng=7).confidence_interval
    assert (many.low, many.high) == pytest.approx((reference.low, reference.high), abs=0.02)
    assert many.high - scores.mean() > scores.mean() - many.low, "skewed scores have a skewed interval"


def test_scores_that_are_all_one_have_an_interval_of_no_width() -> None:
    for n in (2, BOOTSTRAP_FROM):
        found = mean_interval([0.1] * n)
        assert (found.low, found.high) == pytest.approx((0.1, 0.1))


def coverage(interval, draw, truth: float, n: int, runs: int) -> float:
    generator = np.random.default_rng(1)
    return sum(truth in interval(draw(generator, n)) for _ in range(runs)) / runs


def normal(generator: np.random.Generator, n: int) -> np.ndarray:
    return generator.normal(size=n)


def exponential(generator: np.random.Generator, n: int) -> np.ndarray:
    return generator.exponential(size=n)


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_few_normal_scores_are_covered_as_claimed(n: int) -> None:
    runs = 1000
    assert coverage(mean_interval, normal, 0.0, n, runs) == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / runs))


def test_the_bootstrap_covers_as_its_table_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals_module, "RESAMPLES", 999)
    error = 4 * math.sqrt(0.25 / 400)
    for n, draw, truth, stated in [(3, normal, 0.0, 0.70), (10, exponential, 1.0, 0.86), (20, normal, 0.0, 0.94)]:
        assert coverage(bootstrap_interval, draw, truth, n, 400) == pytest.approx(stated, abs=error), (n, draw)
    assert coverage(bootstrap_interval, normal, 0.0, 3, 400) < 0.8 < coverage(t_interval, normal, 0.0, 3, 400)


def test_the_interval_of_a_deviation_covers() -> None:
    assert coverage(deviation_interval, normal, 1.0, 4, 1000) == pytest.approx(0.95, abs=0.03)
    found = deviation_interval([1.0, 2.0, 3.0])  # s = 1, so sqrt(2 / chi2.ppf([0.975, 0.025], 2)), with chi2 in tables
    assert (found.low, found.high) == pytest.approx((math.sqrt(2 / 7.378), math.sqrt(2 / 0.0506)), rel=1e-3)


def test_a_share_has_the_interval_of_statsmodels() -> None:
    # statsmodels 0.15.0: proportion_confint(9, 9, method="wilson"), and of 3 in 24
    whole, some = proportion(9, 9), proportion(3, 24)
    assert (whole.interval.low, whole.interval.high) == pytest.approx((0.7008549515804557, 1.0))
    assert (some.interval.low, some.interval.high) == pytest.approx((0.04344334080123441, 0.31003881270500083))
    assert (some.share, str(some)) == (0.125, "3/24")


def test_bad_input_gets_a_sentence() -> None:
    rows = [
        (lambda: summarise([]), "`scores` to hold at least 1 numbers, but got 0"),
        (lambda: summarise([1.0, math.nan, 2.0]), r"got nan at place 2 of 3; leave out runs without a score and count"),
        (lambda: summarise([1.0, math.inf]), "finite numbers, but got inf"),
        (lambda: summarise(["good"]), "to be a list of numbers"),  # type: ignore[list-item]
        (lambda: summarise([1.0], missing=-1), "`missing` to be at least 0, but got -1"),
        (lambda: summarise([1.0, 2.0], level=95), "`level` to be between 0 and 1, but got 95"),
        (lambda: mean_interval([1.0]), "at least 2 numbers, but got 1"),
        (lambda: bootstrap_interval([1.0, 2.0], level=0), "`level`"),
        (lambda: proportion(3, 2), "from 0 to `n`, at least 1, but got 3 of 2"),
        (lambda: proportion(0, 0), "got 0 of 0"),
    ]

    def check(row: tuple[Any, str]) -> None:
        call, message = row
        with pytest.raises(ValueError, match=message):
            call()

    check_each(rows, check)
