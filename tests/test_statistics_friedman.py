"""Friedman's p-value against published tables, every order of the ranks, and scipy; it is never 0."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from scipy import stats

from robustnas.statistics import friedman, rank
from robustnas.statistics.ranks import exact_p, sampled_p

# Statistic and chance of one as large, by methods and tasks: Siegel, "Nonparametric Statistics", 1956, table N.
PUBLISHED: dict[tuple[int, int], dict[float, float]] = {
    (3, 2): {0: 1.0, 1: 0.833, 3: 0.5, 4: 0.167},
    (3, 3): {0: 1.0, 0.667: 0.944, 2: 0.528, 2.667: 0.361, 4.667: 0.194, 6: 0.028},
    (3, 4): {0.5: 0.931, 2: 0.431, 4.5: 0.125, 6: 0.069, 6.5: 0.042, 8: 0.0046},
    (3, 5): {5.2: 0.093, 6.4: 0.039, 7.6: 0.024, 8.4: 0.0085, 10: 0.00077},
    (4, 2): {0.6: 0.958, 5.4: 0.167, 6: 0.042},
    (4, 3): {7.4: 0.033, 8.2: 0.017, 9: 0.0017},
    (4, 4): {7.5: 0.052, 7.8: 0.036, 8.1: 0.033, 9.3: 0.012, 12: 0.000072},
}


def places(scores: np.ndarray) -> np.ndarray:
    return stats.rankdata(scores, axis=1)


def every_order(ranked: np.ndarray) -> float:
    """The p-value by counting all orders of the ranks of all tasks, equal ones as often as they come."""
    center = (ranked.shape[1] + 1) / 2
    observed = ((ranked.sum(0) - center * len(ranked)) ** 2).sum()
    found = [
        ((np.sum(orders, axis=0) - center * len(ranked)) ** 2).sum() >= observed - 1e-9
        for orders in product(*(list(permutations(row)) for row in ranked.tolist()))
    ]
    return float(np.mean(found))


@pytest.mark.parametrize(("k", "n"), PUBLISHED)
def test_the_published_tables_come_out(k: int, n: int) -> None:
    orders = [np.array(order) for order in permutations(range(1, k + 1))]
    found: dict[float, float] = {}
    for chosen in product(orders, repeat=n - 1) if len(orders) ** (n - 1) < 3000 else drawn(orders, n):
        test = friedman(np.array([orders[0], *chosen], dtype=float))
        assert test.source == "exact"
        found[round(test.chi_squared, 3)] = test.p
    for statistic, chance in PUBLISHED[k, n].items():
        assert found[statistic] == pytest.approx(chance, abs=6e-4 if chance > 0.01 else chance / 15), statistic


def drawn(orders: list[np.ndarray], n: int) -> list[tuple[np.ndarray, ...]]:
    """Some of the many orders: all that are alike but for the last tasks, and random ones."""
    generator = np.random.default_rng(0)
    alike = [(*(orders[0] for _ in range(n - 3)), *last) for last in product(orders, repeat=2)]
    return alike + [tuple(orders[i] for i in generator.integers(len(orders), size=n - 1)) for _ in range(300)]


@pytest.mark.parametrize(
    "scores",
    [
        [[1, 2, 3], [1, 2, 3], [1, 3, 2], [2, 3, 1]],
        [[1, 1, 3], [1, 2, 2], [1, 2, 3], [4, 4, 4]],
        [[1, 2, 3, 4], [1, 2, 4, 3], [1, 4, 3, 2]],
        [[1, 1, 2, 2], [1, 2, 2, 2], [1, 2, 3, 3]],
        [[1, 2], [1, 2], [1, 2], [1, 2], [2, 1]],
        [[5, 5, 5], [5, 5, 5]],
    ],
    ids=str,
)
def test_every_order_is_counted_with_ties(scores: list[list[int]]) -> None:
    ranked = places(np.array(scores))
    assert friedman(ranked).p == pytest.approx(every_order(ranked), rel=1e-12)


def test_random_orders_are_as_likely_as_all_of_them() -> None:
    generator = np.random.default_rng(3)
    for size in ((4, 4), (6, 3), (5, 5)):
        ranked = places(generator.integers(0, 5, size=size) + np.arange(size[1]) / 2)
        deviations = np.rint(2 * ranked - (size[1] + 1)).astype(np.int64)
        exact, draws = exact_p(deviations), 20_000
        assert exact is not None
        assert abs(sampled_p(deviations, draws) - exact) < 4 * (exact * (1 - exact) / draws) ** 0.5 + 1 / draws


def test_two_methods_are_the_sign_test() -> None:
    for wins in range(5, 10):
        ranked = np.array([[1.0, 2.0]] * wins + [[2.0, 1.0]] * (9 - wins))
        assert friedman(ranked).p == pytest.approx(stats.binomtest(wins, 9).pvalue, rel=1e-12)


def test_the_level_is_kept_where_approximations_exceed_it() -> None:
    generator = np.random.default_rng(4)
    found = [friedman(places(generator.normal(size=(3, 4)))) for _ in range(4000)]
    for level in (0.01, 0.05, 0.1):
        error = 4 * (level * (1 - level) / len(found)) ** 0.5
        assert np.mean([test.p <= level for test in found]) <= level + error
    assert np.mean([test.f_p <= 0.05 for test in found]) > 0.06, "Iman and Davenport's reject too often"


@pytest.mark.parametrize(
    ("n", "k", "source"), [(3, 3, "exact"), (40, 3, "exact"), (4, 13, "sampled"), (60, 9, "sampled"), (3000, 5, "F")]
)
def test_a_p_value_is_never_zero_and_says_where_it_is_from(n: int, k: int, source: str) -> None:
    alike = friedman(np.tile(np.arange(1.0, k + 1), (n, 1)))
    assert (alike.source, alike.f_p) == (source, 0.0)
    assert 0 < alike.p < 0.03
    assert 0 < alike.smallest <= alike.p
    assert (alike.error > 0) == (source == "sampled")
    noise = friedman(places(np.random.default_rng(5).normal(size=(n, k))))
    assert n == 3 or noise.p == pytest.approx(noise.chi_squared_p, abs=0.1)
    again = friedman(places(np.random.default_rng(5).normal(size=(n, k))))
    assert again == noise, "random orders are seeded"


def test_no_pair_differs_where_friedmans_test_does_not_reject() -> None:
    ahead = {"a": [1.0, 2.0, 3.0, 4.0], "b": [0.0, 0.0, 0.0, 0.0]}
    found = rank(ahead)
    assert found.friedman.p == pytest.approx(0.125)
    assert found.ranks["b"] - found.ranks["a"] >= found.critical_difference, (
        "Nemenyi's test alone would tell them apart"
    )
    assert not found.differ("a", "b")
    assert found.cliques == (("a", "b"),)
    six = rank({"a": [1.0] * 6, "b": [0.0] * 6})
    assert six.differ("a", "b")
    assert six.cliques == ()
