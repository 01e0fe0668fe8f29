"""One cell of a study: an ordinary search, an ordinary evaluation, and one file with what came of them."""

from __future__ import annotations

import gc
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from robustnas import __version__
from robustnas.analysis.metrics import TRUTH
from robustnas.analysis.registry import scores
from robustnas.cli import lightning_cli
from robustnas.cli.evaluation import data_of, device_of, section_of, train_and_test
from robustnas.runs.record import Run, read_genotype, read_json, write_json
from robustnas.runtime.csv_files import read_csv
from robustnas.spaces import Genotype
from robustnas.studies.baselines import baseline_of
from robustnas.studies.grid import Cell
from robustnas.studies.results import SCHEMA, higher_is_better
from robustnas.studies.trials import FILE as TRACE
from robustnas.studies.trials import truth_of
from robustnas.studies.words import ARCHITECTURE, QUIET, configuration, evaluation_words, found_words, in_folder

FIRST = scores("test")  # the score of a task, unless the study names another


def run_cell(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Run what is left of a cell, and leave ``result.json`` in its folder.

    The same function serves every engine. A search that was interrupted goes on from its checkpoint; a stage that has
    ended is not run again.

    Args:
        payload: ``root``, the folder of the study, and ``cell``, the fields of a :class:`~robustnas.studies.grid.Cell`.

    Returns:
        What ``result.json`` holds.

    Raises:
        ValueError: If the configuration cannot run, or does not measure the score.
    """
    cell = Cell(**payload["cell"])
    progress = _Progress.begin(cell, Path(payload["root"], cell.folder))
    try:
        (_baseline if cell.baseline else _search)(cell, progress)
        if cell.evaluation is not None:
            _evaluation(cell, progress)
        result = _result(cell, progress)
        write_json(progress.folder / "result.json", result)
        return result
    finally:
        if torch.cuda.is_initialized():  # networks hang together in circles, and others need the memory of the GPU
            gc.collect()
            torch.cuda.empty_cache()


@dataclass
class _Progress:
    """What of a cell has ended, kept in ``cell.json`` from one attempt to the next."""

    folder: Path
    held: dict[str, Any]

    @classmethod
    def begin(cls, cell: Cell, folder: Path) -> _Progress:
        path = folder / "cell.json"
        held = read_json(path) if path.is_file() else {}
        held = {
            "schema": SCHEMA, "version": __version__, "cell": cell.place, "fingerprint": cell.fingerprint,
            "attempts": held.get("attempts", 0) + 1, "stages": held.get("stages", {}),
        }  # fmt: skip
        write_json(path, held)
        return cls(folder, held)

    def stage(self, name: str, run: Callable[[Path], dict[str, Any]]) -> None:
        """Run a stage unless it has ended before, and note what it cost."""
        if name in self.held["stages"]:
            return
        folder = self.folder / name
        before = _spent(folder)
        since, processor = time.perf_counter(), time.process_time()
        said = run(folder)
        self.held["stages"][name] = {
            "seconds": before + time.perf_counter() - since,
            "processor_seconds": time.process_time() - processor,
            "continued": before > 0,
            **said,
        }
        write_json(self.folder / "cell.json", self.held)


def _spent(folder: Path) -> float:
    """Seconds of earlier attempts whose work is kept."""
    if (folder / TRACE).is_file():
        return math.fsum(trial["seconds"] or 0.0 for trial in read_json(folder / TRACE)["trials"])
    return math.fsum(float(row["seconds"]) for row in _rows(folder)) if (folder / "last.ckpt").is_file() else 0.0


def _search(cell: Cell, progress: _Progress) -> None:
    def run(folder: Path) -> dict[str, Any]:
        done = lightning_cli.main(["fit", QUIET, *cell.search, f"--seed_everything={cell.seed}", *in_folder(folder)])
        searched = getattr(done.model.hooks.get("perturbation_selection"), "search_epochs", None)
        return {"searched": searched, "device": device_of(done)}

    progress.stage("search", run)


def _baseline(cell: Cell, progress: _Progress) -> None:
    def run(folder: Path) -> dict[str, Any]:
        folder.mkdir(parents=True, exist_ok=True)
        found = baseline_of(cell).find(cell, configuration(cell.search), folder)
        if isinstance(found, Genotype):
            Run(folder).write_genotype(found)
        return {"architecture": None if isinstance(found, Genotype) else dict(found)}

    progress.stage("search", run)


def _evaluation(cell: Cell, progress: _Progress) -> None:
    searched = progress.folder / "search"

    def run(folder: Path) -> dict[str, Any]:
        if cell.baseline:
            sections = configuration(cell.search)
            model, data = sections["model"], sections["data"]
        else:
            model, data = section_of(searched, "model"), data_of(searched)
        plain = progress.held["stages"]["search"].get("architecture")
        own = found_words(str(searched), model["init_args"]["space"])
        words = evaluation_words(cell, model, data, [f"--{ARCHITECTURE}={json.dumps(plain)}"] if plain else own)
        done = train_and_test(cell.key, [QUIET, *words, f"--seed_everything={cell.seed}", *in_folder(folder)])
        return {"metrics": done.metrics, "parameters": done.parameters, "device": done.device}

    progress.stage("evaluation", run)


def _result(cell: Cell, progress: _Progress) -> dict[str, Any]:
    stages = progress.held["stages"]
    rows, folder = _rows(progress.folder / "search"), progress.folder
    test = stages.get("evaluation", {}).get("metrics", {})
    last = {name: float(value) for name, value in rows[-1].items() if value} if rows else {}
    genotype = folder / "search" / "genotype.json"
    held = read_json(genotype) if genotype.is_file() else None
    known = _truth(cell, genotype)
    truth = {TRUTH.of(name): float(known[name]) for name in ("accuracy", "regret", "rank") if known}
    selecting = stages["search"].get("searched")
    selection = sum(float(row["seconds"]) for row in rows if selecting is not None and int(row["epoch"]) >= selecting)
    return {
        "schema": SCHEMA,
        "version": __version__,
        "cell": cell.place,
        "fingerprint": cell.fingerprint,
        "genotype": held,
        "arguments": dict(cell.arguments),
        "metrics": {"search": last, "test": test, **({"truth": truth} if known else {})},
        "truth": known,
        "score": _score(cell, {**last, **test, **truth}),
        "verdict": _verdict(folder / "search" / "verdict.json"),
        "parameters": stages.get("evaluation", {}).get("parameters"),
        "seconds": {
            "search": stages["search"]["seconds"] - selection,
            "selection": selection,
            "evaluation": stages.get("evaluation", {}).get("seconds", 0.0),
        },
        "processor_seconds": sum(stage["processor_seconds"] for stage in stages.values()),
        "continued": any(stage["continued"] for stage in stages.values()),
        "device": next(
            (stages[name]["device"] for name in ("evaluation", "search") if "device" in stages.get(name, {})), None
        ),
        "epochs": [_epoch(row) for row in rows],
        "folders": {name: name for name in ("search", "evaluation") if (folder / name).is_dir()},
        "attempts": progress.held["attempts"],
    }


def _truth(cell: Cell, genotype: Path) -> dict[str, Any] | None:
    """What the study's table says of what was found, also kept as ``truth.json`` of the search."""
    if cell.table is None or not genotype.is_file():
        return None
    try:
        known = truth_of(cell.table, read_genotype(str(genotype)))
    except ValueError:
        if (cell.score or "").startswith(TRUTH.of("")):
            raise
        return None
    write_json(genotype.parent / "truth.json", known)
    return known


def _score(cell: Cell, metrics: Mapping[str, float]) -> dict[str, Any] | None:
    name = cell.score or next((name for name in FIRST if name in metrics), None)
    if name is None:
        return None
    if name not in metrics:
        raise ValueError(f"Expected `score` to be among {', '.join(sorted(metrics))}, but got {name!r}.")
    return {"name": name, "value": metrics[name], "higher_is_better": higher_is_better(name)}


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
