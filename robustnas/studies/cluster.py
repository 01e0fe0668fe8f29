"""The cluster of Ray that a study runs on, and the resources of its nodes."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import signal
import socket
from typing import Any

from robustnas.runtime.environment import usable_cores
from robustnas.runtime.module_path import InRootFolder
from robustnas.studies.process import one_sentence

STORE = 100 * 2**20  # bytes; jobs and results are a few kilobytes, and Ray would take a third of the memory
PATIENCE = 10.0  # seconds


def ray_module() -> Any:
    """The module ``ray``; a sentence that says what to install where it is missing."""
    try:
        import ray
    except ImportError as error:
        raise ValueError(
            "Expected Ray for `--engine ray`, but it is not installed; `pip install robustnas[ray]`."
        ) from error
    return ray


def join(address: str | None, cpus: float) -> None:
    """Join the cluster at an address, or start one on this machine with at least so many processors."""
    ray = ray_module()
    if ray.is_initialized():
        return
    handler = signal.getsignal(signal.SIGTERM)
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address == "local":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # else Ray leaves one in the home folder
        quiet |= {
            "include_dashboard": False,
            "object_store_memory": STORE,
            "num_cpus": max(usable_cores(), math.ceil(cpus)),
        }
    try:
        _knock(address)
        with InRootFolder():  # Ray lets its workers import from the current folder first
            ray.init(address, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"Expected `--address` to be a cluster of Ray that runs, but got {address!r} ({one_sentence(error)})."
        ) from error
    finally:
        with contextlib.suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGTERM, handler)


def _knock(address: str) -> None:
    """Fail at once where nobody listens: Ray would try for minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()


def node_resources() -> list[tuple[float, float]]:
    """CPUs and GPUs of each node of the cluster, free or not."""
    nodes = [node["Resources"] for node in ray_module().nodes() if node["Alive"]]
    return [(node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in nodes]
