"""One trial of a tuning: values are proposed, an ordinary run trains with them, and its metric is told."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from robustnas.cli.configuration import fit
from robustnas.runs.record import write_text
from robustnas.runtime.csv_files import read_csv
from robustnas.studies.process import one_sentence
from robustnas.tuning.plan import Plan, Values
from robustnas.tuning.reporting import Reporting
from robustnas.tuning.storage import ERROR, TRIALS, optuna_module, own_trial, study_of

LOG = "log.txt"  # in the folder of a trial: what it printed


def folder_of(number: int) -> str:
    """Folder of a trial inside that of its tuning."""
    return f"{TRIALS}/{number:04}"


def run_trial(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return the score of a trial after running it, from its last checkpoint where it was interrupted."""
    plan: Plan = payload["plan"]
    number, folder = int(payload["number"]), Path(payload["root"], folder_of(payload["number"]))
    study = study_of(plan, payload["storage"], number)
    trial, values = own_trial(study, plan, number)
    state = optuna_module().trial.TrialState
    try:
        reporting = _trained(plan, values, trial, folder)
    except Exception as error:
        trial.set_user_attr(ERROR, one_sentence(error))
        study.tell(trial, state=state.FAIL)
        raise
    finally:
        free_gpu()
    score = {"name": plan.metric, "value": reporting.value}
    if reporting.pruned:
        study.tell(trial, state=state.PRUNED)
        return {"score": score, "note": f"stopped after epoch {reporting.epochs}"}
    study.tell(trial, reporting.value)
    return {"score": score}


def _trained(plan: Plan, values: Values, trial: Any, folder: Path) -> Reporting:
    sections = plan.sections(values)
    text = yaml.safe_dump({"values": dict(values), **sections}, sort_keys=False, allow_unicode=True)
    write_text(folder / "trial.yaml", text)
    reporting = Reporting(trial, plan.metric)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The reported value is ignored because this `step`")  # of an interrupted run
        fit(sections, folder / plan.stage, plan.seed, callbacks=[reporting])
    if reporting.value is None:
        reporting.value = recorded(folder / plan.stage, plan.metric)
    return reporting


def free_gpu() -> None:
    """Give the memory of the GPU back, which others need: networks hang together in circles."""
    if torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()


def recorded(folder: Path, metric: str) -> float:
    """The last value of a metric in the record of a run."""
    rows = read_csv(folder / "metrics.csv").records()
    values = [float(row[metric]) for row in rows if row.get(metric)]
    if not values:
        names = ", ".join(sorted(name for name in {*rows[-1]} if "/" in name)) if rows else "nothing"
        raise ValueError(f"Expected `metric` to be one that the run logs: {names}, but got {metric!r}.")
    return values[-1]
