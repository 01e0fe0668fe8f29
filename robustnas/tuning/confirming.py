"""Confirmation: the best trials and the untuned configuration train again, with seeds that chose nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from robustnas.cli.configuration import fit
from robustnas.planning.durations import counted
from robustnas.runs.record import read_json, write_json, write_text
from robustnas.runtime.csv_files import csv_text
from robustnas.statistics.intervals import Interval, mean_interval
from robustnas.statistics.pairs import Paired, compare
from robustnas.studies.engine import Job
from robustnas.studies.process import one_sentence
from robustnas.tuning.plan import Plan
from robustnas.tuning.results import Tried, best_of, complete, sign, write_configuration
from robustnas.tuning.run_trial import LOG, free_gpu, recorded
from robustnas.tuning.running import InFolder

FOLDER, SCORE, TABLE = "confirmation", "score.json", "confirmation.csv"
RUN_AGAIN = "robustnas.tuning.confirming:run_again"


@dataclass(frozen=True)
class Repeat(InFolder):
    """A training of the values of a trial with a fresh seed."""

    number: int
    seed: int

    @property
    def folder(self) -> str:
        return f"{FOLDER}/{self.number:04}/seed-{self.seed}"


@dataclass(frozen=True)
class Confirmed:
    """A trial with the metric of each fresh seed; a seed whose training failed has none."""

    trial: Tried
    seeds: tuple[int, ...]
    scores: tuple[float | None, ...]

    @property
    def measured(self) -> list[float]:
        """The metrics there are."""
        return [score for score in self.scores if score is not None]

    @property
    def mean(self) -> float | None:
        """The mean; ``None`` if a seed failed."""
        return fmean(self.measured) if len(self.measured) == len(self.seeds) else None

    @property
    def interval(self) -> Interval | None:
        """The 95 % interval of the mean."""
        return None if self.mean is None else mean_interval(self.measured)

    def against(self, other: Confirmed) -> Paired | None:
        """The difference from another, by seed; ``None`` if a seed failed."""
        return None if self.mean is None or other.mean is None else compare(self.measured, other.measured)


def candidates(trials: Sequence[Tried], plan: Plan) -> list[Tried]:
    """The best complete trials, as many as are confirmed, and the untuned configuration if it is a trial."""
    if plan.confirm is None:
        return []
    ranked = sorted(complete(trials), key=lambda one: -sign(plan) * float(one.metric or 0))
    chosen = ranked[: plan.confirm.best]
    untuned = [one for one in trials if one.untuned and one not in chosen]
    return [*chosen, *untuned[:1]] if chosen else []


def repeats(trials: Sequence[Tried], plan: Plan) -> list[Repeat]:
    """What is to be trained, by seed: the seeds after that of the trials."""
    return [] if plan.confirm is None else [Repeat(one.number, seed) for seed in _seeds(plan) for one in trials]


def jobs(root: Path, plan: Plan, trials: Sequence[Tried], of: Sequence[Repeat]) -> Iterator[Job]:
    """The jobs of an engine for these trainings."""
    values = {one.number: dict(one.values) for one in trials}
    for repeat in of:
        payload = {"root": str(root), "plan": plan, "repeat": repeat, "values": values[repeat.number]}
        yield Job(repeat.folder, RUN_AGAIN, payload, str(root / repeat.folder / LOG))


def is_done(root: Path, repeat: Repeat) -> bool:
    """Whether a training has ended, by success or failure."""
    return (root / repeat.folder / SCORE).is_file()


def run_again(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return the score of the values of a trial with another seed, from the last checkpoint where it was stopped."""
    plan: Plan = payload["plan"]
    repeat: Repeat = payload["repeat"]
    folder = Path(payload["root"], repeat.folder)
    try:
        fit(plan.sections(payload["values"]), folder / plan.stage, repeat.seed)
        value = recorded(folder / plan.stage, plan.metric)
        if not math.isfinite(value):
            raise ValueError(f"Expected `{plan.metric}` to be finite, but got {value} in the last epoch.")
    except Exception as error:
        write_json(folder / SCORE, {"metric": plan.metric, "value": None, "error": one_sentence(error)})
        raise
    finally:
        free_gpu()
    write_json(folder / SCORE, {"metric": plan.metric, "value": value})
    return {"score": {"name": plan.metric, "value": value}}


def read_confirmed(root: Path, plan: Plan, trials: Sequence[Tried]) -> list[Confirmed]:
    """The trials that were confirmed, the best first; those of which a seed failed come last."""
    seeds, found = _seeds(plan), []
    for trial in trials:
        held = [_score(root / Repeat(trial.number, seed).folder / SCORE) for seed in seeds]
        found.append(Confirmed(trial, seeds, tuple(one.get("value") for one in held)))
    return sorted(found, key=lambda one: math.inf if one.mean is None else -sign(plan) * one.mean)


def write_confirmed(root: Path, plan: Plan, confirmed: Sequence[Confirmed]) -> None:
    """Write a row for each trial and seed."""
    rows = [
        {"trial": one.trial.number, "untuned": one.trial.untuned, "seed": seed, plan.metric: score}
        for one in confirmed
        for seed, score in zip(one.seeds, one.scores, strict=True)
    ]
    write_text(root / TABLE, csv_text(rows))


def write_best(root: Path, plan: Plan, trials: Sequence[Tried], confirmed: Sequence[Confirmed]) -> Tried | None:
    """Write the configuration that is best with fresh seeds, or with that of the trials where none is confirmed.

    Returns:
        Its trial; ``None`` if no trial is complete.
    """
    best = best_of(trials, plan)
    if best is None:
        return None
    measured = f"{plan.metric} {best.metric:.6g} on validation, one seed"
    if confirmed and confirmed[0].mean is not None:
        best, seeds = confirmed[0].trial, counted(len(confirmed[0].seeds), "fresh seed")
        measured = f"{plan.metric} {confirmed[0].mean:.6g} on validation, mean of {seeds}"
    write_configuration(root, plan, best, measured)
    return best


def _seeds(plan: Plan) -> tuple[int, ...]:
    count = 0 if plan.confirm is None else plan.confirm.seeds
    return tuple((plan.seed + 1 + k) % 2**32 for k in range(count))


def _score(path: Path) -> dict[str, Any]:
    held = read_json(path) if path.is_file() else {}
    return held if isinstance(held, dict) else {}
