"""Runs that torchrun starts: one folder takes one of them, and the other is told so."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from robustnas.runs.record import Run

ROOT = Path(__file__).resolve().parents[2]
SEARCH = [
    "fit",
    "--model=DARTS",
    "--model.space=NASBench201",
    "--model.cells=1",
    "--model.channels=2",
    "--data=Digits",
    "--data.batch_size=8",
    "--data.fractions=[0.1, 0.06, 0.06]",
    "--diagnostics.budget=0.05",
    "--trainer.enable_progress_bar=false",
    "--trainer.accelerator=cpu",
    "--trainer.devices=2",
]


def torchrun(folder: Path, log: Path, *words: str) -> subprocess.Popen[bytes]:
    """Two processes in a folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={port}"]
    command = [*launcher, "-m", "--", "robustnas", *SEARCH, f"--run-dir={folder}", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with log.open("wb") as said:
        return subprocess.Popen(
            command, env=environment, cwd=folder.parent, stdout=said, stderr=said, start_new_session=True
        )


def epochs(folder: Path) -> int:
    return (folder / "metrics.csv").read_bytes().count(b"\n") - 1


@pytest.mark.slow
def test_a_second_start_into_the_folder_of_a_run_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    first = torchrun(folder, tmp_path / "first.log", "--trainer.max_epochs=100000")
    try:
        while first.poll() is None and not (folder / "last.ckpt").exists():
            time.sleep(0.1)
        assert first.poll() is None, (tmp_path / "first.log").read_text()
        for words, sentence in (
            ((), f"Expected `--run-dir` to be a new folder, but {folder} holds a run; `--ckpt_path last` continues it"),
            (("--ckpt_path=auto",), f"no other process writes to, but {folder} is written to by process "),
            (("--ckpt_path=last",), f"no other process writes to, but {folder} is written to by process "),
        ):
            log = tmp_path / "second.log"
            second = torchrun(folder, log, "--trainer.max_epochs=100000", *words)
            assert second.wait() == 1
            assert f"robustnas: Expected `--run-dir` to be a {'new' if not words else 'folder'}" in log.read_text()
            assert sentence in log.read_text()
        assert first.poll() is None
        before = epochs(folder)
        while first.poll() is None and epochs(folder) == before:
            time.sleep(0.1)
        first.send_signal(signal.SIGTERM)
        first.wait()
    finally:
        if first.poll() is None:
            os.killpg(first.pid, signal.SIGKILL)
    said = (tmp_path / "first.log").read_text()
    assert f"{folder / 'last.ckpt'} holds the complete run" in said, said
    assert not (folder / ".lock").exists()
    assert "continued" not in Run(folder).manifest
