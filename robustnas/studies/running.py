"""Run the trials of a study in its folder: finished ones are kept, and failures are recorded."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from robustnas import __version__
from robustnas.runs.record import read_json, write_json
from robustnas.studies.choosing import choices, searched
from robustnas.studies.engine import Engine, Event, Job
from robustnas.studies.results import PROGRESS, SCHEMA
from robustnas.studies.trial import Trial

RUN_TRIAL = "robustnas.studies.run_trial:run_trial"
SEARCH_TRIAL = "robustnas.studies.run_trial:search_trial"


def unfinished(root: Path, trials: Sequence[Trial], force: bool = False, keep: bool = False) -> list[Trial]:
    """Trials without result; those of another configuration are refused, deleted (``force``) or counted (``keep``)."""
    other = [(trial, reason) for trial in trials if (reason := _other(root / trial.folder, trial)) is not None]
    if other and not (force or keep):
        trial, reason = other[0]
        more = f", and so do {len(other) - 1} more" if len(other) > 1 else ""
        raise ValueError(
            f"Expected {root / trial.folder} to hold what this study and version make, but it holds {reason}{more}; "
            f"`--folder` names another folder, `--force` runs such trials again."
        )
    changed = {trial.key for trial, _ in other}
    for trial, _ in other if force and not keep else ():
        shutil.rmtree(root / trial.folder)
    return [one for one in trials if one.key in changed or not (root / one.folder / "result.json").is_file()]


def _other(folder: Path, trial: Trial) -> str | None:
    """What a folder holds that is not of this trial, finished or begun."""
    for name in ("result.json", PROGRESS):
        path = folder / name
        if path.is_file():
            held = read_json(path)
            version = held.get("version") if isinstance(held, dict) else None
            if version != __version__:
                return f"a trial of version {version} instead of {__version__}"
            if held.get("fingerprint") != trial.fingerprint:
                return "a trial of another configuration"
    return None


def run_trials(
    root: Path,
    trials: Sequence[Trial],
    engine: Engine,
    watch: Callable[[Event], None],
    function: str = RUN_TRIAL,
    planned: Sequence[Trial] = (),
) -> int:
    """Return how many failed after running trials; each event is reported, each failure leaves a ``failure.json``.

    Where one seed of a group is chosen, all search first; the rest waits until every one of the ``planned`` trials of
    the group has searched, which by default are the trials themselves.
    """
    waiting = {trial.key for trial in trials if trial.choose is not None}
    jobs = [_job(root, trial, SEARCH_TRIAL if trial.key in waiting else function) for trial in trials]
    failed = _run(root, trials, engine.run(jobs), lambda event: watch(_as_searched(event, waiting)))
    later, wrong = _later(root, [trial for trial in trials if trial.key in waiting], planned or trials, function)
    failed += _run(root, trials, (event for event in wrong), watch)
    return failed + _run(root, trials, engine.run(later), watch) if later else failed


def _job(root: Path, trial: Trial, function: str, **more: Any) -> Job:
    payload = {"root": str(root), "trial": trial, **more}
    return Job(trial.key, function, payload, str(root / trial.folder / "log.txt"))


def _as_searched(event: Event, waiting: Collection[str]) -> Event:
    return replace(event, kind="searched") if event.kind == "done" and event.key in waiting else event


def _later(
    root: Path, trials: Sequence[Trial], planned: Sequence[Trial], function: str
) -> tuple[list[Job], list[Event]]:
    """What is left of trials of which one in a group is chosen, where all have searched; failures where none can be."""
    groups: dict[str, list[Trial]] = {}
    for trial in planned:
        if trial.choose is not None:
            groups.setdefault(trial.group, []).append(trial)
    jobs, failures = list[Job](), list[Event]()
    for name, group in groups.items():
        own = [trial for trial in trials if trial.group == name]
        if own and all(searched(root, trial) for trial in group):
            try:
                found = choices(root, group)
                jobs += [_job(root, trial, function, chosen=found[trial.key]) for trial in own]
            except ValueError as error:
                failures += [Event(trial.key, "failed", 1, str(error)) for trial in own]
    return jobs, failures


def _run(root: Path, trials: Sequence[Trial], events: Iterator[Event], watch: Callable[[Event], None]) -> int:
    folders = {trial.key: root / trial.folder for trial in trials}
    failed = 0
    with contextlib.closing(events) as running:  # type: ignore[type-var]
        for event in running:
            path = folders[event.key] / "failure.json"
            if event.kind == "failed":
                failed += 1
                write_json(path, {"schema": SCHEMA, "error": event.text, "attempt": event.attempt, "log": "log.txt"})
            elif event.kind == "done":
                path.unlink(missing_ok=True)
            watch(event)
    return failed
