"""Trials that take no time, which workers run in tests instead of a search."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robustnas import __version__
from robustnas.planning.probe import Stage
from robustnas.runs.record import write_json


def fake_trial(payload: Mapping[str, Any]) -> dict[str, Any]:
    """A trial whose score is its seed; what its variant is called says what happens to it."""
    trial = payload["trial"]
    folder = Path(payload["root"], trial.folder)
    folder.mkdir(parents=True, exist_ok=True)
    if trial.variant == "takes-long":  # before its start is noted: a test sends the signal from then on
        signal.signal(signal.SIGTERM, lambda number, frame: _leave(folder))
    with (folder / "starts.txt").open("a", encoding="utf-8") as file:
        file.write(f"{os.getpid()}\n")
    starts = len((folder / "starts.txt").read_text(encoding="utf-8").splitlines())
    print(f"start {starts} of {trial.variant}")
    os.system(f"echo from a child of {trial.variant}")
    if trial.variant == "refuses":
        raise ValueError("Expected `lr` to be\n  positive, but got -1.")
    if trial.variant == "breaks":
        raise RuntimeError("a bug\nwith more lines")
    if trial.variant == "dies" or (trial.variant == "dies-once" and starts == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if trial.variant == "orphaned" and starts == 1:
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(600)
    if trial.variant == "leaves":
        os._exit(3)
    if trial.variant in ("hangs", "takes-long") and starts == 1:
        time.sleep(600)
    result = {
        "schema": 2, "version": __version__, "trial": trial.factors, "fingerprint": trial.fingerprint, "genotype": None,
        "metrics": {"search": {"val/top1": 0.5}, "test": {"test/top1": float(trial.seed)}},
        "score": {"name": "test/top1", "value": float(trial.seed), "higher_is_better": True},
        "verdict": {"state": "healthy", "since": None, "take": None, "evidence": []}, "parameters": 100,
        "seconds": {"search": 1.0, "selection": 0.0, "evaluation": 2.0}, "processor_seconds": 3.0, "continued": False,
        "device": "cpu", "epochs": [], "folders": {}, "attempts": starts,
        "environment": {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")},
    }  # fmt: skip
    write_json(folder / "result.json", result)
    return result


def _leave(folder: Path) -> None:
    (folder / "checkpoint.txt").touch()
    sys.exit(143)


def fake_probe(payload: Mapping[str, Any]) -> dict[str, Any]:
    """A probe: searches take 10 epochs of 4 steps of 0.5 s, evaluations 5 of 2 with validation."""
    if payload["trial"].variant == "breaks":
        raise RuntimeError("a bug")
    search = Stage(start=1.0, step=0.5, steps=4, val_step=0.0, val_steps=0, epochs=10)
    evaluation = Stage(start=2.0, step=1.0, steps=2, val_step=0.25, val_steps=4, epochs=5)
    return {
        "stages": {"search": (search, 1), "evaluation": (evaluation, 1)},
        "memory": payload["trial"].seed,
        "gpu_memory": 0,
    }
