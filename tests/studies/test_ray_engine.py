"""Protects the Ray engine: events, files and numbers are those of the workers on one machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_running import FAKE, starts, trials, wait_for

from robustnas.studies import ray_engine
from robustnas.studies.engine import Event
from robustnas.studies.ray_engine import RayEngine
from robustnas.studies.ray_host import Host, Mark, NodeReport, code
from robustnas.studies.results import read_failures, read_results, write_plan
from robustnas.studies.running import run_trials, unfinished

HERE = Path(__file__).parent
MISSING = "ray is not installed: pip install robustnas[ray]"


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
