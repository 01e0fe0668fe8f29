"""A search that is killed again and again ends as the undisturbed one, bit for bit, and never leaves a broken file."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from words import SMALL

ROOT = Path(__file__).resolve().parents[1]
TIMED = {"seconds", "diagnostics/share"}
KILLS = int(os.environ.get("ROBUSTNAS_KILLS", "20"))
SEARCH = ["fit", *SMALL, "--diagnostics.budget=null", "--trainer.log_every_n_steps=1", "--checkpoint_every=2"]


def start(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "robustnas", *SEARCH, f"--run-dir={folder}", "--ckpt_path=auto", *words]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    log = (folder.parent / f"{folder.name}.log").open("ab")
    return subprocess.Popen(command, env=env, cwd=folder.parent, stdout=log, stderr=log)


def read(path: Path) -> Any:
    """The content of a file, read as what it is."""
    readers = {
        ".json": lambda: json.loads(path.read_text(encoding="utf-8")),
        ".yaml": lambda: yaml.safe_load(path.read_text(encoding="utf-8")),
        ".npz": lambda: {name: array.tobytes() for name, array in np.load(path, allow_pickle=False).items()},
        ".ckpt": lambda: torch.load(path, weights_only=True),
        ".csv": lambda: list(csv.DictReader(path.open(newline="", encoding="utf-8"))),
        ".svg": lambda: (xml.etree.ElementTree.parse(path), path.read_bytes())[1],
        ".png": lambda: (Image.open(path).load(), path.read_bytes())[1],
    }
    return readers[path.suffix]()


def contents(folder: Path) -> dict[str, Any]:
    """Every file that does not belong to TensorBoard and is not hidden; each must be readable."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(folder)): read(path) for path in paths if "tfevents" not in path.name}


def rows(found: dict[str, Any]) -> list[dict[str, str]]:
    return [{name: value for name, value in row.items() if name not in TIMED} for row in found["metrics.csv"]]


def points(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows: steps and values of every curve."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    curves = {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    return {tag: curve for tag, curve in curves.items() if tag not in TIMED}


def tensors(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    """All numbers of a checkpoint that the search consists of."""
    found = dict(checkpoint["state_dict"])
    for number, optimizer in enumerate(checkpoint["optimizer_states"]):
        for index, held in optimizer["state"].items():
            found |= {f"{number} {index} {name}": torch.as_tensor(value) for name, value in held.items()}
    return {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}


def check_same(folder: Path, whole: Path) -> None:
    found, expected = contents(folder), contents(whole)
    assert found.keys() == expected.keys()
    assert rows(found) == rows(expected)
    one, other = tensors(found["last.ckpt"]), tensors(expected["last.ckpt"])
    assert one.keys() == other.keys()
    assert [name for name in other if not torch.equal(one[name], other[name])] == []
    for held in (found, expected):
        for name in ("started", "command", "continued"):
            held["manifest.json"].pop(name, None)
        del held["config.yaml"]["run_dir"]
    timed = {"last.ckpt", "previous.ckpt", "metrics.csv"}  # with the seconds that epochs took
    assert [name for name in expected if name not in timed and found[name] != expected[name]] == []
    assert points(folder) == points(whole)


def wait_for(process: subprocess.Popen[bytes], context: Any) -> None:
    while process.poll() is None and not context():
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_search_survives_kills_at_any_moment(tmp_path: Path) -> None:
    seed = int(os.environ.get("ROBUSTNAS_SEED", random.SystemRandom().randrange(10**6)))
    print(f"seed {seed}")
    draw, epochs = random.Random(seed), "--trainer.max_epochs=12"
    whole, folder = tmp_path / "whole", tmp_path / "run"
    assert start(whole, epochs).wait() == 0
    kills: dict[str, int] = {"SIGKILL": 0, "SIGTERM": 0}
    attempts = finished = 0
    while sum(kills.values()) < KILLS:
        attempts += 1
        assert attempts < 3 * KILLS
        running = folder.with_name(f"run{finished}")
        number = draw.choice([signal.SIGKILL, signal.SIGTERM])
        before = {path: path.stat().st_mtime_ns for path in (running / "config.yaml",) if path.exists()}
        process = start(running, epochs)
        wait_for(process, lambda path=running / "config.yaml", old=before: _newer(path, old))
        time.sleep(draw.uniform(0.0, 2.5))
        if process.poll() is None:
            process.send_signal(number)
        status = process.wait()
        log = (tmp_path / f"{running.name}.log").read_text(encoding="utf-8", errors="replace")
        found = contents(running)  # whatever the moment: what is there can be read
        step = found["last.ckpt"]["global_step"] if "last.ckpt" in found else 0
        print(f"{number.name} -> {status}, {len(found)} files, step {step}")
        assert status in (0, -number, 143), log[-3000:]
        if status != 0:
            kills[number.name] += 1
            assert "Traceback" not in log, log[-3000:]
        if status == 0:
            check_same(running, whole)
            finished += 1
    while start(folder.with_name(f"run{finished}"), epochs).wait() != 0:
        raise AssertionError("the run does not go on")
    check_same(folder.with_name(f"run{finished}"), whole)
    print(kills, f"{finished + 1} searches")


def _newer(path: Path, before: dict[Path, int]) -> bool:
    return path.exists() and path.stat().st_mtime_ns != before.get(path)
