"""Versions, machine and commit of a run."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import subprocess
import sys
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from robustnas import __version__

RUN = "ROBUSTNAS_RUN"  # names the folder of the run, for the processes that Lightning starts
MAX_THREADS = 1024  # threads of a process, or processes of a study
_REQUIRED = re.compile(r'([\w.-]+)(?:\[[\w,]+\])?>=([\w.]+)(?:; extra == "(\w+)")?')
# Instruction sets, as Linux names them, that decide the speed of products and which kernels torch uses.
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16")
INTEGER_VARIABLES = (  # variables of launchers, which are read as integers
    "GROUP_RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT", "NODE_RANK", "RANK", "SLURM_LOCALID",
    "SLURM_NODEID", "SLURM_NTASKS", "SLURM_PROCID", "WORLD_SIZE",
)  # fmt: skip


def environment() -> dict[str, Any]:
    """Return the machine and the code of a run, for its manifest, as plain JSON values.

    ``versions`` and ``instructions`` are ``None`` where unknown, ``gpus`` are named if torch is imported, and ``git``
    holds the ``commit`` and whether tracked files were changed (``dirty``), or ``None`` outside of a repository.
    """
    packages = ("torch", "pytorch-lightning", "numpy", "scipy")
    return {
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": list(sys.argv),
        "versions": {
            "python": platform.python_version(),
            "robustnas": __version__,
            **{name: _version(name) for name in packages},
        },
        "platform": platform.platform(),
        "cpu": {
            "model": _cpu_info("model name") or platform.processor() or platform.machine(),
            "instructions": instructions(),
            "cores": os.cpu_count(),
            "usable": usable_cores(),
        },
        "memory_bytes": psutil.virtual_memory().total,
        "gpus": _gpus(),
        "git": {
            "robustnas": _repository(Path(__file__).with_name("__init__.py")),
            "working_directory": _repository(Path.cwd()),
        },
    }


def required() -> dict[str, dict[str, str]]:
    """The oldest version of each package that ``pyproject.toml`` admits, by extra; under ``""`` those always needed."""
    found: dict[str, dict[str, str]] = {"": {}}
    with contextlib.suppress(metadata.PackageNotFoundError):  # of a tree that is not installed
        for known in filter(None, map(_REQUIRED.fullmatch, metadata.requires("robustnas") or ())):
            found.setdefault(known[3] or "", {})[known[1]] = known[2]
    return found


def tested() -> dict[str, str]:
    """The versions of ``constraints.txt``, the newest that were tested; none where this is no checkout."""
    pins = Path(__file__).parents[2] / "constraints.txt"
    text = pins.read_text(encoding="utf-8") if pins.is_file() else ""
    return {name.lower(): version for name, version in re.findall(r"^([\w.-]+)==(\S+)$", text, re.MULTILINE)}


def versions() -> dict[str, str | None]:
    """Version of each package that is always needed, and of ``torchvision``; ``None`` where it is not installed."""
    return {name: _version(name) for name in (*required()[""], "torchvision")}


def missing_packages(extra: str) -> list[str]:
    """Packages of an extra that are not installed."""
    return [name for name in required()[extra] if _version(name) is None]


def instructions() -> list[str] | None:
    """Those of :data:`INSTRUCTIONS` that the CPU supports; ``None`` if the system does not list them."""
    known = _cpu_info("flags|Features")
    return None if known is None else [name for name in INSTRUCTIONS if name in known.split()]


def usable_cores() -> int:
    """CPU cores that this process may use: those of its affinity mask, or fewer if a container limits CPU time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, period = [*_read_cgroup("cpu.max").split(), "", ""][:2]
    if not quota:
        quota, period = _read_cgroup("cpu/cpu.cfs_quota_us"), _read_cgroup("cpu/cpu.cfs_period_us")
    if quota.isdigit() and period.isdigit() and int(period) > 0:
        cores = min(cores, max(1, -(-int(quota) // int(period))))
    return cores


def memory() -> dict[str, int | None]:
    """Bytes of main memory (``total``, ``available``, ``limit`` of the container) and of ``/dev/shm`` (``shared``)."""
    held = psutil.virtual_memory()
    text = _read_cgroup("memory.max") or _read_cgroup("memory/memory.limit_in_bytes")
    limit = int(text) if text.isdigit() and int(text) < held.total else None
    shared = shutil.disk_usage("/dev/shm").total if Path("/dev/shm").is_dir() else None
    return {"total": held.total, "available": held.available, "limit": limit, "shared": shared}


def _read_cgroup(name: str) -> str:
    """Read a file of this process's control group; empty if there is none."""
    with contextlib.suppress(OSError):
        return (Path("/sys/fs/cgroup") / name).read_text(encoding="utf-8").strip()
    return ""


def accelerators() -> dict[str, Any]:
    """``gpus`` (``name``, ``memory_bytes``, ``free_bytes``), ``cuda``, ``driver`` (without torch too) and ``mps``."""
    driver = None
    with contextlib.suppress(OSError):
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8")
        found = re.search(r"\s(\d+\.\d+(?:\.\d+)*)\s", text)
        driver = found[1] if found else "unknown"
    torch = sys.modules.get("torch")
    if torch is None:
        return {"gpus": [], "cuda": None, "mps": False, "driver": driver}
    held = [(name, *torch.cuda.mem_get_info(index)) for index, name in enumerate(_gpus())]
    gpus = [{"name": name, "memory_bytes": total, "free_bytes": free} for name, free, total in held]
    mps = bool(torch.backends.mps.is_available())
    return {"gpus": gpus, "cuda": torch.version.cuda, "mps": mps, "driver": driver}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu_info(field: str) -> str | None:
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        if found := re.search(rf"^(?:{field})\s*:(.*)$", text, re.MULTILINE):
            return found[1].strip()
    return None


def _gpus() -> list[str]:
    torch = sys.modules.get("torch")  # not imported here, which takes seconds
    if torch is None or not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def _repository(path: Path) -> dict[str, Any] | None:
    """The repository that contains a folder, or that tracks a file: an installed package is tracked by none."""
    folder = path if path.is_dir() else path.parent
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None or (path.is_file() and _git(folder, "ls-files", "--error-unmatch", path.name) is None):
        return None
    # `git status` would read the configuration of submodules.
    status = ("status", "--porcelain", "--untracked-files=no", "--ignore-submodules=dirty")
    changes = None if _has_filters(folder) else _git(folder, *status)
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def _has_filters(folder: Path) -> bool:
    """Whether a repository configures programs that `git status` would run on changed files."""
    filters = _git(folder, "config", "--show-scope", "--name-only", "--get-regexp", r"^filter\..*\.(clean|process)$")
    return any(line.split()[0] in ("local", "worktree") for line in (filters or "").splitlines())


def _git(folder: Path, *arguments: str) -> str | None:
    """Output of git, which runs no program that the configuration of a repository names; ``None`` if it fails."""
    of_a_hook = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"}
    outside = {name: value for name, value in os.environ.items() if name not in of_a_hook}
    # Reading must neither lock the index during someone's commit nor fetch missing objects.
    quiet = {**outside, "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": "none"}
    command = ["git", "-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}", *arguments]
    try:
        done = subprocess.run(command, cwd=folder, env=quiet, stdin=subprocess.DEVNULL, capture_output=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else None


def check_variables() -> None:
    """Refuse environment variables that would make a run of several processes fail later, with an unclear message."""
    for name in INTEGER_VARIABLES:
        if not (value := os.environ.get(name, "0")).isdecimal():
            raise ValueError(f"Expected the environment variable `{name}` to be a whole number, but got {value!r}.")
    if os.environ.get(RUN) == "":
        raise ValueError(f"Expected the environment variable `{RUN}` to name a folder, but got ''.")
