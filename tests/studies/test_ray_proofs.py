"""Protects real studies on Ray: bit for bit those of local workers, also where workers and nodes are lost."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from planted import PART, Planted, installed
from test_running import starts, trials, wait_for

from robustnas.studies.results import read_results

HERE = Path(__file__).parent
MISSING = "ray is not installed: pip install robustnas[ray]"

OWN = """
name: own
variants: {DARTS: {config: digits_darts_second_order.yaml, options: {model.init_args.relaxation: my_part.Warm}}}
seeds: [0, 1]
common:
  model.init_args: {gradient: FirstOrder, channels: 2, cells: 1}
  trainer: {max_epochs: 1, limit_train_batches: 1, limit_val_batches: 1, accelerator: cpu}
baselines: []
evaluation: null
"""


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], ["--dry-run"]], ids=["run", "dry run"])
@pytest.mark.parametrize("engine", ["local", "ray"])
def test_trust_reaches_workers_which_import_nothing_else_of_the_folder(
    engine: str, words: list[str], tmp_path: Path
) -> None:
    if engine == "ray":
        pytest.importorskip("ray", reason=MISSING)
    planted = Planted(tmp_path / "study", tmp_path / "outside")
    planted.plant(*installed())
    (planted.folder / "my_part.py").write_text(PART, encoding="utf-8")
    (planted.folder / "study.yaml").write_text(OWN, encoding="utf-8")
    command = ["ablate", "study.yaml", f"--engine={engine}", "--workers=2", "--trust=my_part", *words]
    done = planted.run(str(planted.means / "driver.py"), *command)
    assert "statuses 0" in done.stdout, done.stdout[-2000:] + done.stderr[-2000:]
    assert planted.executed() == set()
    assert len(list(planted.folder.rglob("result.json"))) == (0 if words else 2)


HALVING = """
baselines: {SuccessiveHalving: {evaluations: 2, epochs: 1}}
evaluation:
  config: evaluate_nasbench201.yaml
  options:
    model.init_args.architecture.init_args: {channels: 2, cells: 1}
    trainer: {max_epochs: 1, limit_train_batches: 1, limit_val_batches: 1, limit_test_batches: 1, accelerator: cpu}
"""


@pytest.mark.slow
def test_successive_halving_in_a_worker_imports_nothing_of_the_folder(tmp_path: Path) -> None:
    """It starts Ray once more, in the process of a worker."""
    pytest.importorskip("ray", reason=MISSING)
    planted = Planted(tmp_path / "study", tmp_path / "outside")
    planted.plant(*installed())
    (planted.folder / "my_part.py").write_text(PART, encoding="utf-8")
    study = OWN.partition("baselines")[0].replace("[0, 1]", "[0]") + HALVING
    (planted.folder / "study.yaml").write_text(study, encoding="utf-8")
    command = ["ablate", "study.yaml", "--workers=1", "--trust=my_part"]
    done = planted.run(str(planted.means / "driver.py"), *command)
    assert "statuses 0" in done.stdout, done.stdout[-2000:] + done.stderr[-2000:]
    assert planted.executed() == set()


TINY = """
name: both
variants:
  DARTS: {config: digits_darts_second_order.yaml, options: {model.init_args.gradient: FirstOrder}}
  GDAS: {config: digits_gdas.yaml}
seeds: [0, 1]
baselines: []
common:
  model.init_args: {space: NASBench201, channels: 2}
  trainer: {max_epochs: 3, limit_train_batches: 8, accelerator: cpu}
  diagnostics.budget: null
evaluation:
  config: evaluate_nasbench201.yaml
  options:
    model.init_args.architecture.init_args: {channels: 2, cells: 1}
    trainer: {max_epochs: 1, limit_train_batches: 6, accelerator: cpu}
"""


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_a_study_finds_the_same_on_ray_also_when_a_worker_is_killed(tmp_path: Path) -> None:
    """Real searches, by the command: bit for bit, whatever ran them and how often."""
    (tmp_path / "study.yaml").write_text(TINY, encoding="utf-8")

    def start(name: str, *words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "robustnas", "ablate", "study.yaml", "--folder", name, "--workers", "2"]
        return subprocess.Popen([*command, *words], cwd=tmp_path, stdout=subprocess.DEVNULL)

    for name, words in (("local", []), ("ray", ["--engine", "ray"])):
        since = time.monotonic()
        assert start(name, *words).wait() == 0
        print(f"{name}: {time.monotonic() - since:.1f} s")
    running = start("killed", "--engine", "ray")
    wait_for(lambda: running.poll() is not None or list(tmp_path.glob("killed/trials/*/*/search/alpha/epoch_0000.npz")))
    os.kill(working(running.pid)[0], signal.SIGKILL)
    assert running.wait() == 0
    local, calm, killed = (read_results(tmp_path / name) for name in ("local", "ray", "killed"))
    assert len(local) == 4
    assert [sum(record.held["attempts"] for record in records) for records in (local, calm, killed)] == [4, 4, 5]
    for name, records in (("ray", calm), ("killed", killed)):
        for one, other in zip(local, records, strict=True):
            assert one.folder == other.folder
            assert numbers(one.held) == numbers(other.held)
            theirs, own = tmp_path / "local" / one.folder / "search", tmp_path / name / one.folder / "search"
            for folder in ("alpha", "genotypes"):
                left = {path.name: path.read_bytes() for path in (own / folder).iterdir()}
                assert left == {path.name: path.read_bytes() for path in (theirs / folder).iterdir()}
                assert len(left) == 3


def numbers(held: Any) -> dict[str, Any]:
    """What a result tells apart from how long things took, and how often they were begun."""
    search = {name: value for name, value in held["metrics"]["search"].items() if name not in TIMES}
    names = ("cell", "fingerprint", "genotype", "score", "verdict", "parameters", "device", "folders")
    epochs = [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in held["epochs"]]
    return {"search": search, "test": held["metrics"]["test"], "epochs": epochs, **{name: held[name] for name in names}}


TIMES = ("seconds", "diagnostics/share")


def working(pid: int) -> list[int]:
    """Actors that run a job, of the cluster that a process started."""
    said = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in said.splitlines()]
    family = {pid}
    while more := {int(one) for one, parent, *_ in rows if int(parent) in family} - family:
        family |= more
    return [int(one) for one, _, *args in rows if int(one) in family and re.match(r"ray::Host\.run", "".join(args))]


@pytest.mark.slow
def test_a_node_that_is_lost_is_done_without(tmp_path: Path) -> None:
    """Two nodes on this machine, by Ray's own means for tests."""
    pytest.importorskip("ray", reason=MISSING)
    script = tmp_path / "lose.py"
    script.write_text(LOSE, encoding="utf-8")
    paths = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "study")], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": paths, "RAY_AUTH_TOKEN": "0" * 32, "RAY_USAGE_STATS_ENABLED": "0"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    grid = trials("fine", "hangs")
    assert [len(starts(tmp_path / "study", trial)) for trial in grid] == [1, 2]
    for trial in grid:
        held = json.loads((tmp_path / "study" / trial.folder / "result.json").read_text(encoding="utf-8"))
        assert held["environment"] == {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "0"}
    assert "hangs/seed-0: its worker ended with its process of Ray (The actor " in done.stdout


LOSE = """
import sys, time
from pathlib import Path
from ray.cluster_utils import Cluster
from test_running import FAKE, trials, starts
from robustnas.studies.ray_engine import ray_engine_of
from robustnas.studies.running import run_trials

root, grid = Path(sys.argv[1]), trials("fine", "hangs")
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
lost = cluster.add_node(num_cpus=4, num_gpus=1)  # which Ray takes at its word
engine = ray_engine_of(cluster.address, gpus=0.5, cpus=1, shared=root)
assert engine.slots == 2

def watch(event):
    if event.text:
        print(f"{event.key}: {event.text}")
    if event.kind == "started" and event.attempt == 1 and event.key.startswith("hangs"):
        while not starts(root, grid[1]):
            time.sleep(0.05)
        cluster.add_node(num_cpus=4, num_gpus=1)
        cluster.remove_node(lost, allow_graceful=False)

assert run_trials(root, grid, engine, watch, FAKE) == 0
cluster.shutdown()
"""
