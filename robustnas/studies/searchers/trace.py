"""What a searcher evaluated, in order; ``trace.json`` holds it, written at once, so that nothing is paid for twice."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from robustnas.analysis.metrics import TRUE_ACCURACY
from robustnas.runs.record import read_json, write_json
from robustnas.spaces import Genotype
from robustnas.studies.study_table import StudyTable

SCHEMA = 2
FILE = "trace.json"

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
        """The incumbent after each observation: the anytime curve over ``spent``; a ``ValueError`` if there is none."""
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


@dataclass
class Ledger:
    """A searcher's observations in ``trace.json``, which answer one that asks again in the same order."""

    folder: Path
    about: dict[str, Any]  # what else the file holds: baseline, unit of budgets, planned budget and metric
    table: StudyTable | None = None  # for the true accuracy of each architecture; nothing selects by it
    rows: list[dict[str, Any]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        if (self.folder / FILE).is_file():
            self.rows = read_json(self.folder / FILE)["observations"]

    def recorded(self, evaluate: Callable[[Genotype, float, int], float], keep: bool) -> Evaluate:
        """An evaluation that answers from the file where it can, and records new scores, at once if ``keep`` is set."""
        asked = itertools.count()

        def recall_or_evaluate(genotype: Genotype, budget: float) -> float:
            number = next(asked)
            if number < len(self.rows) and self.rows[number]["genotype"] == str(genotype):
                score = self.rows[number]["score"]
                return -math.inf if score is None else float(score)
            del self.rows[number:]
            since = time.perf_counter()
            score = evaluate(genotype, budget, number)
            self._append(genotype, score, budget, time.perf_counter() - since)
            if keep:
                self.write()
            return score

        return recall_or_evaluate

    def take(self, trace: Trace) -> None:
        """Record the observations of a whole trace instead of what there was."""
        self.rows = []
        for one in trace.observations:
            self._append(one.genotype, one.score, one.budget, None)
        self.write()

    def write(self) -> None:
        """Write the file."""
        write_json(self.folder / FILE, {"schema": SCHEMA, **self.about, "observations": self.rows})

    def _append(self, genotype: Genotype, score: float, budget: float, seconds: float | None) -> None:
        spent = budget + (self.rows[-1]["spent"] if self.rows else 0)
        truth = {} if self.table is None else {TRUE_ACCURACY.name: self.table.truth(genotype)["accuracy"]}
        self.rows.append({
            "genotype": str(genotype), "score": score if math.isfinite(score) else None, "budget": budget,
            "spent": spent, "seconds": seconds, **truth,
        })  # fmt: skip
