"""What a tuning found: its trials as a table, the best configuration, the importance of each hyperparameter."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from robustnas.plotting.charts import COLOURS
from robustnas.runs.record import write_text
from robustnas.runtime.atomic_files import open_atomically
from robustnas.runtime.csv_files import csv_text
from robustnas.tuning.dimensions import Value
from robustnas.tuning.plan import Plan
from robustnas.tuning.storage import ERROR, NUMBER, optuna_module

BEST, TABLE, IMPORTANCES, HISTORY = "best.yaml", "trials.csv", "importances.csv", "history.png"
STATES = {"COMPLETE": "complete", "PRUNED": "stopped early", "FAIL": "failed", "RUNNING": "running"}


@dataclass(frozen=True)
class Tried:
    """A trial: its number, what became of it, its values and its metric."""

    number: int
    state: str
    values: Mapping[str, Value]
    metric: float | None  # the last one, if it was measured
    epochs: int
    seconds: float | None
    untuned: bool = False
    error: str = ""


def read_trials(study: Any, plan: Plan) -> list[Tried]:
    """The trials of a study by number."""
    found = []
    for trial in study.get_trials(deepcopy=False):
        number = trial.user_attrs.get(NUMBER)
        if number is not None:
            steps = trial.intermediate_values
            last = steps[max(steps)] if steps else None
            measured = trial.value if trial.value is not None else last
            spent = None if trial.duration is None else trial.duration.total_seconds()
            untuned = plan.defaults is not None and dict(trial.params) == dict(plan.defaults)
            found.append(
                Tried(number, STATES.get(trial.state.name, trial.state.name), dict(trial.params), measured,
                    max(steps, default=0), spent, untuned, str(trial.user_attrs.get(ERROR, "")))
            )  # fmt: skip
    return sorted(found, key=lambda one: one.number)


def complete(trials: Sequence[Tried]) -> list[Tried]:
    """The trials that ended and were measured."""
    return [one for one in trials if one.state == STATES["COMPLETE"] and one.metric is not None]


def sign(plan: Plan) -> int:
    """1 where more of the metric is better, else -1."""
    return 1 if plan.higher else -1


def best_of(trials: Sequence[Tried], plan: Plan) -> Tried | None:
    """The best of the complete trials; of equals the first."""
    return max(complete(trials), key=lambda one: sign(plan) * float(one.metric or 0), default=None)


def importances(study: Any) -> dict[str, float]:
    """Return the share of the variance of the metric that each hyperparameter explains, by fANOVA.

    Empty where too few trials are complete, or all are equal.

    Reference: Hutter, Hoos and Leyton-Brown, "An Efficient Approach for Assessing Hyperparameter Importance", 2014.
    """
    optuna = optuna_module()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
            found = optuna.importance.get_param_importances(study, evaluator=evaluator)
        except (RuntimeError, ValueError):  # fewer than two trials, or all of them equal
            return {}
    return {name: float(share) for name, share in found.items() if math.isfinite(share)}


def write_results(root: Path, study: Any, plan: Plan) -> tuple[list[Tried], dict[str, float]]:
    """Write the table of trials, importances and the history; return trials and importances."""
    trials, shares = read_trials(study, plan), importances(study)
    write_text(root / TABLE, csv_text([_row(one, plan) for one in trials]))
    if shares:
        write_text(root / IMPORTANCES, csv_text([{"hyperparameter": n, "importance": s} for n, s in shares.items()]))
    if any(one.metric is not None for one in trials):
        _draw(root / HISTORY, trials, plan)
    return trials, shares


def write_configuration(root: Path, plan: Plan, best: Tried, measured: str) -> None:
    """Write the configuration of a trial, as ``-c`` takes it; ``measured`` says how good it was."""
    held = {"seed_everything": plan.seed, **plan.sections(best.values, chosen=True)}
    says = f"# The best of a tuning, trial {best.number}: {measured}.\n"
    write_text(root / BEST, says + yaml.safe_dump(held, sort_keys=False, allow_unicode=True))


def _row(one: Tried, plan: Plan) -> dict[str, Any]:
    return {
        "trial": one.number, "state": one.state, plan.metric: one.metric, "epochs": one.epochs, "seconds": one.seconds,
        "untuned": one.untuned, **one.values, "error": one.error,
    }  # fmt: skip


def _draw(path: Path, trials: Sequence[Tried], plan: Plan) -> None:
    """The metric of each trial, and the best of those before it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    for state, colour, marker in ((STATES["COMPLETE"], COLOURS[0], "o"), (STATES["PRUNED"], COLOURS[1], "x")):
        own = [one for one in trials if one.state == state and one.metric is not None]
        axes.scatter(
            [one.number for one in own],
            [float(one.metric or 0) for one in own],
            color=colour,
            marker=marker,
            s=22,
            label=state,
        )
    done = complete(trials)
    best = [best_of(done[: k + 1], plan) for k in range(len(done))]
    axes.step([one.number for one in done], [float(one.metric or 0) for one in best if one], where="post", label="best")
    axes.set(xlabel="trial", ylabel=f"{plan.metric}, on validation", title=plan.name)
    axes.legend(frameon=False)
    with open_atomically(path) as file:
        figure.savefig(file, format="png", dpi=120)
