"""Whose the folder of a run is, and with which checkpoint a start in it goes on.

A second start in the folder of a run goes on with that run or is refused; it never overwrites one. One process writes
into a folder at a time: it holds a lock on the file ``.lock`` there, which the operating system releases however the
process ends.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from robustnas.runs.record import Run
from robustnas.runtime.atomic_files import remove_unfinished

try:
    import fcntl
except ImportError:  # Windows, which goes without locks
    fcntl = None  # type: ignore[assignment]

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
    """Where a start in a folder begins.

    Args:
        folder: The folder of the run.
        wanted: A checkpoint; ``last`` for the newest of the folder; ``auto`` for that where there is one, or else for
            the beginning; ``None`` for the beginning, but for ``auto`` in a job that SLURM started again.
        readable: Whether a checkpoint can be read.
        writes: Whether the folder is written to; otherwise there must be a checkpoint.

    Returns:
        The checkpoint to go on from, or ``None`` to start from the beginning.

    Raises:
        ValueError: If something would be overwritten.
    """
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
            f"Expected `--run` to be a new folder or that of the checkpoint, but {folder} holds another run; "
            f"`--ckpt_path last` continues that one."
        )
    return path


def check_new(folder: Path) -> None:
    """Refuse a folder in which a run has begun.

    Args:
        folder: The folder.

    Raises:
        ValueError: If there is a run.
    """
    if not holds_run(folder):
        return
    begun = "`--ckpt_path last` continues it" if newest(folder) else "it has no checkpoint to go on from"
    if newest(folder) is None and not has_much_to_lose(folder):
        begun = "`--ckpt_path auto` starts it again, since it ended before its first checkpoint"
    raise ValueError(
        f"Expected `--run` to be a new folder, but {folder} holds a run; {begun}, another folder starts anew."
    )


def _found(folder: Path, readable: Callable[[Path], bool]) -> Path | None:
    last = newest(folder)
    if last is None:
        if has_much_to_lose(folder):
            raise ValueError(
                f"Expected `--run` to be a folder with a checkpoint to go on from, or a new one, but {folder} holds "
                f"a run without; another folder starts anew."
            )
        return None
    before = folder / PREVIOUS
    if not readable(last) and before.is_file() and readable(before):
        print(f"{last} cannot be read; the run goes on from {before}.")
        return before
    return last


@contextmanager
def held(folder: Path, option: str = "--run") -> Iterator[None]:
    """Hold the folder of a run, and take away what interrupted writes have left in it.

    Args:
        folder: The folder; made if it is missing.
        option: What names it on the command line, for the message.

    Yields:
        Nothing.

    Raises:
        ValueError: If another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".lock"
    descriptor = _locked(path, option)
    try:
        remove_unfinished(folder)
        yield
    finally:
        if descriptor is not None:
            with contextlib.suppress(OSError):
                path.unlink()
            os.close(descriptor)


def _locked(path: Path, option: str) -> int | None:
    """A descriptor of the locked file, or ``None`` where files cannot be locked."""
    while fcntl is not None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.read(descriptor, 200).decode("utf-8", "replace").strip()
            os.close(descriptor)
            raise ValueError(
                f"Expected `{option}` to be a folder that no other process writes to, but {path.parent} is written to "
                f"by {owner or 'another process'}."
            ) from error
        except OSError:  # not all network file systems have locks
            os.close(descriptor)
            return None
        with contextlib.suppress(OSError):  # whoever held it may have taken the file away before it let go
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
                return descriptor
        os.close(descriptor)
    return None
