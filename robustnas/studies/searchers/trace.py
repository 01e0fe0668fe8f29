"""What a baseline did: every architecture that it looked at, in order, with what that cost and what it saw."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from robustnas.spaces import Genotype

Evaluate = Callable[[Genotype, float], float]
"""Trains an architecture with a budget, or looks it up, and says how good it is: the higher the better."""


class Trial(NamedTuple):
    """An architecture that was evaluated.

    Attributes:
        genotype: The architecture.
        score: How good it was; minus infinity where that is no number.
        budget: What its evaluation was given, such as epochs.
        spent: Budgets of all trials so far, its own included.
    """

    genotype: Genotype
    score: float
    budget: float
    spent: float


@dataclass
class Trace:
    """The trials of a baseline in the order in which they were taken.

    Attributes:
        trials: All of them.
    """

    trials: list[Trial] = field(default_factory=list)

    def add(self, genotype: Genotype, score: float, budget: float) -> Trial:
        """Note a trial.

        Args:
            genotype: The architecture.
            score: How good it was.
            budget: What its evaluation was given.

        Returns:
            The trial.
        """
        spent = budget + (self.trials[-1].spent if self.trials else 0.0)
        self.trials.append(Trial(genotype, -math.inf if math.isnan(score) else float(score), budget, spent))
        return self.trials[-1]

    @property
    def incumbent(self) -> Trial:
        """The best trial among those with the largest budget, since scores after fewer epochs are of another kind.

        Of several that are equally good it is the first.

        Raises:
            ValueError: If nothing was tried.
        """
        return self.incumbents()[-1]

    def incumbents(self) -> list[Trial]:
        """The incumbent after each trial: the anytime curve, by ``spent`` of :attr:`trials`.

        Returns:
            A trial for each trial.

        Raises:
            ValueError: If nothing was tried.
        """
        if not self.trials:
            raise ValueError("Expected a trace with trials, but got an empty one.")
        best, found = self.trials[0], list[Trial]()
        for trial in self.trials:
            best = trial if (trial.budget, trial.score) > (best.budget, best.score) else best
            found.append(best)
        return found

    def to_json(self) -> list[dict[str, Any]]:
        """The trials as JSON can hold them; a score that is not finite is ``None``."""
        return [
            {**trial._asdict(), "genotype": str(trial.genotype), "score": _finite(trial.score)} for trial in self.trials
        ]


def _finite(score: float) -> float | None:
    return score if math.isfinite(score) else None
