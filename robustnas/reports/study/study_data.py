"""A study as its report reads it: entries that are compared, tasks they are compared on, every cell's record."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from robustnas.analysis import History
from robustnas.analysis.history import is_measured
from robustnas.analysis.measures import measures
from robustnas.runs.record import read_json
from robustnas.studies.grid import OFF, ON
from robustnas.studies.results import Record, read_failures, read_plan, read_results

RANDOM = "RandomGenotype"  # the baseline whose mean relative improvement is relative to
Task = tuple[str | None, str | None]
Series = Mapping[str, Mapping[int, float]]


@dataclass(frozen=True)
class Entry:
    """What is compared: a variant or a baseline, at some levels of the factors.

    Args:
        variant: Its name.
        levels: Factor or part with its level.
        baseline: Whether it is a baseline.
    """

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
class Metric:
    """The score of a task.

    Args:
        name: Its name, such as ``test/top1``.
        higher_is_better: Whether more is better.
    """

    name: str
    higher_is_better: bool = True

    @property
    def percent(self) -> bool:
        """Accuracies are shown in percent."""
        return self.name.endswith(("top1", "top5", "accuracy", "map"))

    @property
    def scale(self) -> float:
        """What a value is multiplied by; those of tables are in percent already."""
        return 100.0 if self.percent and not self.name.startswith("truth/") else 1.0

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
        text = f"{value * self.scale:{'+' if sign else ''}.{2 if self.percent else 4}f}"
        return text.replace("-", "−")


@dataclass(frozen=True, eq=False)
class StudyData:
    """Everything that the folder of a study holds, read once.

    Args:
        root: The folder.
        name: Name of the study.
        cells: Every planned cell, as ``study.json`` has it.
        records: The finished ones.
        failures: Folder of a failed cell to what went wrong.
        series: Folder of a finished search to what was logged in it and what follows from α and the genotypes.
        truths: Folder of a finished search to what a table of known accuracies says of its genotype.
        manifests: Folder of a finished cell to the manifest of each stage.
        published: Variant to numbers of others: ``metric``, ``mean``, ``std``, ``source``.
        unread: Folder of a search whose history is damaged, to the reason.
    """

    root: Path
    name: str
    cells: Sequence[Mapping[str, Any]]
    records: Sequence[Record]
    failures: Mapping[str, str]
    series: Mapping[str, Series] = field(default_factory=dict)
    truths: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    manifests: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    published: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: str | Path) -> StudyData:
        """Read a study, finished or not.

        Args:
            folder: Its folder.

        Returns:
            What is there.

        Raises:
            ValueError: If it is no study, or a file in it is of another schema or damaged.
        """
        root = Path(folder)
        if not (root / "study.json").is_file():
            raise ValueError(f"Expected STUDY to be the folder of a study, with study.json in it, but got {folder}.")
        plan = read_plan(root)
        records = read_results(root)
        series, truths, unread = {}, {}, {}
        for record in records:
            search = root / record.folder / "search"
            try:
                if (search / "metrics.csv").is_file():
                    series[record.folder] = measures(History.of_run(search))
                if (search / "truth.json").is_file():
                    truths[record.folder] = _numbers(read_json(search / "truth.json"))
            except ValueError as error:
                if not record.baseline:  # a baseline need not leave the history of a search
                    unread[record.folder] = str(error)
        finished = {record.folder for record in records}
        failures = {cell: said for cell, said in read_failures(root).items() if cell not in finished}
        manifests = {record.folder: _manifests(root / record.folder) for record in records}
        return cls(
            root, str(plan.get("name", root.name)), plan["trials"], records, failures, series, truths, manifests,
            plan.get("published") or {}, unread,
        )  # fmt: skip

    @cached_property
    def entries(self) -> list[Entry]:
        """What is compared, in the order of the plan, variants before baselines."""
        found = dict.fromkeys(entry_of(cell) for cell in self.cells)
        return sorted(found, key=lambda entry: entry.baseline)

    @cached_property
    def tasks(self) -> list[Task]:
        """Space and data, in the order of the plan."""
        return list(dict.fromkeys((cell["space"], cell["data"]) for cell in self.cells))

    @property
    def seeds(self) -> list[int]:
        """Every seed of the plan."""
        return sorted({int(cell["seed"]) for cell in self.cells})

    def number(self, entry: Entry) -> int:
        """Its place among the entries: its colour on every page."""
        return self.entries.index(entry)

    def of(self, task: Task, entry: Entry | None = None) -> list[Record]:
        """Finished cells of a task, and of an entry."""
        found = [record for record in self.records if record.task == task]
        return [record for record in found if entry is None or entry_of_record(record) == entry]

    def planned(self, task: Task, entry: Entry) -> int:
        """How many cells an entry has on a task."""
        return sum((cell["space"], cell["data"]) == task and entry_of(cell) == entry for cell in self.cells)

    def scores(self, task: Task, entry: Entry) -> dict[int, float]:
        """Seed to score, of the cells that have one."""
        return {r.seed: r.score for r in self.of(task, entry) if r.score is not None and math.isfinite(r.score)}

    def metric(self, task: Task) -> Metric:
        """The score of a task."""
        held = next((record.held["score"] for record in self.of(task) if record.held["score"]), None)
        return Metric(str(held["name"]), bool(held["higher_is_better"])) if held else Metric("score")

    def scored(self, task: Task) -> list[Entry]:
        """The entries with a score on a task."""
        return [entry for entry in self.entries if self.scores(task, entry)]

    def random(self, task: Task) -> list[float]:
        """Scores of random architectures on a task."""
        return list(self.scores(task, Entry(RANDOM, (), True)).values())

    def state(self, cell: Mapping[str, Any]) -> str:
        """``finished``, ``failed`` or ``not run``."""
        if any(record.folder == cell["folder"] for record in self.records):
            return "finished"
        return "failed" if cell["folder"] in self.failures else "not run"

    def last(self, record: Record, name: str) -> float | None:
        """Last value of a series of a cell, from its history or else from its result."""
        values = self.series.get(record.folder, {}).get(name)
        if values:
            return values[max(values)]
        held = record.held["metrics"]["search"].get(name)
        return float(held) if held is not None and is_measured(float(held)) else None

    def peak(self, record: Record, name: str) -> float | None:
        """Largest value of a series of a cell."""
        values = self.series.get(record.folder, {}).get(name)
        return max(values.values()) if values else self.last(record, name)


def design_kind(study: StudyData, variant: str) -> str | None:
    """How the parts of a variant were switched, read from its cells.

    Args:
        study: The study.
        variant: The variant.

    Returns:
        ``leave_one_out``, ``add_one``, or ``None`` for another design.
    """
    rows = [dict(entry.levels) for entry in study.entries if entry.variant == variant and not entry.baseline]
    parts = {name for row in rows for name, level in row.items() if level in (ON, OFF)}
    if len(parts) < 2 or any(set(row) != parts for row in rows) or len(rows) != len(parts) + 1:
        return None
    on = sorted(sum(level == ON for level in row.values()) for row in rows)
    if on == [len(parts) - 1] * len(parts) + [len(parts)]:
        return "leave_one_out"
    return "add_one" if on == [0, *[1] * len(parts)] else None


def entry_of(cell: Mapping[str, Any]) -> Entry:
    """The entry of a planned cell.

    Args:
        cell: The cell, as ``study.json`` has it.

    Returns:
        The entry.
    """
    return Entry(cell["variant"], tuple(cell["levels"].items()), bool(cell["baseline"]))


def task_name(task: Task) -> str:
    """Space and data in words, for people."""
    return " on ".join(part for part in task if part) or "the only task"


def entry_name(record: Record) -> str:
    """What a cell is an entry of, with its seed."""
    return f"{entry_of_record(record).label}, seed {record.seed}"


def entry_of_record(record: Record) -> Entry:
    """The entry of a finished cell."""
    return Entry(record.variant, tuple(record.levels.items()), record.baseline)


def _manifests(folder: Path) -> dict[str, Any]:
    return dict(_stages(folder))


def _stages(folder: Path) -> Iterator[tuple[str, Any]]:
    for stage in ("search", "evaluation"):
        path = folder / stage / "manifest.json"
        if path.is_file():
            yield stage, read_json(path)


def _numbers(held: Any) -> dict[str, Any]:
    given = held.items() if isinstance(held, dict) else ()
    return {name: value for name, value in given if not isinstance(value, float) or math.isfinite(value)}
