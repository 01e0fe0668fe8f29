"""The lock on the folder of a run, which ends with its process, and the checkpoint from which a start there resumes."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from robustnas.runs.record import Run
from robustnas.runtime.atomic_files import remove_unfinished

WITHOUT_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}  # errors of network file systems without locks
PREVIOUS = "previous.ckpt"
RESULTS = ("genotype.json", "test.json")


def holds_run(folder: Path) -> bool:
    """Whether a run has begun in a folder."""
    return any((folder / name).exists() for name in ("manifest.json", "config.yaml", "last.ckpt", *RESULTS))


def has_much_to_lose(folder: Path) -> bool:
    """Whether a start from the beginning would overwrite more than the first epoch of a run."""
    if newest(folder) is not None or any((folder / name).exists() for name in RESULTS):
        return True
    try:
        return (folder / "metrics.csv").read_bytes().count(b"\n") > 2  # a line of names, and one for each epoch
    except OSError:
        return False


def newest(folder: Path) -> Path | None:
    """The checkpoint that a run was last saved in: its own, or one that SLURM's signal made Lightning write."""
    found = [path for path in (Run(folder).checkpoint, *folder.glob("hpc_ckpt_*.ckpt")) if path.is_file()]
    return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)


def requeued() -> bool:
    """Whether this is a job of SLURM that was stopped and started again, with the command it began with."""
    return os.environ.get("SLURM_RESTART_COUNT", "0") not in ("", "0")


def starting_point(
    folder: Path, wanted: str | None, readable: Callable[[Path], bool], writes: bool = True
) -> Path | None:
    """Checkpoint to start from, ``None``: the beginning. ``wanted``: a checkpoint, ``last``, ``auto`` (last if any)."""
    if wanted is None and not requeued():
        check_new(folder)
        return None
    if wanted == "last" or (wanted == "auto" and not writes):
        return newest(folder) or Run(folder).checkpoint
    if wanted in (None, "auto"):
        return _found(folder, readable)
    path = Path(wanted)
    inside = folder.resolve() in path.resolve().parents
    if writes and not inside and holds_run(folder) and has_much_to_lose(folder):
        raise ValueError(
            f"Expected `--run-dir` to be a new folder or that of the checkpoint, but {folder} holds another run; "
            f"`--ckpt_path last` continues that one."
        )
    return path


def check_new(folder: Path) -> None:
    """Refuse a folder in which a run has begun."""
    if not holds_run(folder):
        return
    begun = "`--ckpt_path last` continues it" if newest(folder) else "it has no checkpoint to resume from"
    if newest(folder) is None and not has_much_to_lose(folder):
        begun = "`--ckpt_path auto` starts it again, since it ended before its first checkpoint"
    raise ValueError(
        f"Expected `--run-dir` to be a new folder, but {folder} holds a run; {begun}, another folder starts anew."
    )


def _found(folder: Path, readable: Callable[[Path], bool]) -> Path | None:
    last, before = newest(folder), folder / PREVIOUS
    if last is None and has_much_to_lose(folder):
        raise ValueError(
            f"Expected `--run-dir` to be a folder with a checkpoint to resume from, or a new one, but {folder} "
            f"holds a run without one; another folder starts anew."
        )
    if last is not None and not readable(last) and before.is_file() and readable(before):
        print(f"{last} cannot be read; the run resumes from {before}.")
        return before
    return last


def new_folder(name: str) -> Path:
    """A folder under ``runs/`` that does not exist yet, not made: ``name`` with the next number."""
    paths = (Path("runs", f"{name}-{number:03d}") for number in itertools.count(1))
    return next(path for path in paths if not path.exists())


@contextmanager
def held(folder: Path, option: str = "--run-dir") -> Iterator[None]:
    """Lock the folder of a run for this process, and delete what interrupted writes have left in it."""
    path = folder / ".lock"
    lock = FileLock(path, timeout=0, fallback_to_soft=False)  # a soft lock would outlive a process that is killed
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock.acquire()
        path.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
    except Timeout as error:
        raise ValueError(
            f"Expected `{option}` to be a folder that no other process writes to, but {folder} is written to by "
            f"{_owner(path)}."
        ) from error
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
    try:
        remove_unfinished(folder)
        yield
    finally:
        if lock.is_locked:
            with contextlib.suppress(OSError):  # before the release: afterwards it may be the file of another process
                path.unlink()
            lock.release()


def _owner(path: Path) -> str:
    """The process that holds a lock, by what it wrote into the file."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")[:200].strip() or "another process"
    except OSError:
        return "another process"
