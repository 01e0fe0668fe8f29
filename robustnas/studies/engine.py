"""Engines: where the trials of a study run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
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
    """Something that happened to a job; ``retry``: what ran it died, and it waits to be started once more."""

    key: str
    kind: Literal["started", "done", "failed", "retry"]
    attempt: int  # how often it was started
    text: str = ""  # what went wrong, in a sentence
    value: Any = None  # what the function returned


class Engine(ABC):
    """An answer to where jobs run; what they do and leave does not depend on it."""

    @property
    @abstractmethod
    def slots(self) -> int:
        """How many jobs run at a time."""

    @abstractmethod
    def run(self, jobs: Sequence[Job]) -> Iterator[Event]:
        """Run jobs in order; one whose process dies is tried again, one that raises is not. Closing it stops them."""


def event_of(job: Job, attempt: int, said: str, value: Any, retries: int) -> Event:
    """The event that follows from an outcome: ``done``, ``failed`` (it raised), or ``died`` (its process ended)."""
    if said == "done":
        return Event(job.key, "done", attempt, value=value)
    if said == "failed":
        return Event(job.key, "failed", attempt, str(value))
    if attempt <= retries:
        return Event(job.key, "retry", attempt, f"its worker ended {value}")
    return Event(job.key, "failed", attempt, f"Expected its worker to stay alive, but {attempt} of them ended {value}.")
