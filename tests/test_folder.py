"""Protects the folder of a run: a second start resumes it or is refused, and one process at a time writes to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from robustnas.runs import run_lock as folders
from robustnas.runs.run_lock import held, starting_point
from robustnas.runtime.atomic_files import write_bytes

FINISHED = ("config.yaml", "manifest.json", "metrics.csv", "genotype.json", "last.ckpt")
ROWS = b"epoch,step\n0,5\n1,10\n"


def lay(folder: Path, *names: str) -> Path:
    for name in names:
        write_bytes(folder / name, ROWS if name == "metrics.csv" else b"x")
    return folder


def start(folder: Path, wanted: str | None, broken: tuple[str, ...] = ()) -> Any:
    found = starting_point(folder, wanted, lambda path: path.name not in broken)
    return None if found is None else found.name


@pytest.fixture(autouse=True)
def no_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_RESTART_COUNT",):
        monkeypatch.delenv(name, raising=False)


def test_an_empty_folder_is_started_in(tmp_path: Path) -> None:
    for wanted in (None, "auto"):
        assert start(tmp_path / "none", wanted) is None
        assert start(lay(tmp_path, "notes.txt"), wanted) is None


@pytest.mark.parametrize("names", [("config.yaml",), ("manifest.json",), ("test.json",), FINISHED])
def test_a_run_is_not_started_over(tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(
        ValueError, match=r"Expected `--run-dir` to be a new folder, but .* holds a run; .* another folder"
    ):
        start(lay(tmp_path, *names), None)


def test_auto_goes_on_where_there_is_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(tmp_path, *FINISHED)
    assert start(tmp_path, "auto") == "last.ckpt"
    assert start(tmp_path, "last") == "last.ckpt"
    monkeypatch.setenv("SLURM_RESTART_COUNT", "0")
    with pytest.raises(ValueError, match="`--ckpt_path last` continues it"):
        start(tmp_path, None)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert start(tmp_path, None) == "last.ckpt"  # the job that SLURM starts again has the command it began with


def test_the_newer_of_our_checkpoint_and_that_of_slurm_is_taken(tmp_path: Path) -> None:
    lay(tmp_path, "last.ckpt", "hpc_ckpt_1.ckpt", "hpc_ckpt_2.ckpt")
    for newer in ("hpc_ckpt_2.ckpt", "last.ckpt"):
        for name in ("last.ckpt", "hpc_ckpt_1.ckpt", "hpc_ckpt_2.ckpt"):
            os.utime(tmp_path / name, (1000, 1000 + (name == newer)))
        assert start(tmp_path, "auto") == start(tmp_path, "last") == newer


def test_before_its_first_checkpoint_auto_starts_again_unless_much_was_recorded(tmp_path: Path) -> None:
    lay(tmp_path, "config.yaml", "manifest.json")
    assert start(tmp_path, "auto") is None
    with pytest.raises(ValueError, match="`--ckpt_path auto` starts it again, since it ended before its first check"):
        start(tmp_path, None)
    write_bytes(tmp_path / "metrics.csv", ROWS[:15])  # one epoch, and then killed before its checkpoint
    assert start(tmp_path, "auto") is None
    write_bytes(tmp_path / "metrics.csv", ROWS)
    with pytest.raises(ValueError, match="Expected `--run-dir` to be a folder with a checkpoint to resume from"):
        start(tmp_path, "auto")


@pytest.mark.parametrize("result", ["genotype.json", "test.json"])
def test_a_result_without_checkpoint_is_never_overwritten(tmp_path: Path, result: str) -> None:
    for wanted, said in (
        (None, "it has no checkpoint"),
        ("auto", "holds a run without one; another folder starts anew"),
    ):
        with pytest.raises(ValueError, match=said):
            start(lay(tmp_path, result), wanted)


def test_auto_falls_back_to_the_checkpoint_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lay(tmp_path, "last.ckpt", "previous.ckpt")
    assert start(tmp_path, "auto", broken=("last.ckpt",)) == "previous.ckpt"
    assert "cannot be read; the run resumes from" in capsys.readouterr().out
    assert start(tmp_path, "auto", broken=("last.ckpt", "previous.ckpt")) == "last.ckpt"  # and is refused as damaged
    assert start(tmp_path, "last", broken=("last.ckpt",)) == "last.ckpt"


def test_a_checkpoint_from_elsewhere_does_not_overwrite_a_run(tmp_path: Path) -> None:
    lay(tmp_path / "a", *FINISHED)
    lay(tmp_path / "b", *FINISHED)
    lay(tmp_path / "begun", "config.yaml", "manifest.json")
    source = str(tmp_path / "a" / "last.ckpt")
    assert start(tmp_path / "a", source) == start(tmp_path / "new", source) == "last.ckpt"
    assert start(tmp_path / "begun", source) == "last.ckpt"
    assert start(tmp_path / "a", str(tmp_path / "a" / "deep" / "x.ckpt")) == "x.ckpt"
    with pytest.raises(ValueError, match=r"new folder or that of the checkpoint, but .* holds another run"):
        start(tmp_path / "b", source)
    assert starting_point(tmp_path / "b", source, lambda _: True, writes=False) == Path(source)


def test_a_folder_is_held_by_one_process_and_free_when_it_is_killed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    code = "import sys, time; from pathlib import Path; from robustnas.runs.run_lock import held\n"
    code += "with held(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    environment = {**os.environ, "PYTHONPATH": str(Path(folders.__file__).parents[1])}
    other = subprocess.Popen([sys.executable, "-c", code, str(run)], stdout=subprocess.PIPE, env=environment)
    assert other.stdout is not None
    assert other.stdout.readline() == b"held\n"
    write_bytes(run / ".half.12345678.tmp", b"")
    with pytest.raises(ValueError, match=f"but .*run is written to by process {other.pid} on "), held(run):
        raise AssertionError("held twice")
    assert (run / ".half.12345678.tmp").exists()
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert (run / ".lock").exists()
    with held(run):
        assert [path.name for path in run.iterdir()] == [".lock"]
    assert list(run.iterdir()) == []
