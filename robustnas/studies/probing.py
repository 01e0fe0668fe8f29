"""The first steps of a trial's search and of its evaluation, with their time and their memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from robustnas.planning.probe import Memory, Stage, probe
from robustnas.runs.record import Run
from robustnas.studies.searchers import baseline_of
from robustnas.studies.searchers.reference import random_architecture
from robustnas.studies.trial import EVALUATION, Trial, training_of


def probe_trial(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Begin a trial's search and its evaluation: what each stage takes, how often it is run, most memory held."""
    trial: Trial = payload["trial"]
    folder, stages = Path(payload["root"]), dict[str, tuple[Stage, int]]()
    baseline = baseline_of(trial) if trial.baseline else None
    if baseline is None or baseline.search(trial.search):
        stages["search"] = probe(trial.search, folder / "search"), 1
    if trial.evaluation is not None:
        Run(folder / "found").write_genotype(random_architecture(trial.search_space, trial.seed))
        for number, (training, times) in enumerate(_alike(trial.evaluations.values())):
            name = f"{EVALUATION}-{number}" if number else EVALUATION
            stages[name] = probe(training_of(training, str(folder / "found")), folder / name), times
        if baseline is not None and baseline.trained and trial.table is None:
            stages["search"] = replace(stages[EVALUATION][0], epochs=float(baseline.trained)), 1
    held = Memory.now()
    return {"stages": stages, "memory": held.resident, "gpu_memory": held.gpu}


def _alike(trainings: Iterable[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], int]]:
    """Trainings that take different times, and how many of each: step sizes and decay change nothing."""
    counts: dict[str, int] = {}
    first: dict[str, Mapping[str, Any]] = {}
    for training in trainings:
        model = training["model"]
        key = json.dumps([model["class_path"], model["init_args"]["architecture"], training["data"],
            training["trainer"]], sort_keys=True, default=str)  # fmt: skip
        counts[key] = counts.get(key, 0) + 1
        first.setdefault(key, training)
    return [(first[key], count) for key, count in counts.items()]
