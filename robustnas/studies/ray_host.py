"""What Ray runs on the nodes of a cluster: the keeper of one reused process."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import robustnas
from robustnas.runtime.module_path import remove_current_folder_from_path
from robustnas.studies.engine import Job
from robustnas.studies.process import Process, stop


@dataclass(frozen=True)
class Mark:
    """A file that every node should see.

    Args:
        path: Where, as the command names it.
        text: What it holds.
    """

    path: str
    text: str

    def seen(self) -> bool:
        """Whether it is seen here."""
        try:
            return Path(self.path).read_text(encoding="utf-8") == self.text
        except OSError:
            return False


@dataclass(frozen=True)
class Greeting:
    """What a worker says before it is given anything.

    Args:
        node: Name of its machine.
        sees: Whether it sees the mark in the folder of the study.
        code: What must be the same everywhere for results to be, by name.
    """

    node: str
    sees: bool
    code: Mapping[str, str]


class Host:
    """An actor. Jobs run in a process of their own, the same as on one machine, whose end the actor can tell.

    Args:
        environment: Variables that the process starts with.
        working: Working directory of the command; relative paths are meant from there, where a node has it.
    """

    def __init__(self, environment: Mapping[str, str], working: str) -> None:
        with contextlib.suppress(OSError):
            os.chdir(working)
        remove_current_folder_from_path()
        self._process = Process(environment)

    def greet(self, mark: Mark | None) -> Greeting:
        """Say who and where it is.

        Args:
            mark: What it should see, if anything.

        Returns:
            The greeting.
        """
        return Greeting(platform.node(), mark is None or mark.seen(), code())

    def run(self, job: Job) -> tuple[str, Any]:
        """Run a job to its end.

        Args:
            job: The job.

        Returns:
            ``("done", value)``, ``("failed", sentence)`` if it raised, or ``("died", how)`` if its process did.
        """
        self._process.give(job)
        try:
            return self._process.hear()
        finally:
            self._process.ended()

    def stop(self, grace: float) -> None:
        """End the process, also while it runs a job: Ray calls this in a second thread.

        Args:
            grace: Seconds that the job has to leave a checkpoint.
        """
        stop([self._process], grace)


@functools.cache
def code() -> dict[str, str]:
    """What must be the same on every node for results to be.

    Returns:
        Versions, where robustnas lies, since configurations are named by path, and a digest of its source.
    """
    folder = Path(robustnas.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return {
        "robustnas": robustnas.__version__,
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "torch": metadata.version("torch"),
        "the folder of robustnas": str(folder),
        "the source of robustnas": digest.hexdigest()[:12],
    }
