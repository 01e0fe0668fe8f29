"""A study as its report reads it: entries that are compared, tasks they are compared on, the record of every trial."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from robustnas.analysis import History, thresholds
from robustnas.analysis.cost_outcome import CostOutcome, read_cost
from robustnas.analysis.history import is_measured
from robustnas.analysis.measures import measures
from robustnas.analysis.registry import find
from robustnas.runs.record import read_json
from robustnas.statistics import Interval
from robustnas.studies.grid import OFF, ON
from robustnas.studies.results import Record, read_failures, read_plan, read_results
from robustnas.studies.trial import EVALUATION, in_folder

RANDOM = "RandomGenotype"  # the baseline that gains are relative to
STATES: dict[str, float] = {state: float(place) for place, state in enumerate(thresholds.STATES)}  # as numbers
Task = tuple[str | None, str | None]
Series = Mapping[str, Mapping[int, float]]


@dataclass(frozen=True)
class Entry:
    """What is compared: a variant or a baseline, at some levels of the factors."""

    variant: str
    levels: tuple[tuple[str, str], ...] = ()
    baseline: bool = False

    @property
    def label(self) -> str:
        """Its name for people: ``DARTS +decay -noise, lr=low``."""
        parts = [f"{'+' if level == ON else '−'}{name}" for name, level in self.levels if level in (ON, OFF)]
        factors = [f"{name}={level}" for name, level in self.levels if level not in (ON, OFF)]
        return ", ".join([" ".join([self.variant, *parts]), *factors])


@dataclass(frozen=True)
class Score:
    """The score of a task, such as ``test/top1``."""

    name: str
    higher_is_better: bool = True

    @property
    def percent(self) -> bool:
        """Whether it is shown in percent."""
        return find(self.name).unit in ("%", "percent")

    @property
    def scale(self) -> float:
        """Factor for showing a value."""
        return 100.0 if find(self.name).unit == "%" else 1.0

    def possible(self, interval: Interval) -> Interval:
        """An interval of a mean without what lies beyond the values that an accuracy can have."""
        low, high = (0.0, 100.0 / self.scale) if self.percent else (-math.inf, math.inf)
        return replace(interval, low=max(interval.low, low), high=min(interval.high, high))

    @property
    def said(self) -> str:
        """Name with its unit."""
        return f"{self.name}, %" if self.percent else self.name

    @property
    def points(self) -> str:
        """Unit of differences."""
        return "percentage points" if self.percent else f"units of {self.name}"

    def shown(self, value: float, sign: bool = False) -> str:
        """A value or a difference for people."""
        return f"{value * self.scale:{'+' if sign else ''}.{2 if self.percent else 4}f}".replace("-", "−")


@dataclass(frozen=True, eq=False)
class StudyData:
    """Everything that the folder of a study holds, read once; ``Mapping[str, ...]`` is by folder of a trial."""

    root: Path
    name: str
    trials: Sequence[Mapping[str, Any]]  # as study.json has them
    records: Sequence[Record]  # the finished trials
    failures: Mapping[str, str]  # to the error
    series: Mapping[str, Series] = field(default_factory=dict)  # logged, or computed from α and the genotypes
    truths: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # of the genotype, by a table
    manifests: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # of each stage
    published: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by variant
    unread: Mapping[str, str] = field(default_factory=dict)  # damaged history, to the reason
    costs: Mapping[str, CostOutcome] = field(default_factory=dict)  # of the genotype, by the table of the penalty

    @classmethod
    def read(cls, folder: str | Path) -> StudyData:
        """Read a study, finished or not; refused where it is none, or a file in it is of another schema or damaged."""
        root = Path(folder)
        if not (root / "study.json").is_file():
            raise ValueError(f"Expected STUDY to be the folder of a study, with study.json in it, but got {folder}.")
        plan = read_plan(root)
        records = read_results(root)
        series, truths, unread, costs = {}, {}, {}, {}
        for record in records:
            search = root / record.folder / "search"
            try:
                if (search / "metrics.csv").is_file():
                    series[record.folder] = measures(History.of_run(search))
                if (search / "truth.json").is_file():
                    truths[record.folder] = _numbers(read_json(search / "truth.json"))
                if (outcome := read_cost(search, None)) is not None and outcome.finished:
                    costs[record.folder] = outcome
            except ValueError as error:
                if not record.baseline:  # a baseline need not leave the history of a search
                    unread[record.folder] = str(error)
        finished = {record.folder for record in records}
        failures = {trial: said for trial, said in read_failures(root).items() if trial not in finished}
        manifests = {record.folder: _manifests(root / record.folder) for record in records}
        return cls(
            root, str(plan.get("name", root.name)), plan["trials"], records, failures, series, truths, manifests,
            plan.get("published") or {}, unread, costs,
        )  # fmt: skip

    @cached_property
    def entries(self) -> list[Entry]:
        """The entries, in the order of the plan, variants before baselines."""
        return sorted(dict.fromkeys(entry_of(trial) for trial in self.trials), key=lambda entry: entry.baseline)

    @cached_property
    def tasks(self) -> list[Task]:
        """Space and data, in the order of the plan."""
        return list(dict.fromkeys((trial["space"], trial["data"]) for trial in self.trials))

    @property
    def seeds(self) -> list[int]:
        """Every seed of the plan."""
        return sorted({int(trial["seed"]) for trial in self.trials})

    def number(self, entry: Entry) -> int:
        """Its place among the entries: its colour on every page."""
        return self.entries.index(entry)

    def of(self, task: Task, entry: Entry | None = None) -> list[Record]:
        """Finished trials of a task, and of an entry."""
        found = [record for record in self.records if record.task == task]
        return [record for record in found if entry is None or entry_of_record(record) == entry]

    def planned(self, task: Task, entry: Entry) -> int:
        """How many trials of an entry shall have a score on a task: one where one of its seeds is chosen."""
        own = [trial for trial in self.trials if (trial["space"], trial["data"]) == task and entry_of(trial) == entry]
        return 1 if any(trial.get("choose") for trial in own) else len(own)

    @property
    def choice(self) -> str | None:
        """Metric by which one seed of each group is chosen; ``None`` where every seed counts."""
        return next((str(trial["choose"]) for trial in self.trials if trial.get("choose")), None)

    def settings(self, task: Task) -> list[str]:
        """Settings under which what was found on a task is trained; none where it is trained once."""
        return list(dict.fromkeys(name for record in self.of(task) for name in record.held.get("settings") or {}))

    def scores(self, task: Task, entry: Entry) -> dict[int, float]:
        """Seed to score, of the trials that have one."""
        return {r.seed: r.score for r in self.of(task, entry) if r.score is not None and math.isfinite(r.score)}

    def metric(self, task: Task) -> Score:
        """The score of a task."""
        held = next((record.held["score"] for record in self.of(task) if record.held["score"]), None)
        return Score(str(held["name"]), bool(held["higher_is_better"])) if held else Score("score")

    def scored(self, task: Task) -> list[Entry]:
        """The entries with a score on a task."""
        return [entry for entry in self.entries if self.scores(task, entry)]

    def random(self, task: Task) -> list[float]:
        """Scores of random architectures on a task."""
        return list(self.scores(task, Entry(RANDOM, (), True)).values())

    def state(self, trial: Mapping[str, Any]) -> str:
        """``finished``, ``failed`` or ``not run``."""
        if any(record.folder == trial["folder"] for record in self.records):
            return "finished"
        return "failed" if trial["folder"] in self.failures else "not run"

    def last(self, record: Record, name: str) -> float | None:
        """Last value of a series of a trial, from its history or else from its result."""
        values = self.series.get(record.folder, {}).get(name)
        if values:
            return values[max(values)]
        held = record.held["metrics"]["search"].get(name)
        return float(held) if held is not None and is_measured(float(held)) else None

    def peak(self, record: Record, name: str) -> float | None:
        """Largest value of a series of a trial."""
        values = self.series.get(record.folder, {}).get(name)
        return max(values.values()) if values else self.last(record, name)


def evaluations_of(record: Record) -> list[str]:
    """Folders of the trainings of what a trial found, inside its own."""
    return [f"{EVALUATION}/{in_folder(name)}" for name in record.held.get("settings") or {}] or [EVALUATION]


def entry_of(trial: Mapping[str, Any]) -> Entry:
    """The entry of a planned trial, as ``study.json`` has it."""
    return Entry(trial["variant"], tuple(trial["levels"].items()), bool(trial["baseline"]))


def task_name(task: Task) -> str:
    """Space and data in words, for people."""
    return " on ".join(part for part in task if part) or "the only task"


def entry_name(record: Record) -> str:
    """Entry and seed of a finished trial, for people."""
    return f"{entry_of_record(record).label}, seed {record.seed}"


def entry_of_record(record: Record) -> Entry:
    """The entry of a finished trial."""
    return Entry(record.variant, tuple(record.levels.items()), record.baseline)


def _manifests(folder: Path) -> dict[str, Any]:
    paths = {stage: folder / stage / "manifest.json" for stage in ("search", EVALUATION)}
    under = sorted(folder.glob(f"{EVALUATION}/*/manifest.json"))
    paths |= {path.parent.relative_to(folder).as_posix(): path for path in under}
    return {stage: read_json(path) for stage, path in paths.items() if path.is_file()}


def _numbers(held: Any) -> dict[str, Any]:
    given = held.items() if isinstance(held, dict) else ()
    return {name: value for name, value in given if not isinstance(value, float) or math.isfinite(value)}
