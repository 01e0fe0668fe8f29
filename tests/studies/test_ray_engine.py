"""A study on Ray: the same events, files and numbers as on the workers of one machine."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_running import FAKE, cells, starts

from robustnas.__main__ import main
from robustnas.studies import cluster, ray_engine
from robustnas.studies.engine import Event
from robustnas.studies.ray_engine import RayEngine, ray_engine_of
from robustnas.studies.ray_host import Greeting, Host, code
from robustnas.studies.results import read_failures, read_results, write_plan
from robustnas.studies.running import run_cells, unfinished

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A cluster of this machine, with the environment that its workers need to find what is tested."""
    library = pytest.importorskip("ray", reason="ray is not installed: pip install robustnas[ray]")
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
    grid = cells("fine", "refuses", "dies-once", "orphaned", "breaks", "dies", "last")
    seen: list[Event] = []
    engine = RayEngine(1, cpus=1, threads=3, shared=tmp_path)
    assert run_cells(tmp_path, grid, engine, seen.append, FAKE) == 3
    kinds = {cell.variant: [event.kind for event in seen if event.key == cell.key] for cell in grid}
    again = ["started", "again"]
    assert kinds == {
        "fine": ["started", "done"], "refuses": ["started", "failed"], "breaks": ["started", "failed"],
        "dies-once": [*again, "started", "done"], "orphaned": [*again, "started", "done"],
        "dies": [*again, *again, "started", "failed"], "last": ["started", "done"],
    }  # fmt: skip
    write_plan(tmp_path, "fakes", grid)
    assert {Path(folder).parts[1]: said for folder, said in read_failures(tmp_path).items()} == {
        "refuses": "Expected `lr` to be positive, but got -1.",
        "breaks": "RuntimeError: a bug",
        "dies": "Expected its worker to live, but 3 of them ended by SIGKILL, with which the system also frees memory "
        "that has run short.",
    }
    orphaned = next(event.text for event in seen if event.kind == "again" and event.key.startswith("orphaned"))
    assert (
        orphaned == "its worker ended with its process of Ray (The actor is dead because its worker process has died)"
    )
    by_name = {cell.variant: starts(tmp_path, cell) for cell in grid}
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
    grid = cells("takes-long", "hangs", "last")
    begun: set[str] = set()

    def stop(event: Event) -> None:
        begun.update([event.key] if event.kind == "started" else [])
        if len(begun) == 2:
            wait_for(lambda: all(starts(tmp_path, cell) for cell in grid[:2]))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_cells(tmp_path, grid, RayEngine(2, grace=20), stop, FAKE)
    for cell in grid[:2]:
        with pytest.raises(ProcessLookupError):
            os.kill(starts(tmp_path, cell)[0], signal.SIGCONT)
        assert not (tmp_path / cell.folder / "failure.json").exists()
    assert (tmp_path / grid[0].folder / "checkpoint.txt").exists()  # it had the time to leave one
    todo = unfinished(tmp_path, grid)
    assert [cell.variant for cell in todo] == ["takes-long", "hangs", "last"]
    assert run_cells(tmp_path, todo, RayEngine(2), lambda event: None, FAKE) == 0
    assert [len(starts(tmp_path, cell)) for cell in grid] == [2, 2, 1]


def wait_for(holds: Any) -> None:
    limit = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < limit
        time.sleep(0.05)


@pytest.mark.usefixtures("ray")
def test_a_folder_that_a_node_does_not_see_is_refused(tmp_path: Path) -> None:
    class Elsewhere(RayEngine):
        @contextlib.contextmanager
        def _mark(self) -> Iterator[str | None]:
            yield str(tmp_path / "elsewhere" / ".seen")

    grid = cells("fine")
    with pytest.raises(ValueError, match=r"Expected the folder .* but \S+ does not see .*; `--folder` names one"):
        run_cells(tmp_path, grid, Elsewhere(1, shared=tmp_path), lambda event: None, FAKE)
    assert starts(tmp_path, grid[0]) == []


@pytest.mark.usefixtures("ray")
def test_workers_that_do_not_start_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Host):
        def greet(self, mark: str | None) -> Greeting:
            raise ModuleNotFoundError("No module named 'robustnas'")

    monkeypatch.setattr(ray_engine, "Host", Broken)
    with pytest.raises(ValueError, match=r"Expected Ray to start workers, .* 3 of them .*No module named 'robustnas'"):
        run_cells(tmp_path, cells("fine"), RayEngine(2), lambda event: None, FAKE)


@pytest.mark.parametrize("name", sorted(code()))
def test_other_code_on_a_node_is_refused(name: str) -> None:
    ray_engine._check(Greeting("far", True, code()), None)
    with pytest.raises(ValueError, match=rf"Expected {name} to be .* on every node, as it is here, but far has 0.1"):
        ray_engine._check(Greeting("far", True, {**code(), name: "0.1"}), None)


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
        ({"gpus": 1.5}, "Expected `--gpus-per-cell` to be a part of 1, or a whole number, but got 1.5"),
        ({"gpus": -1}, "Expected `--gpus-per-cell` to be .*, but got -1"),
        ({"cpus": 0}, "Expected `--cpus-per-cell` to be larger than 0, but got 0"),
        ({"workers": 0}, "Expected `--workers` to be larger than 0, but got 0"),
        ({"gpus": 1}, "Expected a node .* 1 CPUs and 1 GPUs for a cell, but they have 8 and 0 or 3 and 0"),
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

    monkeypatch.setattr(ray_engine, "library", Library)
    monkeypatch.setattr(ray_engine, "join", lambda address, cpus: None)
    monkeypatch.setattr(ray_engine, "rooms", lambda: nodes)


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
        (["--gpus-per-cell", "0.25"], "Expected `--gpus-per-cell` with `--engine ray`, but got --engine local"),
    ):
        assert main([*command, *words]) == 1
        said = capsys.readouterr().err
        assert sentence in said
        assert said.count("\n") == 1
    assert not (tmp_path / "study").exists()
