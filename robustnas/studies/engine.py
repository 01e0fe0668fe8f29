"""Engines: where the trials of a study run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Job:
    """A function to be called somewhere else.

    Args:
        key: Its name.
        function: Its import path, ``package.module:name``; it takes the payload.
        payload: What JSON can hold.
        log: File that what it prints is added to.
    """

    key: str
    function: str
    payload: Mapping[str, Any]
    log: str


@dataclass(frozen=True)
class Event:
    """Something that happened to a job.

    Args:
        key: Which job.
        kind: ``started``; ``done`` with its value; ``failed`` for good; ``retry`` when what ran it died, and it waits
            to be started once more.
        attempt: How often it was started.
        text: What went wrong, in a sentence.
        value: What the function returned.
    """

    key: str
    kind: Literal["started", "done", "failed", "retry"]
    attempt: int
    text: str = ""
    value: Any = None


class Engine(ABC):
    """An answer to where jobs run; what they do and leave does not depend on it."""

    @property
    @abstractmethod
    def slots(self) -> int:
        """How many jobs run at a time."""

    @abstractmethod
    def run(self, jobs: Sequence[Job]) -> Iterator[Event]:
        """Run jobs. One that raises is reported and not tried again; one whose process dies is.

        Closing the iterator, or an exception in it, stops what runs and waits for that.

        Args:
            jobs: The jobs, started in this order.

        Yields:
            What happens, as it happens: each job ends with ``done`` or ``failed``.
        """


def event_of(job: Job, attempt: int, said: str, value: Any, retries: int) -> Event:
    """The event that follows from an outcome: ``done``, ``failed`` (it raised), or ``died`` (its process ended)."""
    if said == "done":
        return Event(job.key, "done", attempt, value=value)
    if said == "failed":
        return Event(job.key, "failed", attempt, str(value))
    if attempt <= retries:
        return Event(job.key, "retry", attempt, f"its worker ended {value}")
    return Event(job.key, "failed", attempt, f"Expected its worker to stay alive, but {attempt} of them ended {value}.")
