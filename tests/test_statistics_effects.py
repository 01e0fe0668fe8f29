"""Effects of parts against statsmodels and cell means; power against statsmodels, tables and simulation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats
from tables import check_each

from robustnas.statistics import (
    compare,
    compare_to_baseline,
    factorial,
    power,
    power_note,
    seeds_needed,
    smallest_difference,
)
from robustnas.statistics.power import MAX_SEEDS

SCORES = [94.1, 93.7, 93.9, 92.8, 93.0, 94.4, 94.6, 93.1, 91.9, 92.5, 93.3, 94.9, 93.6, 92.2]
VARIANT = ["darts"] * 6 + ["gdas"] * 5 + ["sdarts"] * 3
PRUNED = ["off", "off", "on", "on", "on", "off", "on", "off", "off", "on", "on", "on", "off", "off"]
SEED = [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1]
LEVELS = {"variant": VARIANT, "pruned": PRUNED}

# statsmodels 0.15.0: anova_lm(smf.ols("y ~ C(variant, Sum) * C(pruned, Sum) + C(seed, Sum)", ...).fit(), typ=3), then
# without seeds, then without the interaction too: sum of squares, F and p of each term.
ANOVA = {
    "seeds": {
        "variant": (1.5689248110, 1.0172946830, 0.4164498349),
        "pruned": (1.1673251943, 1.5137930195, 0.2646066400),
        "variant:pruned": (3.7811680093, 2.4517185810, 0.1666339450),
    },
    "no seeds": {
        "variant": (1.8234323432, 1.4946166748, 0.2808603069),
        "pruned": (1.5170370370, 2.4869459624, 0.1534452284),
        "variant:pruned": (4.3704950495, 3.5823729914, 0.0774496372),
    },
    "main": {
        "variant": (1.1323620934, 0.6120548615, 0.5613587316),
        "pruned": (0.4591716172, 0.4963751828, 0.4971769445),
    },
}
# The same fit's t_test of contrasts of its cell means: effect, interval and p.
CONTRASTS = {
    ("gdas",): (-0.6402684563758374, -1.96342764, 0.68289072, 0.28117138119802443),
    ("sdarts",): (0.21979865771807816, -1.38391533, 1.82351264, 0.748765728968581),
    ("on",): (0.6432513049962871, -0.63602911, 1.92253172, 0.26460663997714734),
    ("gdas", "on"): (1.7776286353467796, -1.05713623, 4.6123935, 0.17582633774738082),
    ("sdarts", "on"): (2.6521252796420782, -0.89187731, 6.19612787, 0.1168056768033552),
}


@pytest.mark.parametrize(
    ("case", "blocks", "order", "freedom", "deviation"),
    [
        ("seeds", SEED, 2, 6, 0.8781378168341281),
        ("no seeds", None, 2, 8, 0.7810249675906633),
        ("main", None, 1, 10, 0.9617949391374929),
    ],
)
def test_the_analysis_of_an_unbalanced_design_is_that_of_statsmodels(case, blocks, order, freedom, deviation) -> None:
    found = factorial(SCORES, LEVELS, blocks, order)
    assert (found.n, found.freedom, found.deviation) == (14, freedom, pytest.approx(deviation, rel=1e-9))
    assert {term.name: (term.squares, term.f, term.p) for term in found.terms} == {
        name: pytest.approx(values, rel=1e-8) for name, values in ANOVA[case].items()
    }
    for term in found.terms:
        assert term.freedom == {"variant": 2, "pruned": 1, "variant:pruned": 2}[term.name]
        assert term.partial == pytest.approx(term.f * term.freedom / (term.f * term.freedom + freedom))


def test_effects_are_contrasts_with_intervals_of_statsmodels() -> None:
    found = {effect.levels: effect for effect in factorial(SCORES, LEVELS, SEED).effects}
    assert list(found) == list(CONTRASTS)
    for levels, (value, low, high, p) in CONTRASTS.items():
        effect = found[levels]
        got = (effect.value, effect.interval.low, effect.interval.high, effect.p)
        assert got == pytest.approx((value, low, high, p), rel=1e-7), levels
    assert {levels: effect.n for levels, effect in found.items()} == {
        ("gdas",): 5,
        ("sdarts",): 3,
        ("on",): 7,
        ("gdas", "on"): 3,
        ("sdarts", "on"): 1,
    }


def test_effects_of_a_balanced_two_level_design_are_differences_of_means() -> None:
    generator = np.random.default_rng(0)
    grid = [(a, b, c, s) for a in "01" for b in "01" for c in "01" for s in range(3)]
    y = np.array([2 * (a == "1") - (b == "1") + 3 * (a == c == "1") + 5 * s for a, b, c, s in grid])
    y = y + generator.normal(0, 0.1, len(y))
    a, b, c, seeds = (np.array(column) for column in zip(*grid, strict=True))
    found = factorial(y, {"a": list(a), "b": list(b), "c": list(c)}, list(seeds), order=3)
    effects = {effect.factors: effect for effect in found.effects}
    cell = {(i, j): y[(a == i) & (c == j)].mean() for i in "01" for j in "01"}
    assert found.mean == pytest.approx(y.mean())
    assert effects["a",].value == pytest.approx(y[a == "1"].mean() - y[a == "0"].mean())
    assert effects["b",].value == pytest.approx(y[b == "1"].mean() - y[b == "0"].mean())
    assert effects["a", "c"].value == pytest.approx(
        (cell["1", "1"] - cell["0", "1"]) - (cell["1", "0"] - cell["0", "0"])
    )
    assert effects["a", "c"].value == pytest.approx(3, abs=0.3)
    assert effects["a", "c"].p < 1e-6 < effects["a", "b"].p
    assert len(effects) == 7
    assert found.deviation < 0.2, "what differs between seeds is no noise"
    assert factorial(y, {"a": list(a), "b": list(b), "c": list(c)}, order=3).deviation > 3


def test_a_factor_of_two_levels_with_seeds_as_blocks_is_the_paired_test() -> None:
    first, second = np.random.default_rng(1).normal([[0.3], [0.0]], 1.0, size=(2, 5))
    found = factorial([*second, *first], {"part": ["off"] * 5 + ["on"] * 5}, [*range(5)] * 2, order=1)
    paired = compare(first, second)
    (effect,), (term,) = found.effects, found.terms
    assert (effect.value, effect.p, term.p) == pytest.approx((paired.difference, paired.t, paired.t))
    assert (effect.interval.low, effect.interval.high) == pytest.approx((paired.interval.low, paired.interval.high))


def test_scores_without_noise_are_told_as_such() -> None:
    found = factorial([1.0, 1.0, 3.0, 3.0], {"a": ["x", "x", "y", "y"]}, order=1)
    assert (found.effects[0].value, found.effects[0].p, found.terms[0].f) == (pytest.approx(2.0), 0.0, math.inf)
    assert factorial([2.0] * 4, {"a": ["x", "x", "y", "y"]}, order=1).effects[0].p == 1.0


def test_parts_left_out_are_paired_with_the_full_method() -> None:
    full = [94.0, 94.5, 93.5, 94.2, 94.1, 93.9]
    cells = {"perturbation": np.subtract(full, [1, 2, 1, 3, 2, 1]), "pruning": np.add(full, [0.1, -0.1, 0, 0, 0.1, 0])}
    found = {one.name: one for one in compare_to_baseline(full, cells)}
    assert found["perturbation"].result == compare(cells["perturbation"], full)
    assert found["perturbation"].result.difference == pytest.approx(-10 / 6)
    assert found["perturbation"].adjusted == pytest.approx(2 * 2 / 64)
    assert found["pruning"].adjusted == pytest.approx(compare(cells["pruning"], full).permutation)


# statsmodels 0.15.0: TTestPower().power(d, n, alpha)
@pytest.mark.parametrize(
    ("d", "n", "alpha", "reached"),
    [
        (0.5, 34, 0.05, 0.8077775013),
        (0.2, 199, 0.05, 0.801691024),
        (0.8, 15, 0.05, 0.8213105387),
        (1.0, 3, 0.05, 0.1792553938),
        (2.0, 5, 0.01, 0.5471761893),
    ],
)
def test_power_is_that_of_statsmodels(d: float, n: int, alpha: float, reached: float) -> None:
    assert power(d, 1.0, n, alpha) == pytest.approx(reached, abs=1e-8)
    assert power(-3 * d, 3.0, n, alpha) == pytest.approx(reached, abs=1e-8)


# statsmodels 0.15.0: TTestPower().solve_power(nobs=n, power=0.8, alpha=0.05)
@pytest.mark.parametrize(
    ("n", "d"), [(3, 3.264043552819638), (5, 1.6819970833), (10, 0.9960019107), (34, 0.4950291315)]
)
def test_the_smallest_difference_is_that_of_statsmodels(n: int, d: float) -> None:
    found = smallest_difference(1.0, n)
    assert found == pytest.approx(d, rel=1e-5)
    assert power(found, 1.0, n) == pytest.approx(0.8, abs=1e-8)
    assert smallest_difference(0.2, n) == pytest.approx(0.2 * found, rel=1e-9)
    assert smallest_difference(0.0, n) == 0.0


@pytest.mark.parametrize(("d", "n"), [(0.2, 199), (0.5, 34), (0.8, 15), (2.0, 5)])
def test_the_seeds_needed_are_those_of_the_tables(d: float, n: int) -> None:
    assert seeds_needed(d, 1.0) == seeds_needed(-2 * d, 2.0) == n
    assert power(d, 1.0, n - 1) < 0.8 <= power(d, 1.0, n)


def test_power_is_the_share_of_simulated_studies_that_find_the_difference() -> None:
    draws = np.random.default_rng(0).normal(1.2, 1.0, size=(20_000, 4))
    found = float((stats.ttest_1samp(draws, 0.0, axis=1).pvalue < 0.05).mean())
    assert power(1.2, 1.0, 4) == pytest.approx(found, abs=0.015)
    assert power(0.0, 1.0, 4) == pytest.approx(0.05)
    assert [power(d, 1.0, 3) for d in (50.0, 1e4, 1e12)] == pytest.approx([1.0] * 3, abs=1e-3)


def test_the_note_says_which_differences_are_missed() -> None:
    said = power_note(0.2, 3)
    assert f"{said:.2f}" == (
        "With 3 seeds, differences below 0.65 are usually missed (paired t test at 5 %, power 80 %, "
        "standard deviation of the differences 0.20)."
    )
    assert said.difference == smallest_difference(0.2, 3)


def test_bad_input_gets_a_sentence() -> None:
    rows = [
        (lambda: factorial([1.0, 2.0], {}), "`order` to be from 1 to the 0 factors, but got 2|at least one factor"),
        (lambda: factorial([1.0, 2.0], {"a": ["x", "y"]}), "`order` to be from 1 to the 1 factors, but got 2"),
        (lambda: factorial([1.0, 2.0], {"a": ["x"]}, order=1), r"`levels\['a'\]` to hold 2 levels, .* but got 1"),
        (lambda: factorial([1.0, 2.0], {"a": ["x", "x"]}, order=1), r"at least two levels, but got \{'x'\}"),
        (lambda: factorial([1.0, 2.0], {"a": ["x", "y"]}, [0], 1), "`blocks` to hold 2 entries, .* but got 1"),
        (lambda: factorial([1.0, 2.0], {"a": ["x", "y"]}, order=1), "more runs than the 2 coefficients, .* but got 2"),
        (
            lambda: factorial([1.0, 2.0, 3.0, 4.0, 5.0], {"a": list("xxyyy"), "b": list("uuvvv")}, order=1),
            "enough combinations to estimate 3 coefficients",
        ),
        (lambda: factorial([1.0, math.nan], {"a": ["x", "y"]}, order=1), "got nan at place 2 of 2"),
        (lambda: compare_to_baseline([1.0, 2.0], {"a": [1.0, 2.0, 3.0]}), "3 in `first` and 2 in `second`"),
        (lambda: power(1.0, 0.0, 3), "`deviation` to be a number above 0, but got 0.0"),
        (lambda: power(1.0, 1.0, 1), "`n` to be at least 2, but got 1"),
        (lambda: smallest_difference(1.0, 3, probability=0.01), "above the level 0.05, but got 0.01"),
        (lambda: seeds_needed(1e-6, 1.0), f"detectable with {MAX_SEEDS:,} seeds, but got 1e-06"),
        (lambda: power_note(math.nan, 3), "`deviation` to be a number above 0, but got nan"),
    ]

    def check(row: tuple[Any, str]) -> None:
        call, message = row
        with pytest.raises(ValueError, match=message):
            call()

    check_each(rows, check)
