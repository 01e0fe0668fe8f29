"""Protects the Ray engine: events, files and numbers are those of the workers on one machine."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from planted import PART, Planted, installed
from test_running import FAKE, starts, trials

from robustnas.__main__ import main
from robustnas.runtime import trust
from robustnas.studies import cluster, ray_engine
from robustnas.studies.engine import Event
from robustnas.studies.ray_engine import RayEngine, ray_engine_of
from robustnas.studies.ray_host import Host, Mark, NodeReport, code
from robustnas.studies.results import read_failures, read_results, write_plan
from robustnas.studies.running import run_trials, unfinished

HERE = Path(__file__).parent
MISSING = "ray is not installed: pip install robustnas[ray]"


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A cluster of this machine, with the environment that its workers need to find what is tested."""
    library = pytest.importorskip("ray", reason=MISSING)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), str(HERE.parents[1]), before or ""])
    cluster.join("local", 2)
    yield library
    library.shutdown()
    os.environ.pop("PYTHONPATH")
    if before is not None:
        os.environ["PYTHONPATH"] = before


@pytest.mark.usefixtures("ray")
def test_cells_run_fail_alone_and_are_run_again_when_a_worker_dies(tmp_path: Path) -> None:
    grid = trials("fine", "refuses", "dies-once", "orphaned", "breaks", "dies", "last")
    seen: list[Event] = []
    engine = RayEngine(1, cpus=1, threads=3, shared=tmp_path)
    assert run_trials(tmp_path, grid, engine, seen.append, FAKE) == 3
    kinds = {trial.variant: [event.kind for event in seen if event.key == trial.key] for trial in grid}
    again = ["started", "retry"]
    assert kinds == {
        "fine": ["started", "done"], "refuses": ["started", "failed"], "breaks": ["started", "failed"],
        "dies-once": [*again, "started", "done"], "orphaned": [*again, "started", "done"],
        "dies": [*again, *again, "started", "failed"], "last": ["started", "done"],
    }  # fmt: skip
    write_plan(tmp_path, "fakes", grid)
    assert {Path(folder).parts[1]: said for folder, said in read_failures(tmp_path).items()} == {
        "refuses": "Expected `lr` to be positive, but got -1.",
        "breaks": "RuntimeError: a bug",
        "dies": "Expected its worker to stay alive, but 3 of them ended by SIGKILL, which the system also sends when "
        "memory runs out.",
    }
    orphaned = next(event.text for event in seen if event.kind == "retry" and event.key.startswith("orphaned"))
    assert (
        orphaned == "its worker ended with its process of Ray (The actor is dead because its worker process has died)"
    )
    by_name = {trial.variant: starts(tmp_path, trial) for trial in grid}
    assert by_name["fine"] == by_name["refuses"] == by_name["dies-once"][:1]  # one process until it was killed
    assert by_name["dies-once"][1:] == by_name["orphaned"][:1] != by_name["fine"]
    assert by_name["orphaned"][1:] == by_name["breaks"]
    done = {record.variant: record.held for record in read_results(tmp_path)}
    assert set(done) == {"fine", "dies-once", "orphaned", "last"}
    assert done["last"]["environment"] == {"OMP_NUM_THREADS": "3", "CUDA_VISIBLE_DEVICES": ""}
    log = (tmp_path / grid[4].folder / "log.txt").read_text(encoding="utf-8")
    assert "start 1 of breaks" in log
    assert "from a child of breaks" in log
    assert log.count("RuntimeError: a bug") == 1
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.usefixtures("ray")
def test_stopping_ends_what_runs_and_the_study_goes_on_later(tmp_path: Path) -> None:
    grid = trials("takes-long", "hangs", "last")
    begun: set[str] = set()

    def stop(event: Event) -> None:
        begun.update([event.key] if event.kind == "started" else [])
        if len(begun) == 2:
            wait_for(lambda: all(starts(tmp_path, trial) for trial in grid[:2]))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_trials(tmp_path, grid, RayEngine(2, grace=1000), stop, FAKE)
    for trial in grid[:2]:
        with pytest.raises(ProcessLookupError):
            os.kill(starts(tmp_path, trial)[0], signal.SIGCONT)
        assert not (tmp_path / trial.folder / "failure.json").exists()
    assert (tmp_path / grid[0].folder / "checkpoint.txt").exists()  # it had the time to leave one
    todo = unfinished(tmp_path, grid)
    assert [trial.variant for trial in todo] == ["takes-long", "hangs", "last"]
    assert run_trials(tmp_path, todo, RayEngine(2), lambda event: None, FAKE) == 0
    assert [len(starts(tmp_path, trial)) for trial in grid] == [2, 2, 1]


def wait_for(holds: Any) -> None:
    while not holds():
        time.sleep(0.05)


@pytest.mark.usefixtures("ray")
def test_a_folder_that_a_node_does_not_see_is_refused(tmp_path: Path) -> None:
    class Elsewhere(RayEngine):
        @contextlib.contextmanager
        def _marked(self) -> Iterator[Mark | None]:
            (tmp_path / ".seen").write_text("of another study", encoding="utf-8")
            yield Mark(str(tmp_path / ".seen"), "0123")

    grid = trials("fine")
    with pytest.raises(ValueError, match=r"Expected the folder .* but \S+ does not see .*; `--folder` names one"):
        run_trials(tmp_path, grid, Elsewhere(1, shared=tmp_path), lambda event: None, FAKE)
    assert starts(tmp_path, grid[0]) == []


@pytest.mark.usefixtures("ray")
def test_workers_that_do_not_start_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Host):
        def report(self, mark: Mark | None) -> NodeReport:
            raise ModuleNotFoundError("No module named 'robustnas'")

    monkeypatch.setattr(ray_engine, "Host", Broken)
    with pytest.raises(ValueError, match=r"Expected Ray to start workers, .* 3 of them .*No module named 'robustnas'"):
        run_trials(tmp_path, trials("fine"), RayEngine(2), lambda event: None, FAKE)


@pytest.mark.parametrize("name", sorted(code()))
def test_other_code_on_a_node_is_refused(name: str) -> None:
    ray_engine._check(NodeReport("far", True, code()), None)
    with pytest.raises(ValueError, match=rf"Expected {name} to be .* on every node, as it is here, but far has 0.1"):
        ray_engine._check(NodeReport("far", True, {**code(), name: "0.1"}), None)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nonsense"])
def test_an_address_without_a_cluster_is_refused_soon(address: str) -> None:
    """In a process that has not joined one."""
    pytest.importorskip("ray", reason=MISSING)
    words = f"from robustnas.studies import cluster; cluster.join({address!r}, 1)"
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    said = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, env=environment)
    assert f"ValueError: Expected `--address` to be a cluster of Ray that runs, but got '{address}' (" in said.stderr


CPUS, GPUS = [(8.0, 0.0), (3.0, 0.0)], [(16.0, 4.0), (8.0, 0.0)]


@pytest.mark.parametrize(
    ("nodes", "given", "wanted"),
    [
        (CPUS, {}, (11, 1, 0, 1)),
        (CPUS, {"cpus": 2}, (5, 2, 0, 2)),
        (CPUS, {"threads": 4}, (2, 4, 0, 4)),
        (CPUS, {"cpus": 0.5, "workers": 3}, (3, 0.5, 0, 1)),
        (CPUS, {"gpus": 1, "workers": 2}, (2, 1, 1, 1)),  # for nodes that are yet to come
        (GPUS, {}, (4, 4, 1, 4)),
        (GPUS, {"gpus": 0.25}, (16, 1, 0.25, 1)),
        (GPUS, {"gpus": 0.4, "cpus": 1}, (8, 1, 0.4, 1)),  # two on each: a part is of one GPU
        (GPUS, {"gpus": 2}, (2, 8, 2, 8)),
        (GPUS, {"gpus": 0}, (24, 1, 0, 1)),
    ],
)
def test_workers_fill_a_cluster(nodes: Any, given: Any, wanted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(nodes, monkeypatch)
    engine = ray_engine_of(None, **given)
    assert (engine.workers, engine.cpus, engine.gpus, engine.threads) == wanted
    assert engine.slots == wanted[0]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"gpus": 1.5}, "Expected `--gpus-per-trial` to be a part of 1, or a whole number, but got 1.5"),
        ({"gpus": -1}, "Expected `--gpus-per-trial` to be .*, but got -1"),
        ({"cpus": 0}, "Expected `--cpus-per-trial` to be larger than 0, but got 0"),
        ({"workers": 0}, "Expected `--workers` to be larger than 0, but got 0"),
        ({"gpus": 1}, "Expected a node .* 1 CPUs and 1 GPUs for a trial, but they have 8 and 0 or 3 and 0"),
        ({"cpus": 9}, "Expected a node of the cluster to have 9 CPUs and 0 GPUs"),
    ],
)
def test_what_no_cluster_can_do_is_refused(given: Any, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(CPUS, monkeypatch)
    with pytest.raises(ValueError, match=sentence):
        ray_engine_of(None, **given)


def pretend(nodes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        is_initialized = staticmethod(lambda: True)

    monkeypatch.setattr(ray_engine, "ray_module", Library)
    monkeypatch.setattr(ray_engine, "join", lambda address, cpus: None)
    monkeypatch.setattr(ray_engine, "node_resources", lambda: nodes)


def test_the_command_says_that_ray_is_missing_or_that_an_option_is_not_of_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    command = ["ablate", str(HERE / "tiny.yaml"), "--folder", str(tmp_path / "study")]
    for words, sentence in (
        (["--engine", "ray"], "Expected Ray for `--engine ray`, but it is not installed; `pip install robustnas[ray]`"),
        (
            ["--engine", "ray", "--runs-per-gpu", "2"],
            "Expected `--runs-per-gpu` with `--engine local`, but got --engine",
        ),
        (["--gpus-per-trial", "0.25"], "Expected `--gpus-per-trial` with `--engine ray`, but got --engine local"),
    ):
        assert main([*command, *words]) == 1
        said = capsys.readouterr().err
        assert sentence in said
        assert said.count("\n") == 1
    assert not (tmp_path / "study").exists()


def test_workers_are_given_what_the_command_trusts(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[Any, ...]] = []

    class Actor:
        report = type("report", (), {"remote": staticmethod(lambda mark: object())})

    class Remote:
        def __init__(self, kind: type) -> None:
            assert kind is Host

        def options(self, **options: Any) -> Any:
            return self

        def remote(self, *arguments: Any) -> Any:
            given.append(arguments)
            return Actor

    library = type("Library", (), {"remote": Remote})
    with trust.trusting(["ablate", "study.yaml", "--trust=my_part"]):
        ray_engine._Actors(library, RayEngine(1), None).start(1)
        ((environment, working),) = given
        assert "my_part" in environment["ROBUSTNAS_TRUST"].split(",")
    assert working == os.getcwd()


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
baselines: {SuccessiveHalving: {trials: 2, epochs: 1}}
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
