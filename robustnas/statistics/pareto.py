"""The Pareto front: what no other has both for less and better."""

from __future__ import annotations

import math
from collections.abc import Sequence


def pareto_front(costs: Sequence[float], scores: Sequence[float], higher_is_better: bool = True) -> list[int]:
    """Return the places of points that no other point dominates, the cheapest first.

    A point dominates another if it costs no more and scores no worse, and one of both is strictly better. Equal points
    do not dominate each other.

    Args:
        costs: Cost of each point, ``[n]``; less is better.
        scores: Score of each point, ``[n]``.
        higher_is_better: Whether more of the score is better.

    Raises:
        ValueError: If there is another number of costs than of scores, or one of them is not finite.
    """
    if len(costs) != len(scores):
        raise ValueError(f"Expected `costs` and `scores` to be as many, but got {len(costs)} and {len(scores)}.")
    if not all(math.isfinite(value) for value in (*costs, *scores)):
        raise ValueError("Expected `costs` and `scores` to be finite numbers, but got others.")
    sign = 1.0 if higher_is_better else -1.0
    order = sorted(range(len(costs)), key=lambda place: (costs[place], -sign * scores[place]))
    front, best, cost_of_best = list[int](), -math.inf, math.nan
    for place in order:
        value = sign * scores[place]
        if value > best or (value == best and costs[place] == cost_of_best):
            front.append(place)
            best, cost_of_best = value, costs[place]
    return front
