"""A reused process as whoever started it sees it: it is given jobs, heard, and stopped."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from robustnas.runtime.module_path import InRootFolder
from robustnas.studies.engine import Job
from robustnas.studies.worker import serve


@dataclass
class Process:
    """One process, started when it is first given a job, and anew when it has died.

    Args:
        environment: Variables it starts with.
        job: What it works on, if anything.
        attempt: How often that was started.
    """

    environment: Mapping[str, str]
    job: Job | None = None
    attempt: int = 0
    process: SpawnProcess | None = None
    connection: Connection = field(init=False, repr=False)

    def give(self, job: Job, attempt: int = 1) -> None:
        """Send a job, to a new process if there is none or it died while idle.

        Args:
            job: The job.
            attempt: How often it was started, this time included.
        """
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

    def hear(self) -> tuple[str, Any]:
        """What it says, or what its death means; waits for either.

        Returns:
            ``("done", value)``, ``("failed", sentence)``, or ``("died", how)``.
        """
        ready([self])
        try:
            said: tuple[str, Any] | None = self.connection.recv() if self.connection.poll() else None
        except (EOFError, OSError):
            said = None
        return said or ("died", self._died())

    def ended(self) -> Job:
        """Be free for another job.

        Returns:
            The one before.
        """
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
            return "by SIGKILL, with which the system also frees memory that has run short"
        return f"by {signal.Signals(-code).name}" if code < 0 else f"with exit status {code}"


def ready(busy: Sequence[Process]) -> list[Process]:
    """Wait for one that has something to say, or died.

    Args:
        busy: Processes with a job.

    Returns:
        Those that do.
    """
    sentinels = [one.process.sentinel for one in busy if one.process is not None]
    # A process that the worker started can outlive it and keep the connection open.
    heard: Any = wait([*(one.connection for one in busy), *sentinels])
    return [one for one in busy if one.connection in heard or (one.process and one.process.sentinel in heard)]


def stop(processes: Sequence[Process], grace: float) -> None:
    """End all: those with a job by SIGTERM, so that it can leave a checkpoint, and late ones by SIGKILL.

    Args:
        processes: The processes.
        grace: Seconds that they have.
    """
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


def with_threads(number: int) -> dict[str, str]:
    """Variables of a process that computes with so many threads.

    Args:
        number: How many.

    Returns:
        Name to value.
    """
    return {name: str(number) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
