"""Protects the running of a study: no trial runs twice, none is lost, and a failure stops no other."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import fake_trial
from rich.console import Console

from robustnas.runs.run_lock import held
from robustnas.studies.engine import Event, Job
from robustnas.studies.estimate import estimate
from robustnas.studies.pool import Pool, pool_of
from robustnas.studies.process import one_sentence
from robustnas.studies.progress import Progress
from robustnas.studies.results import read_failures, read_results, write_csv, write_plan
from robustnas.studies.running import run_trials, unfinished
from robustnas.studies.trial import Trial

FAKE = "fakes:fake_trial"


def trials(*variants: str, seeds: int = 1) -> list[Trial]:
    return [
        Trial(name, None, None, {}, seed, fingerprint=f"{name}{seed}") for seed in range(seeds) for name in variants
    ]


def starts(root: Path, trial: Trial) -> list[int]:
    path = root / trial.folder / "starts.txt"
    return [int(line) for line in path.read_text(encoding="utf-8").split()] if path.exists() else []


def wait_for(holds: Callable[[], object]) -> None:
    while not holds():
        time.sleep(0.05)


@pytest.mark.parametrize(
    "deadly", [[], pytest.param(["dies", "leaves"], marks=pytest.mark.slow)], ids=["once", "often"]
)
def test_one_cell_that_fails_stops_no_other_and_a_killed_worker_is_replaced(tmp_path: Path, deadly: list[str]) -> None:
    """All in one pool: starting workers costs a test most of its time."""
    grid = trials("fine", "refuses", "dies-once", "breaks", *deadly, "last")
    seen: list[Event] = []
    assert run_trials(tmp_path, grid, Pool(1, threads=3, gpus=("7",)), seen.append, FAKE) == 2 + len(deadly)
    kinds = {trial.variant: [event.kind for event in seen if event.key == trial.key] for trial in grid}
    again = ["started", "retry"]
    expected = {
        "fine": ["started", "done"], "refuses": ["started", "failed"], "breaks": ["started", "failed"],
        "dies-once": [*again, "started", "done"], "dies": [*again, *again, "started", "failed"],
        "leaves": [*again, *again, "started", "failed"], "last": ["started", "done"],
    }  # fmt: skip
    assert kinds == {trial.variant: expected[trial.variant] for trial in grid}
    write_plan(tmp_path, "fakes", grid)
    said = {
        "refuses": "Expected `lr` to be positive, but got -1.",
        "breaks": "RuntimeError: a bug",
        "dies": "Expected its worker to stay alive, but 3 of them ended by SIGKILL, which the system also sends when "
        "memory runs out.",
        "leaves": "Expected its worker to stay alive, but 3 of them ended with exit status 3.",
    }
    failed = {Path(folder).parts[1]: sentence for folder, sentence in read_failures(tmp_path).items()}
    assert failed == {name: said[name] for name in ("refuses", "breaks", *deadly)}
    by_name = {trial.variant: starts(tmp_path, trial) for trial in grid}
    assert by_name["fine"] == by_name["refuses"] == by_name["dies-once"][:1]  # one process until it was killed
    assert by_name["dies-once"][1:] == by_name["breaks"] != by_name["fine"]
    assert os.getpid() not in by_name["fine"]
    done = {record.variant: record.held for record in read_results(tmp_path)}
    assert set(done) == {"fine", "dies-once", "last"}
    assert done["last"]["environment"] == {"OMP_NUM_THREADS": "3", "CUDA_VISIBLE_DEVICES": "7"}
    log = (tmp_path / grid[3].folder / "log.txt").read_text(encoding="utf-8")
    assert "start 1 of breaks" in log
    assert "from a child of breaks" in log
    assert "Traceback" in log
    assert log.count("RuntimeError: a bug") == 1


def test_a_worker_starts_with_no_module_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the process was not started by the command, which asks Python for that."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    for name in ("multiprocessing", "pickle", "signal", "fakes"):
        Path(f"{name}.py").write_text("open('executed', 'w')\nraise SystemExit(1)\n", encoding="utf-8")
    assert run_trials(Path("study"), trials("fine"), Pool(1), lambda event: None, FAKE) == 0
    assert Path("study", trials("fine")[0].folder, "result.json").is_file()  # beside the command
    assert not Path("executed").exists()


def test_what_is_finished_is_not_run_again_and_what_failed_is(tmp_path: Path) -> None:
    grid = trials("fine", "refuses", "other", seeds=2)
    write_plan(tmp_path, "fakes", grid)
    fake_trial({"root": str(tmp_path), "trial": grid[0]})
    todo = unfinished(tmp_path, grid)
    assert [trial.key for trial in todo] == [trial.key for trial in grid[1:]]
    assert run_trials(tmp_path, todo, Inline(), lambda event: None, FAKE) == 2
    assert [trial.variant for trial in unfinished(tmp_path, grid)] == ["refuses", "refuses"]
    (tmp_path / grid[1].folder / "failure.json").rename(tmp_path / grid[2].folder / "failure.json")
    run_trials(tmp_path, [grid[2]], Inline(), lambda event: None, FAKE)
    assert list(read_failures(tmp_path)) == [grid[4].folder]  # a trial that ends well has failed no longer
    assert len(starts(tmp_path, grid[0])) == 1


class Inline(Pool):
    """The jobs one after the other in this process."""

    def __init__(self) -> None:
        super().__init__(1)

    def run(self, jobs: Any) -> Any:
        import importlib

        for job in jobs:
            module, _, name = job.function.partition(":")
            yield Event(job.key, "started", 1)
            try:
                yield Event(job.key, "done", 1, value=getattr(importlib.import_module(module), name)(job.payload))
            except Exception as error:
                yield Event(job.key, "failed", 1, one_sentence(error))


@pytest.mark.parametrize("name", ["result.json", "progress.json"])
def test_a_folder_of_another_version_or_configuration_is_refused(name: str, tmp_path: Path) -> None:
    grid = trials("A", "B", seeds=2)
    for trial in grid[:2]:
        fake_trial({"root": str(tmp_path), "trial": trial})
        (tmp_path / trial.folder / "result.json").rename(tmp_path / trial.folder / name)
    path = tmp_path / grid[1].folder / name
    held = json.loads(path.read_text(encoding="utf-8"))
    for change, said in (
        ({"version": "0.0.1"}, "version 0.0.1 instead"),
        ({"fingerprint": "x"}, "another configuration"),
    ):
        path.write_text(json.dumps({**held, **change}), encoding="utf-8")
        with pytest.raises(
            ValueError, match=rf"Expected .*B/seed-0 to hold .* holds a trial of {said}.*--force"
        ) as caught:
            unfinished(tmp_path, grid)
        assert "more" not in str(caught.value)
    assert len(unfinished(tmp_path, grid, keep=True)) == (3 if name == "result.json" else 4)
    assert path.exists()
    left = unfinished(tmp_path, grid, force=True)
    assert grid[1] in left
    assert not path.exists()
    assert (tmp_path / grid[0].folder / name).exists()
    path = tmp_path / grid[0].folder / name
    path.write_text(path.read_text(encoding="utf-8")[:50], encoding="utf-8")
    with pytest.raises(ValueError, match=r"A/seed-0/.*` to be JSON, but got a truncated file"):
        unfinished(tmp_path, grid)


def test_two_studies_in_one_folder_refuse_each_other(tmp_path: Path) -> None:
    code = "import sys, pathlib; from robustnas.runs.run_lock import held\n"
    code += "with held(pathlib.Path(sys.argv[1]), '--folder'): 0"
    words = [sys.executable, "-c", code, str(tmp_path)]
    with held(tmp_path):
        said = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert f"Expected `--folder` to be a folder that no other process writes to, but {tmp_path}" in said.stderr
    assert f"process {os.getpid()} on" in said.stderr
    assert subprocess.run(words, capture_output=True, cwd=Path(__file__).parents[2]).returncode == 0


def test_stopping_ends_what_runs_and_the_study_goes_on_later(tmp_path: Path) -> None:
    grid = trials("fine", "hangs", "last")

    def stop(event: Event) -> None:
        if event.kind == "started" and event.key.startswith("hangs"):
            while not starts(tmp_path, grid[1]):
                time.sleep(0.05)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_trials(tmp_path, grid, Pool(1, grace=1000), stop, FAKE)
    assert not multiprocessing.active_children()
    with pytest.raises(ProcessLookupError):
        os.kill(starts(tmp_path, grid[1])[0], signal.SIGCONT)
    assert not (tmp_path / grid[1].folder / "failure.json").exists()
    todo = unfinished(tmp_path, grid)
    assert [trial.variant for trial in todo] == ["hangs", "last"]
    assert run_trials(tmp_path, todo, Inline(), lambda event: None, FAKE) == 0
    assert [len(starts(tmp_path, trial)) for trial in grid] == [1, 2, 1]


def test_results_are_a_table(tmp_path: Path) -> None:
    grid = trials("A", "B", seeds=3)
    write_plan(tmp_path, "fakes", grid)
    run_trials(tmp_path, grid[:5], Inline(), lambda event: None, FAKE)
    assert [(record.variant, record.seed, record.score) for record in read_results(tmp_path)] == [
        ("A", 0, 0.0), ("B", 0, 0.0), ("A", 1, 1.0), ("B", 1, 1.0), ("A", 2, 2.0),
    ]  # fmt: skip
    lines = write_csv(tmp_path).read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("variant,space,data,seed,baseline,score,metric,test/top1,parameters,verdict,since,")
    assert lines[5].startswith("A,,,2,False,2.0,test/top1,2.0,100,healthy,,1.0,0.0,2.0,3.0,cpu,1,trials/A/seed-2,0.5")
    assert len(lines) == 6


def test_an_estimate_multiplies_three_steps(tmp_path: Path) -> None:
    grid = trials("A", "breaks", seeds=2)
    found = estimate(grid, Inline(), "fakes:fake_probe")
    trial = 1 + 10 * 4 * 0.5 + 2 + 5 * (2 * 1 + 4 * 0.25)
    assert found.seconds["A/seed-0"] == found.seconds["A/seed-1"] == trial
    assert found.failed == {"breaks": "RuntimeError: a bug"}
    assert found.total({"A/seed-0", "A/seed-1", "breaks/seed-0"}) == 2 * trial
    assert found.total({"A/seed-1"}) == trial


def test_progress_tells_in_lines_and_in_a_table(tmp_path: Path) -> None:
    grid = trials("A", "B", "C")
    lines, drawn = (Console(record=True, width=200, file=io.StringIO()) for _ in range(2))
    progress = Progress(tmp_path, grid, 2, 1, lines)
    for event in (
        Event("A/seed-0", "started", 1),
        Event("A/seed-0", "done", 1, value={"score": {"name": "test/top1", "value": 0.5}}),
        Event("B/seed-0", "started", 1),
        Event("B/seed-0", "failed", 1, "Expected x, but got y."),
        Event("C/seed-0", "started", 2),
    ):
        progress(event)
    said = lines.export_text().splitlines()
    assert said[0] == "[2/5] A/seed-0: started"
    assert said[1] == "[3/5] A/seed-0: done in 0 s, test/top1 0.5000 (about 0 s left)"
    assert said[3] == "[3/5] B/seed-0: failed: Expected x, but got y."
    assert said[4] == "[3/5] C/seed-0: started, attempt 2"
    search = tmp_path / grid[2].folder / "search"
    search.mkdir(parents=True)
    (search / "manifest.json").write_text('{"epochs": 9}')
    (search / "metrics.csv").write_text("epoch,step,train/loss,val/loss,val/top1\n0,1,1,1,\n1,2,1,1,0.25\n")
    drawn.print(progress.table())
    table = drawn.export_text()
    assert "3 of 5 done, 1 failed, about 0 s left" in table
    assert "2/9" in table
    assert "val/top1 0.2500" in table


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (((), None, None, 1), (4, 1, ())),
        (((), None, 2, 1), (2, 2, ())),
        (((), 3, None, 1), (3, 1, ())),
        ((("0", "1"), None, None, 1), (2, 2, ("0", "1"))),
        ((("0", "1"), None, None, 3), (6, 1, ("0", "1"))),
        ((("0",), 2, 5, 1), (2, 5, ("0",))),
    ],
)
def test_a_pool_fills_the_machine(given: Any, wanted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robustnas.studies.pool.usable_cores", lambda: 4)
    pool = pool_of(*given)
    assert (pool.workers, pool.threads, pool.gpus) == wanted


def test_a_pool_of_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected `--workers` to be 1 or larger, but got 0"):
        pool_of((), 0, None, 1)
    assert Job("a", "b", {}, "c").key == "a"
