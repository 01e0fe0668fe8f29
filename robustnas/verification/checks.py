"""All checks, in the order in which they run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from robustnas.cli import lightning_cli
from robustnas.runtime.launch import count_processes
from robustnas.training import SearchModule
from robustnas.training.checks import check_precision
from robustnas.verification.attempt import attempt
from robustnas.verification.bundles import check_bundles, check_paths
from robustnas.verification.finding import Finding, Outcome
from robustnas.verification.hypergradient import check_gradient, check_second_order
from robustnas.verification.partition import check_partition
from robustnas.verification.ranks import Ranks, check_ranks
from robustnas.verification.repeated import check_repeat, check_resume, check_test_set, check_trace
from robustnas.verification.roles import check_roles
from robustnas.verification.subject import Subject

CHECKS: dict[str, Callable[[Subject], Finding]] = {
    "partition": check_partition,
    "gradient": check_gradient,
    "second order": check_second_order,
    "bundles": check_bundles,
    "paths": check_paths,
    "roles": check_roles,
    "repeat": check_repeat,
    "resume": check_resume,
    "trace": check_trace,
    "test set": check_test_set,
    "ranks": check_ranks,
}


def describe(words: Sequence[str], folder: Path) -> Subject:
    """The search that options of ``robustnas fit`` describe, as the subject of checks that run in a folder."""
    described = lightning_cli.main(["fit", *words], stop_after="instantiation")
    if not isinstance(described.model, SearchModule):
        raise ValueError(f"Expected `model` to be a search, but got {type(described.model).__name__}.")
    config: Any = described.config["fit"].trainer
    check_precision(config.precision)
    precision = "32-true" if config.precision is None else config.precision
    gpu = config.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    devices = count_processes(config)
    return Subject(
        described.model, described.datamodule, precision, "gpu" if gpu else "cpu", devices, list(words), folder
    )


def run_checks(subject: Subject, names: Sequence[str] = tuple(CHECKS)) -> Iterator[Outcome]:
    """Run checks, and yield the outcome of each as soon as it is known. None raises."""
    if "ranks" in names:
        with contextlib.suppress(OSError):
            subject.ranks = Ranks(subject)
    try:
        for name in names:
            yield Outcome(name, *attempt(partial(CHECKS[name], subject)))
    finally:
        if subject.ranks is not None:
            subject.ranks.stop()
