"""Folders of studies as trials leave them, with made-up scores and diagnostics."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pages import Page

from robustnas import __version__
from robustnas.reports.study import write_report
from robustnas.spaces import Choice, Genotype, find_space
from robustnas.studies.trial import Trial

VARIANTS = ("DARTS", "SmoothDARTS", "PC-DARTS", "GDAS")
Score = Callable[[Trial, np.random.Generator], float]
EPOCHS = 12


def accuracy(cell: Trial, rng: np.random.Generator) -> float:
    """DARTS collapses now and then, SmoothDARTS is best, random architectures are in between."""
    mean = {"DARTS": 0.86, "SmoothDARTS": 0.93, "PC-DARTS": 0.915, "GDAS": 0.91, "RandomGenotype": 0.88}
    found = mean.get(cell.variant, 0.9) + 0.006 * rng.standard_normal() - 0.02 * (cell.space == "S3")
    found += sum(0.02 for level in cell.levels.values() if level in ("on", "high"))
    return float(found - 0.12 * (cell.variant == "DARTS" and rng.random() < 0.4))


def study_cells(
    variants: Sequence[str] = VARIANTS,
    spaces: Sequence[str | None] = ("S1", "S2", "S3"),
    seeds: Sequence[int] = range(5),
    levels: Sequence[Mapping[str, str]] = ({},),
    random: bool = True,
) -> list[Trial]:
    """A grid, with random architectures beside the variants."""
    found = [
        Trial(name, space, None, dict(chosen), seed, fingerprint="f")
        for seed, space, name, chosen in itertools.product(seeds, spaces, variants, levels)
    ]
    more = [Trial("RandomGenotype", space, None, {}, seed, True, fingerprint="f") for seed in seeds for space in spaces]
    return found + (more if random else [])


def write_study(
    root: Path,
    cells: Sequence[Trial] | None = None,
    score: Score = accuracy,
    finished: Callable[[Trial], bool] = lambda cell: True,
    failed: Mapping[str, str] | None = None,
    truth: bool = False,
    name: str = "made",
    **plan: Any,
) -> Path:
    """Write the folder of a study."""
    cells = study_cells() if cells is None else cells
    listed = [{**cell.factors, "folder": cell.folder, "fingerprint": cell.fingerprint} for cell in cells]
    _json(root / "study.json", {"schema": 2, "name": name, "trials": listed, **plan})
    for number, cell in enumerate(cells):
        said = next((said for part, said in (failed or {}).items() if part in cell.key), None)
        if said is not None:
            _json(root / cell.folder / "failure.json", {"schema": 1, "error": said, "attempt": 1, "log": "log.txt"})
        elif finished(cell):
            write_cell(root, cell, score(cell, rng := np.random.default_rng(number)), rng, truth)
    return root


def write_cell(root: Path, cell: Trial, score: float, rng: np.random.Generator, truth: bool = False) -> None:
    """The files of a finished cell: what is bad had a sharp α, and many skip connections."""
    folder, bad = root / cell.folder, score < 0.85
    rows = [] if cell.baseline else [_row(epoch, bad, rng) for epoch in range(EPOCHS)]
    skips = 5 if bad else int(rng.integers(0, 3))
    if rows:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        _text(folder / "search" / "metrics.csv", text.getvalue())
        _text(folder / "search" / "config.yaml", f"seed_everything: {cell.seed}\nmodel: {{batch_statistics: true}}\n")
        _json(folder / "search" / "manifest.json", _manifest(cell))
    held = json.loads(genotype(skips).to_json())
    _json(folder / "search" / "genotype.json", held)
    for epoch in range(0 if rows else EPOCHS, EPOCHS):
        one = held if epoch > 4 else json.loads(genotype(0).to_json())
        _json(folder / "search" / "genotypes" / f"epoch_{epoch:04d}.json", one)
    if truth:
        held = {
            "accuracy": 100 * score,
            "regret": 94.37 - 100 * score,
            "rank": int(1e4 * (0.9437 - score)),
            "of": 15625,
        }
        _json(folder / "search" / "truth.json", {"schema": 1, **held, "best": 94.37, "mean": 87.06})
    shared = "trainer: {max_epochs: 20}\nmodel: {init_args: {lr: 0.1, architecture: x}}\n"
    _text(folder / "evaluation" / "config.yaml", f"seed_everything: {cell.seed}\n{shared}")
    _json(folder / "evaluation" / "manifest.json", _manifest(cell))
    state = "collapsed" if bad else "healthy"
    result = {
        "schema": 2, "version": __version__, "trial": cell.factors, "fingerprint": "f", "genotype": None,
        "metrics": {"search": {k: v for k, v in rows[-1].items() if v != ""} if rows else {},
            "test": {"test/top1": score, "test/loss": 1 - score}},
        "score": {"name": "test/top1", "value": score, "higher_is_better": True},
        "verdict": None if cell.baseline else {"state": state, "since": 7 if bad else None, "take": None,
            "evidence": [{"name": "skip_domination", "weight": "decides", "since": 7, "value": 0.8}] if bad else []},
        "parameters": 10000 + 100 * cell.seed,
        "seconds": {"search": 12.0 * bool(rows), "selection": 3.0 * (cell.variant == "GDAS"), "evaluation": 30.0},
        "processor_seconds": 40.0, "continued": False, "device": "cpu",
        "epochs": [{"epoch": r["epoch"], "seconds": r["seconds"], "val/top1": r["val/top1"]} for r in rows],
        "folders": {"search": "search", "evaluation": "evaluation"}, "attempts": 1,
    }  # fmt: skip
    _json(folder / "result.json", result)


def page_of(folder: Path) -> Page:
    """The report of a study, once it is well formed."""
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert page.faults == []
    return page


def genotype(skips: int) -> Genotype:
    """A genotype of NAS-Bench-201 with so many skip connections."""
    space = find_space("NASBench201")
    names = ["skip_connect"] * skips + ["nor_conv_3x3"] * 6
    edges = zip(space.cells["cell"].edges, names, strict=False)
    return Genotype("NASBench201", {"cell": tuple(Choice(edge.source, edge.node, name) for edge, name in edges)})


def _row(epoch: int, bad: bool, rng: np.random.Generator) -> dict[str, Any]:
    at = epoch / (EPOCHS - 1)
    noise = rng.standard_normal(3)
    return {
        "epoch": epoch, "step": 10 * epoch, "seconds": 1.0, "val/loss": 2.3 - at, "val/top1": 0.1 + 0.6 * at,
        "train/loss": 2.2 - at, "alpha/entropy": 1 - (0.5 if bad else 0.2) * at + 0.01 * noise[0],
        "curvature/max": 0.2 + (2 * at if bad else 0.2 * at) + 0.02 * abs(noise[1]),
        "gap/accuracy": (0.5 if bad else 0.1) * at + 0.01 * noise[2], "ranking/tau": 0.5,
        "truth/accuracy": 90 - (35 * at if bad else 0), "truth/regret": 4.37, "truth/rank": 100,
    }  # fmt: skip


def _manifest(cell: Trial) -> dict[str, Any]:
    roles = {name: {"size": 100, "sha256": f"{name}-{cell.seed}"} for name in ("weights", "arch", "selection", "test")}
    return {
        "schema": 1, "versions": {"robustnas": __version__, "torch": "2.13.0"}, "cpu": {"model": "a CPU", "cores": 2},
        "gpus": [], "git": {"robustnas": {"commit": "0" * 40, "dirty": False}},
        "module": {"class_path": "robustnas.variants.DARTS", "init_args": {"space": "NASBench201"}},
        "data": {"source": "Digits", "classes": list("0123456789"), "roles": roles}, "epochs": EPOCHS,
    }  # fmt: skip


def _json(path: Path, data: Any) -> None:
    _text(path, json.dumps(data))


def _text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
