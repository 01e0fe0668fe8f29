"""Run the trials of a study in its folder: finished ones are kept, and failures are recorded."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from robustnas import __version__
from robustnas.runs.record import read_json, write_json
from robustnas.studies.engine import Engine, Event, Job
from robustnas.studies.results import PROGRESS, SCHEMA
from robustnas.studies.trial import Trial

RUN_TRIAL = "robustnas.studies.run_trial:run_trial"


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
    root: Path, trials: Sequence[Trial], engine: Engine, watch: Callable[[Event], None], function: str = RUN_TRIAL
) -> int:
    """Run trials, report each event, write a ``failure.json`` for each that fails, and return how many failed."""
    jobs = [
        Job(trial.key, function, {"root": str(root), "trial": trial}, str(root / trial.folder / "log.txt"))
        for trial in trials
    ]
    folders = {trial.key: root / trial.folder for trial in trials}
    failed = 0
    with contextlib.closing(engine.run(jobs)) as events:  # type: ignore[type-var]
        for event in events:
            path = folders[event.key] / "failure.json"
            if event.kind == "failed":
                failed += 1
                write_json(path, {"schema": SCHEMA, "error": event.text, "attempt": event.attempt, "log": "log.txt"})
            elif event.kind == "done":
                path.unlink(missing_ok=True)
            watch(event)
    return failed
