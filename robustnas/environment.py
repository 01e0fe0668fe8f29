"""Where and with what a run happens: versions, machine and commit."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import subprocess
import sys
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from robustnas import __version__


def environment() -> dict[str, Any]:
    """What to know about the machine and the code to repeat a run, for its manifest.

    Returns:
        What JSON can hold: ``started`` (now, UTC), ``command`` (the arguments), ``versions`` (``None`` where a package
        is not installed), ``platform``, ``cpu`` (``model``, ``cores``, and how many of them are ``usable``),
        ``memory_bytes``, ``gpus`` (names, once torch is imported), and ``git``: for the checkout ``robustnas`` runs
        from and for the ``working_directory`` the ``commit`` and whether tracked files were changed (``dirty``), or
        ``None`` where there is no repository.
    """
    packages = ("torch", "pytorch-lightning", "numpy", "scipy")
    cores = os.cpu_count()
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
            "model": _cpu_model(),
            "cores": cores,
            "usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores,
        },
        "memory_bytes": _memory(),
        "gpus": _gpus(),
        "git": {
            "robustnas": _repository(Path(__file__).with_name("__init__.py")),
            "working_directory": _repository(Path.cwd()),
        },
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _gpus() -> list[str]:
    torch = sys.modules.get("torch")  # importing it takes seconds, so only a run that uses it asks
    if torch is None or not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def _repository(path: Path) -> dict[str, Any] | None:
    """Commit of the repository a folder lies in, or a file is tracked by: an installed package is tracked by none."""
    folder = path if path.is_dir() else path.parent
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None or (path.is_file() and _git(folder, "ls-files", "--error-unmatch", path.name) is None):
        return None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def _git(folder: Path, *arguments: str) -> str | None:
    of_a_hook = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"}
    outside = {name: value for name, value in os.environ.items() if name not in of_a_hook}
    quiet = {**outside, "GIT_OPTIONAL_LOCKS": "0"}  # looking must not lock the index of someone who is committing
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, env=quiet, stdin=subprocess.DEVNULL, capture_output=True, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else None
