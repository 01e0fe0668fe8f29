"""Two processes that one signal asks to end do so at the same step, and go on as if nothing had been."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from words import SMALL

ROOT = Path(__file__).resolve().parents[2]
TIMED = {"seconds", "diagnostics/share"}
SEARCH = [
    "fit",
    *SMALL,
    "--data.batch_size=8",
    "--data.fractions=[0.1, 0.06, 0.06]",
    "--diagnostics.budget=null",
    "--trainer.devices=2",
    "--trainer.max_epochs=8",
]


def start(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "robustnas", *SEARCH, f"--run-dir={folder}", *words]
    paths = os.pathsep.join([str(ROOT), *([os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else [])])
    log = (folder.parent / f"{folder.name}.log").open("ab")
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, cwd=folder.parent, stdout=log, stderr=log, start_new_session=True)


def rows(folder: Path) -> list[dict[str, str]]:
    if not (folder / "metrics.csv").exists():
        return []
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return [{name: value for name, value in row.items() if name not in TIMED} for row in csv.DictReader(file)]


def state(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "last.ckpt", weights_only=True)


@pytest.mark.slow
@pytest.mark.parametrize("to", ["the first", "all", "the second"])
def test_two_processes_end_together_and_go_on_bit_for_bit(tmp_path: Path, to: str) -> None:
    whole, folder = tmp_path / "whole", tmp_path / "run"
    assert start(whole).wait() == 0
    for epochs, number in ((1, signal.SIGTERM), (3, signal.SIGINT)):
        process = start(folder, "--ckpt_path=auto")
        while process.poll() is None and len(rows(folder)) < epochs:
            time.sleep(0.01)
        time.sleep(0.13)  # into the next epoch
        if to == "all":
            os.killpg(process.pid, number)
        else:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            os.kill(process.pid if to == "the first" else int(children[0]), number)
        assert process.wait() == 128 + number, (tmp_path / "run.log").read_text()[-3000:]
        assert not list(folder.glob(".*.tmp"))
        print(to, number.name, "at step", state(folder)["global_step"])
    assert start(folder, "--ckpt_path=last").wait() == 0
    assert rows(folder) == rows(whole)
    found, expected = state(folder), state(whole)
    for name, tensor in expected["state_dict"].items():
        assert torch.equal(found["state_dict"][name], tensor), name
    for mine, other in zip(found["optimizer_states"], expected["optimizer_states"], strict=True):
        for index, held in other["state"].items():
            assert all(torch.equal(mine["state"][index][name], value) for name, value in held.items())
    assert (folder / "genotype.json").read_bytes() == (whole / "genotype.json").read_bytes()
    log = (tmp_path / "run.log").read_text(encoding="utf-8")
    assert log.count("goes on.") == 2
    assert "Traceback" not in log
