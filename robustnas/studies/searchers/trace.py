"""What a searcher evaluated: every architecture in order, with its score and its budget."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from robustnas.spaces import Genotype

Evaluate = Callable[[Genotype, float], float]
"""Trains an architecture with a budget, or looks it up, and returns its score; higher is better."""


class Observation(NamedTuple):
    """An architecture that was evaluated; ``spent`` sums the budgets, such as epochs, of all observations so far."""

    genotype: Genotype
    score: float  # minus infinity where that is no number
    budget: float
    spent: float


@dataclass
class Trace:
    """The observations of a searcher, in the order in which they were made."""

    observations: list[Observation] = field(default_factory=list)

    def add(self, genotype: Genotype, score: float, budget: float) -> Observation:
        """Append an observation, and return it."""
        spent = budget + (self.observations[-1].spent if self.observations else 0)
        self.observations.append(Observation(genotype, -math.inf if math.isnan(score) else float(score), budget, spent))
        return self.observations[-1]

    @property
    def incumbent(self) -> Observation:
        """The best observation of the largest budget, the first of equals; a ``ValueError`` if there is none."""
        return self.incumbents()[-1]

    def incumbents(self) -> list[Observation]:
        """Return the incumbent after each observation: the anytime curve, over ``spent`` of :attr:`observations`.

        Raises:
            ValueError: If there is none.
        """
        if not self.observations:
            raise ValueError("Expected a trace with observations, but got an empty one.")
        best, found = self.observations[0], list[Observation]()
        for one in self.observations:
            best = one if (one.budget, one.score) > (best.budget, best.score) else best
            found.append(best)
        return found

    def to_json(self) -> list[dict[str, Any]]:
        """The observations as JSON can hold them; a score that is not finite is ``None``."""
        return [
            {**one._asdict(), "genotype": str(one.genotype), "score": one.score if math.isfinite(one.score) else None}
            for one in self.observations
        ]
