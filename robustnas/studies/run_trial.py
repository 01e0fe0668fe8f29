"""One trial of a study: an ordinary search, an ordinary evaluation, and one file with the result."""

from __future__ import annotations

import contextlib
import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml

from robustnas import __version__
from robustnas.analysis.metrics import TRUTH
from robustnas.analysis.registry import scores
from robustnas.cli.configuration import device_of, fit, run_of, train_and_test
from robustnas.runs.record import Run, read_genotype, read_json, write_json, write_text
from robustnas.runtime.csv_files import read_csv
from robustnas.spaces import Genotype
from robustnas.studies.results import PROGRESS, SCHEMA, higher_is_better
from robustnas.studies.searchers import baseline_of
from robustnas.studies.searchers.trace import FILE as TRACE
from robustnas.studies.trial import Trial, training_of

METRICS = scores("test")  # the score of a task, unless the study names another


def run_trial(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``result.json`` holds, after running what is left of a trial, a search from its checkpoint.

    Where one seed of a group is chosen, the payload says which; what the others found is not trained.
    """
    trial: Trial = payload["trial"]
    chosen: Mapping[str, Any] | None = payload.get("chosen")
    with _attempt(payload, count=chosen is None) as progress:
        progress.stage("search", lambda folder: _search(trial, folder))
        if chosen is not None and not chosen["chosen"]:
            trial = replace(trial, evaluation=None, settings={})
        network = progress.held["stages"]["search"].get("architecture") or str(progress.folder / "search")
        for stage, training in trial.evaluations.items():
            progress.stage(stage, partial(_evaluation, trial, training, network))
        result = _result(trial, progress, chosen)
        write_json(progress.folder / "result.json", result)
    return result


def search_trial(payload: Mapping[str, Any]) -> None:
    """Run what is left of the search of a trial, and nothing else: one seed of its group is chosen later."""
    with _attempt(payload) as progress:
        progress.stage("search", lambda folder: _search(payload["trial"], folder))


@contextlib.contextmanager
def _attempt(payload: Mapping[str, Any], count: bool = True) -> Iterator[_Progress]:
    """The progress of a trial, one attempt further if it is to ``count``; afterwards the GPU is left to others."""
    trial: Trial = payload["trial"]
    try:
        yield _Progress.begin(trial, Path(payload["root"], trial.folder), count)
    finally:
        if torch.cuda.is_initialized():  # networks hang together in circles, and others need the memory of the GPU
            gc.collect()
            torch.cuda.empty_cache()


@dataclass
class _Progress:
    """The stages of a trial that have ended, kept in ``progress.json`` from one attempt to the next."""

    folder: Path
    held: dict[str, Any]

    @classmethod
    def begin(cls, trial: Trial, folder: Path, count: bool = True) -> _Progress:
        path = folder / PROGRESS
        held = read_json(path) if path.is_file() else {}
        held = {
            "schema": SCHEMA, "version": __version__, "trial": trial.factors, "fingerprint": trial.fingerprint,
            "attempts": max(1, held.get("attempts", 0) + count), "stages": held.get("stages", {}),
        }  # fmt: skip
        write_json(path, held)
        configuration = {**trial.factors, "search": trial.search, "evaluation": trial.evaluation, "score": trial.score,
            "arguments": trial.arguments, "table": trial.table and asdict(trial.table),
            **({"settings": dict(trial.settings)} if trial.settings else {})}  # fmt: skip
        write_text(folder / "trial.yaml", yaml.safe_dump(configuration, sort_keys=False, allow_unicode=True))
        return cls(folder, held)

    def stage(self, name: str, run: Callable[[Path], dict[str, Any]]) -> None:
        """Run a stage unless it has ended before, and record what it cost."""
        if name in self.held["stages"]:
            return
        folder = self.folder / name
        before = _spent(folder)
        since, processor = time.perf_counter(), time.process_time()
        said = run(folder)
        seconds, used = before + time.perf_counter() - since, time.process_time() - processor
        self.held["stages"][name] = {"seconds": seconds, "processor_seconds": used, "continued": before > 0, **said}
        write_json(self.folder / PROGRESS, self.held)


def _spent(folder: Path) -> float:
    """Seconds of earlier attempts whose work is kept."""
    if (folder / TRACE).is_file():
        return math.fsum(one["seconds"] or 0.0 for one in read_json(folder / TRACE)["observations"])
    return math.fsum(float(row["seconds"]) for row in _rows(folder)) if (folder / "last.ckpt").is_file() else 0.0


def _search(trial: Trial, folder: Path) -> dict[str, Any]:
    if not trial.baseline:
        done = fit(trial.search, folder, trial.seed)
        searched = getattr(done.model.hooks.get("perturbation_selection"), "search_epochs", None)
        return {"searched": searched, "device": device_of(done)}
    folder.mkdir(parents=True, exist_ok=True)
    found = baseline_of(trial).find(trial, folder)
    if isinstance(found, Genotype):
        Run(folder).write_genotype(found)
    return {"architecture": None if isinstance(found, Genotype) else found}


def _evaluation(
    trial: Trial, training: Mapping[str, Any], network: str | Mapping[str, Any], folder: Path
) -> dict[str, Any]:
    try:
        done = train_and_test(trial.key, run_of(training_of(training, network), folder, trial.seed))
    except ValueError as error:
        if not trial.settings or not str(error).startswith("Expected "):
            raise
        raise ValueError(f"{str(error).rstrip('.')} (under the setting {folder.name}).") from error
    return {"metrics": done.metrics, "parameters": done.parameters, "device": done.device}


def _result(trial: Trial, progress: _Progress, chosen: Mapping[str, Any] | None) -> dict[str, Any]:
    stages = progress.held["stages"]
    rows, folder = _rows(progress.folder / "search"), progress.folder
    trained = [stages[stage] for stage in trial.evaluations]
    test = mean_metrics([stage["metrics"] for stage in trained])
    last = {name: float(value) for name, value in rows[-1].items() if value} if rows else {}
    genotype = folder / "search" / "genotype.json"
    held = read_json(genotype) if genotype.is_file() else None
    known = _truth(trial, genotype)
    truth = {TRUTH.of(name): float(known[name]) for name in ("accuracy", "regret", "rank") if known}
    selecting = stages["search"].get("searched")
    selection = sum(float(row["seconds"]) for row in rows if selecting is not None and int(row["epoch"]) >= selecting)
    seconds = {"search": stages["search"]["seconds"] - selection, "selection": selection,
        "evaluation": math.fsum(stage["seconds"] for stage in trained)}  # fmt: skip
    under = {name: stage["metrics"] for name, stage in zip(trial.settings, trained, strict=False)}
    return {
        "schema": SCHEMA, "version": __version__, "trial": trial.factors, "fingerprint": trial.fingerprint,
        "genotype": held, "arguments": dict(trial.arguments),
        "metrics": {"search": last, "test": test, **({"truth": truth} if known else {})}, "truth": known,
        **({"settings": under} if under else {}),
        **({"chosen": dict(chosen)} if chosen else {}),
        "score": None if chosen and not chosen["chosen"] else _score(trial, {**last, **test, **truth}, under),
        "verdict": _verdict(folder / "search" / "verdict.json"),
        "parameters": trained[0]["parameters"] if trained else None, "seconds": seconds,
        "processor_seconds": sum(stage["processor_seconds"] for stage in stages.values()),
        "continued": any(stage["continued"] for stage in stages.values()),
        "device": (trained or [stages["search"]])[0].get("device"), "epochs": [_epoch(row) for row in rows],
        "folders": {name: name for name in ("search", "evaluation") if (folder / name).is_dir()},
        "attempts": progress.held["attempts"],
    }  # fmt: skip


def _truth(trial: Trial, genotype: Path) -> dict[str, Any] | None:
    """What the study's table says of what was found, also kept as ``truth.json`` of the search."""
    if trial.table is None or not genotype.is_file():
        return None
    try:
        known = trial.table.truth(read_genotype(str(genotype)))
    except ValueError:
        if (trial.score or "").startswith(TRUTH.of("")):
            raise
        return None
    write_json(genotype.parent / "truth.json", known)
    return known


def mean_metrics(trained: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Metrics that all trainings have, each its mean over them; those of a single one as they are."""
    shared = [name for name in (trained[0] if trained else ()) if all(name in one for one in trained)]
    return {name: math.fsum(one[name] for one in trained) / len(trained) for name in shared}


def _score(
    trial: Trial, metrics: Mapping[str, float], under: Mapping[str, Mapping[str, float]]
) -> dict[str, Any] | None:
    """The score of a trial; a metric that was measured under several settings is their mean, with the best beside."""
    name = trial.score or next((name for name in METRICS if name in metrics), None)
    if name is None:
        return None
    if name not in metrics:
        raise ValueError(f"Expected `score` to be among {', '.join(sorted(metrics))}, but got {name!r}.")
    higher = higher_is_better(name)
    held = {"name": name, "value": metrics[name], "higher_is_better": higher}
    values = {setting: measured[name] for setting, measured in under.items() if name in measured}
    known = {setting: value for setting, value in values.items() if math.isfinite(value)}
    if known:
        best = max(known, key=lambda setting: known[setting] * (1 if higher else -1))
        held["best"] = {"value": known[best], "setting": best, "of": len(values)}
    return held


def _verdict(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    held = read_json(path)
    signs = [{name: sign[name] for name in ("name", "weight", "since", "value")} for sign in held["evidence"]]
    return {"state": held["state"], "since": held["since"], "take": held["take"]["epoch"], "evidence": signs}


def _rows(folder: Path) -> list[dict[str, str]]:
    path = folder / "metrics.csv"
    return read_csv(path).records() if path.is_file() else []


def _epoch(row: Mapping[str, str]) -> dict[str, float]:
    measured = {name: float(value) for name, value in row.items() if name.startswith("val/") and value}
    return {"epoch": int(row["epoch"]), "seconds": float(row["seconds"]), **measured}
