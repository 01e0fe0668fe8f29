"""A command finishes its work although its output is no longer read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from words import SMALL

from robustnas.__main__ import main
from robustnas.runtime.terminal import SIGPIPE_STATUS, PipeSafeStream, Streams

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}


def to_nobody(words: list[str], cwd: Path, both: bool = False) -> int:
    """The exit status of a command whose output is a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        command = [sys.executable, "-m", "robustnas", *words]
        done = subprocess.run(
            command, cwd=cwd, env=ENVIRONMENT, stdout=writing, stderr=writing if both else subprocess.PIPE, timeout=300
        )
    finally:
        os.close(writing)
    assert both or b"Traceback" not in done.stderr
    assert both or b"BrokenPipe" not in done.stderr
    return done.returncode


@pytest.mark.parametrize("both", [False, True])
def test_help_to_nobody_ends_as_a_broken_pipe(tmp_path: Path, both: bool) -> None:
    assert to_nobody(["--help"], tmp_path, both) == SIGPIPE_STATUS
    assert to_nobody(["draw", "none"], tmp_path) == 1  # what fails keeps its status


WORDS = ["fit", *SMALL, "--trainer.enable_progress_bar=true", "--trainer.max_epochs=1", "--run-dir=run"]
WORDS += ["--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1", "--diagnostics.measures=[]"]


def test_a_search_to_nobody_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8", buffering=1) as nobody:
        monkeypatch.setattr(sys, "stdout", nobody)
        monkeypatch.setattr(sys, "stderr", nobody)
        assert main(WORDS) == SIGPIPE_STATUS
    assert Path("run", "genotype.json").is_file()
    assert Path("run", "last.ckpt").is_file()


@pytest.mark.slow
def test_a_process_that_searches_and_draws_to_nobody_ends_in_order(tmp_path: Path) -> None:
    assert to_nobody(WORDS, tmp_path, both=True) in (0, SIGPIPE_STATUS)
    assert (tmp_path / "run" / "genotype.json").is_file()
    assert to_nobody(["draw", "run", "--out", "cells.svg"], tmp_path) == SIGPIPE_STATUS
    assert (tmp_path / "cells.svg").is_file()


def test_a_broken_stream_takes_text_and_loses_it() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8") as file:
        stream = PipeSafeStream(file)
        assert stream.write("a" * 100_000) == 100_000  # more than is held back
        stream.writelines(["b"])
        stream.flush()
        assert stream.broken
        assert stream.encoding == "utf-8"


def test_a_stream_that_was_closed_before_the_start_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["--version"]) == 0
    assert sys.stdout is None
    assert Streams().status(0) == 0
