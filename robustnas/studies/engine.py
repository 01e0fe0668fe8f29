"""Engines: where the trials of a study run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Job:
    """A function to be called somewhere else."""

    key: str
    function: str  # import path, package.module:name; it takes the payload
    payload: Mapping[str, Any]  # what JSON can hold
    log: str  # file that what it prints is added to


@dataclass(frozen=True)
class Event:
    """Something that happened to a job.

    ``retry``: what ran it died, and it waits to be started once more; ``searched``: the search of a trial is done, and
    the rest of it waits for those of other seeds.
    """

    key: str
    kind: Literal["started", "done", "failed", "retry", "searched"]
    attempt: int  # how often it was started
    text: str = ""  # what went wrong, in a sentence
    value: Any = None  # what the function returned


# Job, attempt, and ``done`` with the value, or ``failed`` (it raised) or ``died`` (its process ended) with the reason.
Outcome = tuple[Job, int, str, Any]


class Engine(ABC):
    """An answer to where jobs run; what they do and leave does not depend on it."""

    @property
    @abstractmethod
    def slots(self) -> int:
        """How many jobs run at a time."""

    @abstractmethod
    def run(self, jobs: Sequence[Job]) -> Iterator[Event]:
        """Run jobs in order; one whose process dies is tried again, one that raises is not. Closing it stops them."""


def run_jobs(
    jobs: Sequence[Job], retries: int, give: Callable[[Job, int], bool], outcomes: Callable[[int], Iterable[Outcome]]
) -> Iterator[Event]:
    """Run jobs: ``give`` tries to start one, and ``outcomes``, told how many wait, waits for some that have ended."""
    waiting, running = deque((job, 1) for job in jobs), 0
    while waiting or running:
        while waiting and give(*waiting[0]):
            job, attempt = waiting.popleft()
            running += 1
            yield Event(job.key, "started", attempt)
        for job, attempt, said, value in outcomes(len(waiting)):
            running -= 1
            if said == "done":
                yield Event(job.key, "done", attempt, value=value)
            elif said == "failed":
                yield Event(job.key, "failed", attempt, str(value))
            elif attempt <= retries:
                waiting.appendleft((job, attempt + 1))
                yield Event(job.key, "retry", attempt, f"its worker ended {value}")
            else:
                text = f"Expected its worker to stay alive, but {attempt} of them ended {value}."
                yield Event(job.key, "failed", attempt, text)
