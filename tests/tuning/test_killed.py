"""A tuning whose process is killed goes on by the same command, with the values that its trials had."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from trainings import write

from robustnas.runtime.csv_files import read_csv
from robustnas.tuning.results import STATES

pytest.importorskip("optuna", reason='optuna is not installed: pip install "robustnas[tune]"')


@pytest.mark.slow
def test_a_killed_tuning_goes_on_in_workers(tmp_path: Path) -> None:
    """SIGKILL to the command while its workers train; the same command does the rest, and nothing twice."""
    path = write(tmp_path, trials=4, confirm={"best": 1, "seeds": 2})
    words = [sys.executable, "-m", "robustnas", "tune", path, "--folder", str(tmp_path / "t"), "--workers", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL) as started:
        while not list((tmp_path / "t").glob("trials/*/evaluation/last.ckpt")):
            time.sleep(0.2)
            assert started.poll() is None
        started.send_signal(signal.SIGKILL)
    begun = {
        trial: yaml.safe_load((trial / "trial.yaml").read_text(encoding="utf-8"))["values"]
        for trial in (tmp_path / "t" / "trials").glob("*")
        if (trial / "trial.yaml").is_file()
    }
    assert subprocess.run(words, env=environment, check=False).returncode == 0
    rows = read_csv(tmp_path / "t" / "trials.csv").records()
    assert [row["trial"] for row in rows] == ["0", "1", "2", "3"]
    assert {row["state"] for row in rows} <= {STATES["COMPLETE"], STATES["PRUNED"]}
    assert len(read_csv(tmp_path / "t" / "confirmation.csv").records()) in (2, 4)  # one configuration, or two
    for trial, values in begun.items():
        assert yaml.safe_load((trial / "trial.yaml").read_text(encoding="utf-8"))["values"] == values
