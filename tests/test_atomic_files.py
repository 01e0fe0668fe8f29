"""After a kill at any time a file has its old content or its new content."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robustnas.runtime import atomic_files
from robustnas.runtime.atomic_files import keep_copy, open_atomically, remove_unfinished, write_bytes

OLD, NEW = b"old" * 50_000, b"new" * 70_000
STAGES = ("open", "write", "flush", "fsync", "replace", "link", "done")


def killed_child(act: Callable[[], object]) -> int:
    """The signal that ended a child process which did something."""
    child = os.fork()
    if child == 0:
        act()
        os._exit(0)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def write_and_die(path: Path, stage: str) -> None:
    """Replace a file that is kept as ``before``, and die on the way."""
    if stage in ("fsync", "replace", "link"):
        setattr(atomic_files.os, stage, die)
    if stage == "open":
        atomic_files.secrets.token_hex = die
    with open_atomically(path) as file:
        file.write(NEW[:100_000])
        if stage == "write":
            die()
        file.write(NEW[100_000:])
        if stage == "flush":
            file.flush()
            die()
        keep_copy(path, "before")
    if stage == "done":
        die()


@pytest.mark.parametrize("stage", STAGES)
def test_a_kill_at_any_stage_leaves_the_old_file_or_the_new(tmp_path: Path, stage: str) -> None:
    path = tmp_path / "file"
    write_bytes(path, OLD)
    assert killed_child(lambda: write_and_die(path, stage)) == signal.SIGKILL
    assert path.read_bytes() == (NEW if stage == "done" else OLD)
    before = tmp_path / "before"
    assert before.read_bytes() == OLD if before.exists() else stage != "done"
    hidden = [file for file in tmp_path.iterdir() if file.name not in ("file", "before")]
    assert all(file.name.startswith(".") and file.name.endswith(".tmp") for file in hidden)
    assert bool(hidden) == (stage not in ("open", "done"))
    remove_unfinished(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} <= {"file", "before"}
    write_bytes(path, NEW)
    assert path.read_bytes() == NEW


def test_what_is_kept_stays_when_the_file_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    keep_copy(path, "before")  # nothing there yet
    assert list(tmp_path.iterdir()) == []
    for number in range(3):
        keep_copy(path, "before")
        write_bytes(path, str(number).encode())
    assert ((tmp_path / "before").read_bytes(), path.read_bytes()) == (b"1", b"2")
    for _ in range(2):  # two names of one file
        keep_copy(path, "before")
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links here")))
    write_bytes(path, b"3")
    keep_copy(path, "before")
    assert (tmp_path / "before").read_bytes() == b"3"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["before", "file"]


def test_only_unfinished_files_are_cleaned_and_young_ones_if_asked(tmp_path: Path) -> None:
    for name in (".lock", "a.tmp", ".file.12345678.tmp", "alpha/.epoch_0001.npz.12345678.tmp"):
        write_bytes(tmp_path / name, b"")
    remove_unfinished(tmp_path, age=3600)
    assert len(list(tmp_path.rglob("*.tmp"))) == 3
    remove_unfinished(tmp_path)
    assert sorted(file.name for file in tmp_path.rglob("*") if file.is_file()) == [".lock", "a.tmp"]


def test_a_full_disk_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    path = tmp_path / "file"
    with pytest.raises(OSError, match="No space left") as error:
        write_bytes(path, b"new")
    assert error.value.filename == str(path)
    assert list(tmp_path.iterdir()) == []
