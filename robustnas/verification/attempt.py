"""Run a check: without output, timed, and with its exception as one sentence. Imports no heavy module."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import TypeVar

Found = TypeVar("Found")
LOGGERS = ("pytorch_lightning", "lightning.pytorch", "robustnas")


def attempt(check: Callable[[], Found]) -> tuple[Found | None, float, str]:
    """Run a check; return its result or ``None``, the seconds it took, and its exception as a sentence or ''."""
    start, found, error = time.perf_counter(), None, ""
    try:
        with _quiet():
            found = check()
    except (Exception, SystemExit) as raised:  # any failure is a result of the check
        error = _sentence(raised)
    return found, round(time.perf_counter() - start, 2), error


def _sentence(error: BaseException) -> str:
    said = " ".join(str(error).split())
    if "torchvision" in said:
        return f"Expected torch and torchvision to match, but got: {said} Remedy: pip uninstall torchvision."
    return said if said.startswith("Expected ") else f"Expected no error, but got {type(error).__name__}: {said}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress output, preserve random states, and use one thread: small networks are slower with more."""
    loggers, torch, silence = [logging.getLogger(name) for name in LOGGERS], sys.modules.get("torch"), io.StringIO()
    levels, threads = [one.level for one in loggers], torch.get_num_threads() if torch else 0
    for one in loggers:
        one.setLevel(logging.ERROR)
    if torch:
        torch.set_num_threads(1)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(silence),
            contextlib.redirect_stderr(silence),
            torch.random.fork_rng() if torch else contextlib.nullcontext(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        if torch:
            torch.set_num_threads(threads)
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)
