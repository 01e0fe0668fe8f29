"""Options of the commands that run many trials: where they run, and how many at a time."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from robustnas.studies.engine import Engine
from robustnas.studies.pool import pool_of

ENGINES = ("local", "ray")
ONLY = {"runs_per_gpu": "local", **dict.fromkeys(("address", "cpus_per_trial", "gpus_per_trial"), "ray")}  # its engine
STOPPED = 130  # what shells expect of a command that Ctrl-C ended


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--engine`` and what belongs to one of them."""
    parser.add_argument("--engine", choices=ENGINES, default="local", help="where trials run (default: local)")
    parser.add_argument("--workers", type=int, help="concurrent trials (default: one a core, or --runs-per-gpu a GPU)")
    parser.add_argument("--threads", type=int, help="threads of a worker (default: 1; with GPUs a share of the cores)")
    parser.add_argument("--runs-per-gpu", type=int, help="trials that share a GPU (default: 1)")
    ray = parser.add_argument_group("with --engine ray")
    ray.add_argument("--address", help="address of the cluster, or auto (default: $RAY_ADDRESS, else start one here)")
    gpus, cpus = "GPUs of a trial, also a part of one (default: 1 if there are any)", "processors of a trial (default: "
    ray.add_argument("--gpus-per-trial", type=float, metavar="N", help=gpus)
    ray.add_argument("--cpus-per-trial", type=float, metavar="N", help=f"{cpus}--threads, or a share of the node's)")


def engine_of(options: argparse.Namespace, shared: Path | None) -> Engine:
    """Where trials run whose folder all workers must see; an option of the other engine is refused."""
    for name, engine in ONLY.items():
        if engine != options.engine and getattr(options, name) is not None:
            option = f"--{name.replace('_', '-')}"
            raise ValueError(f"Expected `{option}` with `--engine {engine}`, but got --engine {options.engine}.")
    if options.engine == "local":
        return pool_of(_gpus(), options.workers, options.threads, options.runs_per_gpu or 1)
    from robustnas.studies.ray_engine import ray_engine_of

    given = options.address, options.workers, options.cpus_per_trial, options.gpus_per_trial, options.threads
    return ray_engine_of(*given, shared=shared)


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _gpus() -> tuple[str, ...]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return tuple(name.strip() for name in visible.split(",") if name.strip() not in ("", "-1"))
    import torch

    return tuple(map(str, range(torch.cuda.device_count())))
