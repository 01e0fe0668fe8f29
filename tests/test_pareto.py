"""The Pareto front against its definition, over all pairs."""

from __future__ import annotations

import random

import pytest

from robustnas.statistics import pareto_front


def by_definition(costs: list[float], scores: list[float], sign: float) -> set[int]:
    places = range(len(costs))
    return {
        one
        for one in places
        if not any(
            costs[other] <= costs[one]
            and sign * scores[other] >= sign * scores[one]
            and (costs[other] < costs[one] or sign * scores[other] > sign * scores[one])
            for other in places
        )
    }


@pytest.mark.parametrize("higher", [True, False])
def test_it_is_what_nothing_dominates(higher: bool) -> None:
    draw = random.Random(0)
    for size in range(12):
        for _ in range(40):
            costs, scores = ([float(draw.randrange(5)) for _ in range(size)] for _ in range(2))  # with many ties
            front = pareto_front(costs, scores, higher)
            assert set(front) == by_definition(costs, scores, 1.0 if higher else -1.0)
            assert len(set(front)) == len(front)
            assert [costs[place] for place in front] == sorted(costs[place] for place in front)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected `costs` and `scores` to be as many, but got 1 and 2"):
        pareto_front([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="Expected `costs` and `scores` to be finite numbers"):
        pareto_front([1.0], [float("nan")])
