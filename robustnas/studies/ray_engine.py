"""Workers on a cluster of Ray: the same processes as on one machine, one for each actor."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robustnas.runtime.trust import VARIABLE
from robustnas.studies.cluster import join, node_resources, ray_module
from robustnas.studies.engine import Engine, Event, Job, Outcome, run_jobs
from robustnas.studies.process import one_sentence, thread_variables
from robustnas.studies.ray_host import Host, Mark, NodeReport, code


@dataclass(frozen=True)
class RayEngine(Engine):
    """Reused processes on a cluster, an actor for each worker; a job whose process, actor or node dies starts anew."""

    workers: int  # those that the cluster has no room for wait
    cpus: float = 1
    gpus: float = 0  # of each worker: a part of one, or a whole number
    threads: int = 1
    address: str | None = None  # None: that in RAY_ADDRESS, or else this machine alone
    shared: Path | None = None  # folder that all workers must see
    leave: bool = False  # whether to leave a cluster that was joined before
    retries: int = 2
    grace: float = 30.0  # seconds that a worker has to end after SIGTERM

    @property
    def slots(self) -> int:
        return self.workers

    def run(self, jobs: Sequence[Job]) -> Iterator[Event]:
        ray = ray_module()
        leave = self.leave or not ray.is_initialized()
        join(self.address, self.workers * self.cpus)
        try:
            with self._marked() as mark, contextlib.closing(_Actors(ray, self, mark)) as actors:
                yield from run_jobs(jobs, self.retries, actors.give, actors.outcomes)
        finally:
            if leave:
                ray.shutdown()

    @contextlib.contextmanager
    def _marked(self) -> Iterator[Mark | None]:
        """A file in the folder of the study, by which a node shows that it sees this folder."""
        if self.shared is None:
            yield None
            return
        self.shared.mkdir(parents=True, exist_ok=True)
        mark = Mark(str(self.shared / ".seen"), secrets.token_hex(8))
        Path(mark.path).write_text(mark.text, encoding="utf-8")
        try:
            yield mark
        finally:
            Path(mark.path).unlink(missing_ok=True)


@dataclass
class _Actors:
    """The actors: those that start, those that are idle, and those that run a job."""

    ray: Any
    engine: RayEngine
    mark: Mark | None
    idle: list[Any] = field(default_factory=list)
    starting: dict[Any, Any] = field(default_factory=dict)  # what Ray will answer: the actor
    busy: dict[Any, tuple[Any, Job, int]] = field(default_factory=dict)
    lost: int = 0  # one after the other, before they could be given anything

    def close(self) -> None:
        """End all: those with a job by SIGTERM."""
        actors = [*self.idle, *(actor for actor, _, _ in self.busy.values())]
        try:
            ends = [actor.stop.remote(self.engine.grace) for actor in actors]
            if ends:  # a node that is gone does not answer
                self.ray.wait(ends, num_returns=len(ends), timeout=self.engine.grace + 10)
        finally:
            for actor in (*actors, *self.starting.values()):
                self.ray.kill(actor)

    def start(self, wanted: int) -> None:
        """Ask Ray for more actors, as long as there is work for them."""
        engine = self.engine
        hidden = {} if engine.gpus else {"CUDA_VISIBLE_DEVICES": ""}
        environment = {**thread_variables(engine.threads), **hidden, VARIABLE: os.environ.get(VARIABLE, "")}
        while len(self.starting) < wanted and len(self.starting) + len(self.idle) + len(self.busy) < engine.workers:
            # The second thread is for the call that stops the first.
            options = {"num_cpus": engine.cpus, "num_gpus": engine.gpus, "max_restarts": 0, "max_concurrency": 2}
            remote = self.ray.remote(Host).options(**options, scheduling_strategy="SPREAD")
            actor = remote.remote(environment, os.getcwd())
            self.starting[actor.report.remote(self.mark)] = actor

    def give(self, job: Job, attempt: int) -> bool:
        """Let one that is idle, if any, run a job."""
        if not self.idle:
            return False
        actor = self.idle.pop()
        self.busy[actor.run.remote(job)] = actor, job, attempt
        return True

    def outcomes(self, waiting: int) -> Iterator[Outcome]:
        """Start actors for jobs that wait, wait for answers, and yield the outcomes of jobs."""
        self.start(waiting)
        answers, _ = self.ray.wait([*self.starting, *self.busy], timeout=1)  # else Ctrl-C would wait too
        for answer in answers:
            said, value = self._answered(answer)
            if answer in self.starting:
                self._reported(self.starting.pop(answer), said, value)
                continue
            actor, job, attempt = self.busy.pop(answer)
            if said == "lost":
                self.ray.kill(actor)  # Ray may have lost only the connection
                yield job, attempt, "died", f"with its process of Ray ({value})"
            else:
                self.idle.append(actor)
                yield job, attempt, *value

    def _answered(self, answer: Any) -> tuple[str, Any]:
        """``("said", answer)``, or ``("lost", reason)``."""
        errors = self.ray.exceptions
        try:
            return "said", self.ray.get(answer)
        except errors.RayTaskError as error:
            return "said", ("failed", one_sentence(error.cause if hasattr(error, "cause") else error))
        except errors.RayError as error:
            return "lost", _reason(error)

    def _reported(self, actor: Any, said: str, value: Any) -> None:
        if isinstance(value, NodeReport):
            self.lost = 0
            self.idle.append(actor)
            _check(value, self.engine.shared)
            return
        self.lost += 1
        if self.lost > self.engine.retries:
            reason = value[1] if said == "said" else value
            raise ValueError(
                f"Expected Ray to start workers, with robustnas {code()['robustnas']} installed on every node, but "
                f"{self.lost} of them did not start ({reason})."
            )


def _reason(error: Exception) -> str:
    """Why Ray lost an actor, in one line of its message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if "creation task" in lines[0]:
        return lines[-1].rstrip(".")
    return next((line for line in lines if " because " in line), lines[0]).partition(" Worker exit")[0].rstrip(".")


def _check(report: NodeReport, shared: Path | None) -> None:
    own = code()
    for name, theirs in report.code.items():
        if theirs != own[name]:
            raise ValueError(
                f"Expected {name} to be {own[name]} on every node, as it is here, but {report.node} has {theirs}."
            )
    if not report.sees:
        raise ValueError(
            f"Expected the folder of the study to be seen by every node, but {report.node} does not see {shared}; "
            "`--folder` names one on a path that they share."
        )


def ray_engine_of(
    address: str | None,
    workers: int | None = None,
    cpus: float | None = None,
    gpus: float | None = None,
    threads: int | None = None,
    shared: Path | None = None,
) -> RayEngine:
    """Workers that fill a cluster; by default each has a GPU if there are any, and an equal share of the CPUs."""
    for name, number in (("workers", workers), ("threads", threads), ("cpus-per-trial", cpus)):
        if number is not None and number <= 0:
            raise ValueError(f"Expected `--{name}` to be larger than 0, but got {number}.")
    if gpus is not None and (gpus < 0 or (gpus > 1 and gpus != int(gpus))):
        raise ValueError(f"Expected `--gpus-per-trial` to be a part of 1, or a whole number, but got {gpus}.")
    leave = not ray_module().is_initialized()
    join(address, (workers or 1) * (cpus or threads or 1))
    nodes = node_resources()
    with_gpus = [node for node in nodes if node[1]]
    if gpus is None:
        gpus = 1.0 if with_gpus else 0.0
    if cpus is None:
        share = min((int(node[0] * gpus / node[1]) for node in with_gpus), default=1) if gpus else 1
        cpus = float(threads or max(1, share))
    held = sum(_held(node, cpus, gpus) for node in nodes)
    if not held and workers is None:
        most = " or ".join(f"{node[0]:g} and {node[1]:g}" for node in sorted(set(nodes), reverse=True)) or "none"
        raise ValueError(
            f"Expected a node of the cluster to have {cpus:g} CPUs and {gpus:g} GPUs for a trial, but they have {most}."
        )
    return RayEngine(workers or held, cpus, gpus, threads or max(1, int(cpus)), address, shared, leave)


def _held(node: tuple[float, float], cpus: float, gpus: float) -> int:
    """How many workers a node has room for; each part of a GPU is of one GPU."""
    most = int(node[0] / cpus + 1e-9)
    if not gpus:
        return most
    return min(most, int(node[1] / gpus) if gpus >= 1 else int(node[1]) * int(1 / gpus + 1e-9))
