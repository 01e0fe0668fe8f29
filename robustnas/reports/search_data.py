"""What a report shows of a run, read once from its folder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustnas.analysis import History, Verdict, judge
from robustnas.analysis.history import part
from robustnas.analysis.measures import measures
from robustnas.analysis.metrics import TRUE_ACCURACY, VAL_LOSS
from robustnas.analysis.registry import find, scores
from robustnas.runs.record import Run, read_json
from robustnas.runtime.csv_files import read_csv
from robustnas.spaces import SearchSpace


@dataclass(frozen=True, eq=False)
class SearchData:
    """A run as far as it got."""

    folder: Path  #: as it was given
    history: History
    verdict: Verdict
    found: Mapping[str, Mapping[int, float]]  #: every series, logged or computed from α and the genotypes
    manifest: Mapping[str, Any]  #: versions, hardware, data and arguments; empty where they were not recorded
    seconds: float | None  #: time of its epochs, where that was recorded
    test: Mapping[str, float] | None  #: metrics of its evaluation on the test set
    truth: Mapping[str, float] | None  #: true accuracy and rank of its result, and of how many, where a table knows it

    @classmethod
    def read(cls, folder: str | Path, space: SearchSpace | str | None = None) -> SearchData:
        """Read a run, finished or not, with diagnostics or without; ``space`` is by default that of the run."""
        history, run = History.of_run(folder, space), Run(Path(folder))
        return cls(
            run.path, history, judge(history), measures(history),
            run.manifest if (run.path / "manifest.json").exists() else {},
            _seconds(run.path / "metrics.csv"), _test(run.path / "evaluation" / "test.json"),
            _truth(run.path / "truth.json"),
        )  # fmt: skip

    @property
    def variant(self) -> str:
        """Name of the method, empty where that is not known."""
        return str(part(self.manifest, "module", "class_path") or "").rpartition(".")[2]

    @property
    def data(self) -> str:
        """Name of the data, empty where that is not known."""
        return str(part(self.manifest, "data", "source") or "")

    @property
    def epochs(self) -> str:
        """How many epochs are finished, of how many."""
        done, planned = len(self.history.epochs), self.history.planned
        return f"{done} of {planned}" if planned else str(done)

    @property
    def span(self) -> tuple[int, int]:
        """First and last epoch."""
        return self.history.epochs[0], self.history.epochs[-1]

    @property
    def quality(self) -> str | None:
        """The score on the validation data, ``None`` where only the loss is known."""
        measured = [name for name in self.found if name.startswith("val/") and name != VAL_LOSS.name]
        return next((name for name in (*scores("val"), *measured) if name in self.found), None)

    @property
    def true_accuracy(self) -> str | None:
        """The true accuracy of its result, for people."""
        return None if self.truth is None else find(TRUE_ACCURACY.name).show(self.truth["accuracy"])

    @property
    def rank(self) -> str | None:
        """The rank of its result, such as ``57 of 64``."""
        return None if self.truth is None else f"{self.truth['rank']} of {self.truth['of']}"

    def last(self, name: str | None) -> str | None:
        """The last value of a series, for people."""
        values = self.found.get(name or "")
        return find(name or "").show(values[max(values)]) if values else None


def _seconds(path: Path) -> float | None:
    if not path.exists():
        return None
    words = [row.get("seconds") for row in read_csv(path).records()]
    try:
        times = [float(word) for word in words if word]
    except ValueError as error:
        raise ValueError(f"Expected {path} to hold seconds as numbers, but got: {error}.") from error
    return sum(time for time in times if math.isfinite(time)) if times else None


def _test(path: Path) -> dict[str, float] | None:
    if not path.exists():
        return None
    data = read_json(path)
    if not isinstance(data, dict):
        raise ValueError(f"Expected {path} to hold the metrics of a test, but got a {type(data).__name__}.")
    numbers = {name: value for name, value in data.items() if isinstance(value, int | float)}
    return {name: value for name, value in numbers.items() if abs(value) < 1e100}  # and not NaN


def _truth(path: Path) -> dict[str, float] | None:
    if not path.exists():
        return None
    found = read_json(path)
    if isinstance(found, dict) and "accuracy" not in found:  # the table does not know the result
        return None
    numbers = {name: part(found, name) for name in ("accuracy", "rank", "of")}
    if any(type(value) not in (int, float) for value in numbers.values()):
        raise ValueError(f"Expected {path} to hold numbers for {', '.join(numbers)}, but got {found!r}.")
    return numbers
