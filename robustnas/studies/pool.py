"""Workers on this machine, each with its share of the cores and of a GPU."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from robustnas.studies.engine import Engine, Event, Job
from robustnas.studies.worker import serve


@dataclass(frozen=True)
class Pool(Engine):
    """Reused processes on this machine.

    Args:
        workers: How many there are.
        threads: Threads that each computes with.
        gpus: Names of the GPUs as ``CUDA_VISIBLE_DEVICES`` has them; workers take them in turn.
        retries: How often a job is started anew whose worker died.
        grace: Seconds that a worker has to end after SIGTERM.
    """

    workers: int
    threads: int = 1
    gpus: tuple[str, ...] = ()
    retries: int = 2
    grace: float = 30.0

    @property
    def slots(self) -> int:
        return self.workers

    def run(self, jobs: Sequence[Job]) -> Iterator[Event]:
        waiting = deque((job, 1) for job in jobs)
        workers = [_Worker(self._environment(k)) for k in range(min(self.workers, len(jobs)))]
        try:
            while waiting or any(worker.job for worker in workers):
                for worker in workers:
                    if worker.job is None and waiting:
                        worker.job, worker.attempt = waiting.popleft()
                        worker.give()
                        yield Event(worker.job.key, "started", worker.attempt)
                for worker in _ready([worker for worker in workers if worker.job]):
                    event = self._heard(worker)
                    if event.kind == "again":
                        waiting.appendleft((worker.ended(), event.attempt + 1))
                    else:
                        worker.ended()
                    yield event
            for worker in workers:
                worker.dismiss()
        finally:
            _stop(workers, self.grace)

    def _environment(self, number: int) -> dict[str, str]:
        threads = {name: str(self.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        return {**threads, **({"CUDA_VISIBLE_DEVICES": self.gpus[number % len(self.gpus)]} if self.gpus else {})}

    def _heard(self, worker: _Worker) -> Event:
        """What a worker says, or what its death means."""
        assert worker.job is not None
        key, attempt = worker.job.key, worker.attempt
        try:
            said, value = worker.connection.recv() if worker.connection.poll() else (None, None)
        except (EOFError, OSError):
            said = value = None
        if said is None:
            how = worker.died()
            if attempt <= self.retries:
                return Event(key, "again", attempt, f"its worker ended {how}")
            return Event(key, "failed", attempt, f"Expected its worker to live, but {attempt} of them ended {how}.")
        if said == "done":
            return Event(key, "done", attempt, value=value)
        return Event(key, "failed", attempt, str(value))


@dataclass
class _Worker:
    """One process, started when it is first given a job, and anew when it has died."""

    environment: dict[str, str]
    job: Job | None = None
    attempt: int = 0
    process: SpawnProcess | None = None
    connection: Connection = field(init=False, repr=False)

    def give(self) -> None:
        """Send the job, to a new process if there is none or it died while idle."""
        if self.process is not None:
            with contextlib.suppress(OSError):
                self.connection.send(self.job)
                return
            self.died()
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, self.environment))
        self.process.start()
        theirs.close()  # so that its death closes the connection
        self.connection.send(self.job)

    def ended(self) -> Job:
        """Be free for another job; returns the one before."""
        assert self.job is not None
        job, self.job = self.job, None
        return job

    def died(self) -> str:
        """Clear away a dead process, and say how it ended."""
        assert self.process is not None
        self.process.join()
        code = self.process.exitcode or 0
        self.connection.close()
        self.process = None
        if code == -signal.SIGKILL:
            return "by SIGKILL, with which the system also frees memory that has run short"
        return f"by {signal.Signals(-code).name}" if code < 0 else f"with exit status {code}"

    def dismiss(self) -> None:
        """Ask an idle process to end."""
        if self.process is not None:
            with contextlib.suppress(OSError):
                self.connection.send(None)


def _ready(busy: Sequence[_Worker]) -> list[_Worker]:
    """The workers that have something to say, or died; waits for one."""
    processes = [worker.process for worker in busy if worker.process is not None]
    # A process that the worker started can outlive it and keep the connection open.
    heard: Any = wait([*(worker.connection for worker in busy), *(process.sentinel for process in processes)])
    return [worker for worker in busy if worker.connection in heard or _sentinel(worker) in heard]


def _sentinel(worker: _Worker) -> int | None:
    return None if worker.process is None else worker.process.sentinel


def _stop(workers: Sequence[_Worker], grace: float) -> None:
    """End all processes: those with a job by SIGTERM, so that it can leave a checkpoint, and late ones by SIGKILL."""
    alive = [worker.process for worker in workers if worker.process is not None]
    try:
        for worker in workers:
            if worker.process is not None and worker.job is not None:
                worker.process.terminate()
            worker.dismiss()
        limit = time.monotonic() + grace
        for process in alive:
            process.join(max(0.0, limit - time.monotonic()))
    finally:
        for process in alive:
            if process.is_alive():
                process.kill()
            process.join()


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def pool_of(gpus: Sequence[str], workers: int | None, threads: int | None, runs_per_gpu: int) -> Pool:
    """A pool that fills the machine.

    Args:
        gpus: Names of the GPUs.
        workers: Number of workers; by default ``runs_per_gpu`` for each GPU, or one for each ``threads`` cores.
        threads: Threads of each; by default an equal share of the cores where there are GPUs, and 1 elsewhere.
        runs_per_gpu: How many workers share a GPU.

    Returns:
        The pool.

    Raises:
        ValueError: If a number is not positive.
    """
    for name, number in (("workers", workers), ("threads", threads), ("runs-per-gpu", runs_per_gpu)):
        if number is not None and number < 1:
            raise ValueError(f"Expected `--{name}` to be 1 or larger, but got {number}.")
    count = workers or (len(gpus) * runs_per_gpu if gpus else max(1, cores() // (threads or 1)))
    return Pool(count, threads or (max(1, cores() // count) if gpus else 1), tuple(gpus))
