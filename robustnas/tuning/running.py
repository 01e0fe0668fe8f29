"""Run the trials of a tuning, and the trainings that confirm the best of them, on an engine."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from robustnas.studies.engine import Engine, Event, Job
from robustnas.tuning.plan import Plan
from robustnas.tuning.run_trial import LOG, folder_of

RUN_TRIAL = "robustnas.tuning.run_trial:run_trial"


class InFolder(ABC):
    """What has a folder inside that of the tuning, as its progress is shown."""

    @property
    @abstractmethod
    def folder(self) -> str:
        """Its folder inside that of the tuning."""

    @property
    def key(self) -> str:
        """Its name in the terminal."""
        return self.folder

    @property
    def group(self) -> str:
        """Those in one folder are a group."""
        return self.folder.rpartition("/")[0]


@dataclass(frozen=True)
class Numbered(InFolder):
    """A trial."""

    number: int

    @property
    def folder(self) -> str:
        return folder_of(self.number)


def run_trials(
    root: Path,
    plan: Plan,
    storage: str,
    numbers: Sequence[int],
    engine: Engine,
    watch: Callable[[Event], None],
    function: str = RUN_TRIAL,
) -> dict[str, str]:
    """Return the failures, folder to reason, after running the trials of some numbers, see :func:`run`."""
    payload = {"root": str(root), "plan": plan, "storage": storage}
    jobs = [Job(folder_of(k), function, {**payload, "number": k}, str(root / folder_of(k) / LOG)) for k in numbers]
    return run(jobs, engine, watch)


def run(jobs: Sequence[Job], engine: Engine, watch: Callable[[Event], None]) -> dict[str, str]:
    """Return the failures, folder to reason, after running jobs.

    Raises:
        ValueError: If the runs do not log the metric: then the others are not started.
    """
    failures: dict[str, str] = {}
    with contextlib.closing(engine.run(jobs)) as events:  # type: ignore[type-var]
        for event in events:
            if event.kind == "failed":
                failures[event.key] = event.text
            watch(event)
            if event.kind == "failed" and event.text.startswith("Expected `metric`"):
                raise ValueError(event.text)
    return failures
