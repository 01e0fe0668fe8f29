"""Three steps of a search and of an evaluation, with their time and their memory."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from robustnas.cli.configuration import fit
from robustnas.runs.record import Run
from robustnas.studies.estimate import STEPS
from robustnas.studies.searchers import baseline_of
from robustnas.studies.searchers.reference import random_architecture
from robustnas.studies.trial import EVALUATION, Trial, training_of


def probe_trial(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Run three steps of a trial's search and of its evaluation: seconds and counts of each stage, most memory held."""
    trial: Trial = payload["trial"]
    folder, stages = Path(payload["root"]), {}
    baseline = baseline_of(trial) if trial.baseline else None
    if baseline is None or baseline.search(trial.search):
        model = trial.search["model"]
        moving = {"arch_start": 0} if baseline is None and "arch_start" in model["init_args"] else {}
        search = {**trial.search, "model": {**model, "init_args": {**model["init_args"], **moving}}}
        stages["search"] = _probe(search, folder / "search")
    if trial.evaluation is not None:
        Run(folder / "found").write_genotype(random_architecture(trial.search_space, trial.seed))
        for number, (training, times) in enumerate(_alike(trial.evaluations.values())):
            name = f"{EVALUATION}-{number}" if number else EVALUATION
            measured = _probe(training_of(training, str(folder / "found")), folder / name)
            stages[name] = {**measured, "times": times}
        if baseline is not None and baseline.trained and trial.table is None:
            stages["search"] = {**stages[EVALUATION], "epochs": float(baseline.trained), "times": 1}
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        "stages": stages,
        "memory": used,
        "gpu_memory": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0,
    }


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


class _EnoughError(Exception):
    """Three steps are done; nothing failed. Its argument is what they measured."""


class _Stopwatch(Callback):
    """Times batches, and ends the run after three. The first of a kind pays for what is made once, and counts not."""

    def __init__(self) -> None:
        self.made = self.since = time.perf_counter()
        self.steps: list[float] = []
        self.validated: list[float] = []

    def _now(self) -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()

    def on_train_batch_start(self, *args: Any) -> None:
        if not self.steps:
            self.began = self._now()
        self.since = self._now()

    def on_validation_batch_start(self, *args: Any) -> None:
        self.since = self._now()

    def on_validation_batch_end(self, *args: Any) -> None:
        self.validated.append(self._now() - self.since)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self.steps.append(self._now() - self.since)
        if len(self.steps) < min(STEPS, int(trainer.num_training_batches)):
            return
        selection: Any = getattr(pl_module, "selection", None)
        more = selection.epochs(pl_module.space) if selection is not None else 0
        raise _EnoughError({
            "start": self.began - self.made + self.steps[0],
            "step": _later_mean(self.steps), "steps": float(trainer.num_training_batches),
            "val_step": _later_mean(self.validated), "val_steps": float(sum(trainer.num_val_batches)),
            "epochs": float((trainer.max_epochs or 1) + more),
        })  # fmt: skip


def _later_mean(seconds: Sequence[float]) -> float:
    counted = seconds[1:] or seconds
    return sum(counted) / max(1, len(counted))


def _probe(sections: Mapping[str, Any], folder: Path) -> dict[str, float]:
    try:
        fit(sections, folder, 0, [_Stopwatch()])
    except _EnoughError as enough:
        measured: dict[str, float] = enough.args[0]
        return measured
    raise ValueError("Expected a run to take steps, but it ended without one.")
