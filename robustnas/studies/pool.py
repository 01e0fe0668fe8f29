"""Workers on this machine, each with its share of the cores and of a GPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from robustnas.runtime.environment import MAX_THREADS, usable_cores
from robustnas.studies.engine import Engine, Event, Job, Outcome, run_jobs
from robustnas.studies.process import Process, ready, stop, thread_variables


@dataclass(frozen=True)
class Pool(Engine):
    """Reused processes on this machine."""

    workers: int
    threads: int = 1
    gpus: tuple[str, ...] = ()  # as CUDA_VISIBLE_DEVICES names them; workers take them in turn
    retries: int = 2
    grace: float = 30.0  # seconds that a worker has to end after SIGTERM

    @property
    def slots(self) -> int:
        return self.workers

    def run(self, jobs: Sequence[Job]) -> Iterator[Event]:
        workers = [Process(self._environment(k)) for k in range(min(self.workers, len(jobs)))]

        def give(job: Job, attempt: int) -> bool:
            idle = next((worker for worker in workers if worker.job is None), None)
            if idle is not None:
                idle.give(job, attempt)
            return idle is not None

        def outcomes(waiting: int) -> Iterator[Outcome]:
            for worker in ready([worker for worker in workers if worker.job]):
                said, value = worker.outcome()
                yield worker.ended(), worker.attempt, said, value

        try:
            yield from run_jobs(jobs, self.retries, give, outcomes)
            for worker in workers:
                worker.dismiss()
        finally:
            stop(workers, self.grace)

    def _environment(self, number: int) -> dict[str, str]:
        gpu = {"CUDA_VISIBLE_DEVICES": self.gpus[number % len(self.gpus)]} if self.gpus else {}
        return {**thread_variables(self.threads), **gpu}


def pool_of(gpus: Sequence[str], workers: int | None, threads: int | None, runs_per_gpu: int) -> Pool:
    """A pool that fills the machine: ``runs_per_gpu`` workers a GPU, or one for each ``threads`` cores."""
    for name, number in (("workers", workers), ("threads", threads), ("runs-per-gpu", runs_per_gpu)):
        if number is not None and number < 1:
            raise ValueError(f"Expected `--{name}` to be 1 or larger, but got {number}.")
        if number is not None and number > MAX_THREADS:
            raise ValueError(f"Expected `--{name}` to be at most {MAX_THREADS}, but got {number}.")
    count = workers or (len(gpus) * runs_per_gpu if gpus else max(1, usable_cores() // (threads or 1)))
    return Pool(count, threads or (max(1, usable_cores() // count) if gpus else 1), tuple(gpus))
