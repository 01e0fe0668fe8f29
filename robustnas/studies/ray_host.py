"""The actor that Ray runs on the nodes of a cluster, with one reused process."""

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
    """A file that every node should see: its path, as the command names it, and its text."""

    path: str
    text: str

    def seen(self) -> bool:
        """Whether it is seen here."""
        try:
            return Path(self.path).read_text(encoding="utf-8") == self.text
        except OSError:
            return False


@dataclass(frozen=True)
class NodeReport:
    """What a worker reports first: its node, whether it sees the mark, and what :func:`code` returns there."""

    node: str
    sees: bool
    code: Mapping[str, str]


class Host:
    """An actor that runs jobs in a process of its own, the same as on one machine, so that it can report its end."""

    def __init__(self, environment: Mapping[str, str], working: str) -> None:
        with contextlib.suppress(OSError):
            os.chdir(working)
        remove_current_folder_from_path()
        self._process = Process(environment)

    def report(self, mark: Mark | None) -> NodeReport:
        """Report the node, whether it sees the mark, and its code."""
        return NodeReport(platform.node(), mark is None or mark.seen(), code())

    def run(self, job: Job) -> tuple[str, Any]:
        """Run a job to its end; see :meth:`~robustnas.studies.process.Process.outcome` for what comes back."""
        self._process.give(job)
        try:
            return self._process.outcome()
        finally:
            self._process.ended()

    def stop(self, grace: float) -> None:
        """End the process, also while it runs a job: Ray calls this in a second thread."""
        stop([self._process], grace)


@functools.cache
def code() -> dict[str, str]:
    """What must be the same on every node: versions, where robustnas lies, and a digest of its source."""
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
