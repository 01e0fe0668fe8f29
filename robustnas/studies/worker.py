"""A process that runs one job after the other, so that libraries are imported once."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from robustnas.studies.engine import Job


def serve(connection: Connection, environment: Mapping[str, str], folder: str) -> None:
    """Run the jobs that come, until ``None`` or the end of the connection.

    Each is answered with ``("done", value)`` or ``("failed", sentence)``. Ctrl-C in the terminal reaches every
    process; only the one that gives the jobs heeds it, and ends this one with SIGTERM.

    Args:
        connection: Where jobs come from.
        environment: Variables to set before anything large is imported.
        folder: Current folder of whoever gives the jobs, for relative paths and modules that the user trusts.
    """
    os.chdir(folder)
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    with contextlib.suppress(EOFError, BrokenPipeError):
        while (job := connection.recv()) is not None:
            connection.send(run_job(job))


def run_job(job: Job) -> tuple[str, Any]:
    """Call the function of a job, with its output in the job's log.

    Args:
        job: The job.

    Returns:
        ``("done", value)``, or ``("failed", sentence)`` if it raised.
    """
    with _logged(Path(job.log)):
        try:
            module, _, name = job.function.partition(":")
            return "done", getattr(importlib.import_module(module), name)(job.payload)
        except Exception as error:  # one job that fails is told, and the next one runs
            traceback.print_exc()
            return "failed", in_a_sentence(error)


def in_a_sentence(error: BaseException) -> str:
    """What went wrong, in one line.

    Args:
        error: What was raised.

    Returns:
        The sentence of this library as it is; of another error the type, and the first line of what it says.
    """
    text = " ".join(str(error).split()) if str(error).startswith("Expected ") else str(error).strip().partition("\n")[0]
    if isinstance(error, ValueError) and text.startswith("Expected "):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _end_with_the_parent() -> None:
    """Leave at once when the parent is killed, since another one may start the same job."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


@contextlib.contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Send what this process and its libraries print to the end of a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _flush()
    kept = [os.dup(1), os.dup(2)]
    with path.open("ab", buffering=0) as log:
        log.write(f"=== {datetime.now(timezone.utc).isoformat(timespec='seconds')}\n".encode())
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    try:
        yield
    finally:
        _flush()
        for own, descriptor in zip(kept, (1, 2), strict=True):
            os.dup2(own, descriptor)
            os.close(own)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
