"""A process that runs one job after the other, so that libraries are imported once, and its handle in the parent."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from robustnas.runtime.module_path import InRootFolder
from robustnas.studies.engine import Job


@dataclass
class Process:
    """A process and the job it runs: started when it is first given a job, and anew when it has died."""

    environment: Mapping[str, str]
    job: Job | None = None
    attempt: int = 0
    process: SpawnProcess | None = None
    connection: Connection = field(init=False, repr=False)

    def give(self, job: Job, attempt: int = 1) -> None:
        """Send a job, to a new process if there is none or it died while idle."""
        self.job, self.attempt = job, attempt
        if self.process is not None:
            with contextlib.suppress(OSError):
                self.connection.send(job)
                return
            self._died()
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, self.environment, os.getcwd()))
        with InRootFolder():
            self.process.start()
        theirs.close()  # so that its death closes the connection
        self.connection.send(job)

    def outcome(self) -> tuple[str, Any]:
        """Wait for the outcome: ``("done", value)``, ``("failed", sentence)``, or ``("died", how)``."""
        ready([self])
        try:
            said: tuple[str, Any] | None = self.connection.recv() if self.connection.poll() else None
        except (EOFError, OSError):
            said = None
        return said or ("died", self._died())

    def ended(self) -> Job:
        """Forget the job, and return it."""
        assert self.job is not None
        job, self.job = self.job, None
        return job

    def dismiss(self) -> None:
        """Ask an idle process to end."""
        if self.process is not None:
            with contextlib.suppress(OSError):
                self.connection.send(None)

    def _died(self) -> str:
        """Clear away a dead process, and say how it ended."""
        assert self.process is not None
        self.process.join()
        code = self.process.exitcode or 0
        self.connection.close()
        self.process = None
        if code == -signal.SIGKILL:
            return "by SIGKILL, which the system also sends when memory runs out"
        return f"by {signal.Signals(-code).name}" if code < 0 else f"with exit status {code}"


def ready(busy: Sequence[Process]) -> list[Process]:
    """Wait for processes that have sent an outcome or have died."""
    sentinels = [one.process.sentinel for one in busy if one.process is not None]
    # A process that the worker started can outlive it and keep the connection open.
    heard: Any = wait([*(one.connection for one in busy), *sentinels])
    return [one for one in busy if one.connection in heard or (one.process and one.process.sentinel in heard)]


def stop(processes: Sequence[Process], grace: float) -> None:
    """End all processes: SIGTERM to those with a job, which may leave a checkpoint, SIGKILL after ``grace`` seconds."""
    alive = [one.process for one in processes if one.process is not None]
    try:
        for one in processes:
            if one.process is not None and one.job is not None:
                one.process.terminate()
            one.dismiss()
        limit = time.monotonic() + grace
        for process in alive:
            process.join(max(0.0, limit - time.monotonic()))
    finally:
        for process in alive:
            if process.is_alive():
                process.kill()
            process.join()


def thread_variables(number: int) -> dict[str, str]:
    """Environment variables of a process that computes with so many threads."""
    return {name: str(number) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}


def serve(connection: Connection, environment: Mapping[str, str], folder: str) -> None:
    """Run jobs until ``None`` or the connection ends; only the sender heeds Ctrl-C, and ends this one by SIGTERM."""
    os.chdir(folder)
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    with contextlib.suppress(EOFError, BrokenPipeError):
        while (job := connection.recv()) is not None:
            connection.send(run_job(job))


def run_job(job: Job) -> tuple[str, Any]:
    """Call the function of a job, with its output in the log: ``("done", value)`` or ``("failed", sentence)``."""
    with _logged(Path(job.log)):
        try:
            module, _, name = job.function.partition(":")
            return "done", getattr(importlib.import_module(module), name)(job.payload)
        except Exception as error:  # a job that fails is reported, and the next one runs
            traceback.print_exc()
            return "failed", one_sentence(error)


def one_sentence(error: BaseException) -> str:
    """An error in one line: a sentence of this library as it is, else the type and the first line of the message."""
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
