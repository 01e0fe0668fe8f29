"""The record of a searcher: each evaluation is written at once, so that none is paid for twice."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robustnas.analysis.metrics import TRUE_ACCURACY
from robustnas.runs.record import read_json, write_json
from robustnas.spaces import Genotype
from robustnas.studies.searchers.trace import Evaluate, Trace
from robustnas.studies.study_table import StudyTable

SCHEMA = 2
FILE = "trace.json"


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
