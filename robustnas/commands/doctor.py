"""``robustnas doctor``: facts about this machine and installation, known problems, and a self-test."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import textwrap
import warnings
from collections.abc import Iterator
from typing import Any

from robustnas.cli.errors import Parser
from robustnas.commands.selftest import Outcome, run_checks
from robustnas.runtime import environment as machine

WIDTH, OMP = 100, "OMP_NUM_THREADS"
GIB = 2**30
LOW_DISK, LOW_SHARED_MEMORY = 2 * GIB, 64 * 2**20  # 64 MiB is the default of containers


def parser() -> Parser:
    """The options of ``robustnas doctor``."""
    parser = Parser(
        prog="robustnas doctor",
        description="Print versions, devices, memory and extras, warn of known problems, and run a self-test of a few "
        "seconds: a tiny search and its resume, the hypergradient, a genotype, two processes, and kernels of torch "
        "that are wrong or slow on some CPUs. The exit status is 1 if something failed.",
    )
    parser.add_argument("--no-test", action="store_true", help="skip the self-test")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def main(arguments: list[str]) -> int:
    """Print versions, devices, memory, extras and warnings, and run the self-test; 1 if something failed."""
    options = parser().parse_args(arguments[1:])
    found = examine()
    outcomes = iter(()) if options.no_test else run_checks()
    if not options.json:
        print(*report(found), sep="\n")
        outcomes = _printed(outcomes)
    checks = list(outcomes)
    well = not found["errors"] and all(check.passed for check in checks)
    if options.json:
        tested = None if options.no_test else [vars(check) for check in checks]
        print(json.dumps({**found, "checks": tested, "well": well}, indent=2))
    else:
        print("\nNo problem found." if well else "\nSomething failed: see the lines with FAIL.")
    return 0 if well else 1


def examine() -> dict[str, Any]:
    """Facts about this installation and machine as JSON values, with warnings and errors as sentences."""
    errors, threads = [], None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torch

            threads = torch.get_num_threads()
            devices = machine.accelerators()
    except Exception as error:  # a broken torch can raise anything, and the other facts still matter
        errors.append(f"Expected torch to be usable, but got {type(error).__name__}: {' '.join(str(error).split())}")
        devices = {"gpus": [], "cuda": None, "mps": False, "driver": None}
    found = machine.environment()
    facts = {
        **{name: found[name] for name in ("platform", "cpu", "git")},
        "versions": {**found["versions"], **machine.versions()},
        "threads": {"usable_cores": machine.usable_cores(), "torch": threads, OMP: os.getenv(OMP)},
        "memory": machine.memory(),
        "disk": _disk(),
        "accelerators": devices,
        "extras": {extra: machine.missing_packages(extra) for extra in machine.required() if extra},
    }
    errors += [sentence for name in machine.required()[""] if (sentence := _too_old(name, facts["versions"][name]))]
    return {**facts, "warnings": list(_warnings(facts)), "errors": errors}


def _disk() -> dict[str, Any]:
    with contextlib.suppress(OSError):
        return {"folder": os.getcwd(), "free": shutil.disk_usage(os.getcwd()).free}
    return {"folder": None, "free": None}


def _too_old(name: str, version: str | None) -> str | None:
    oldest = machine.required()[""][name]
    if version is None:
        return f"Expected {name} {oldest} or newer, but got none: pip install '{name}>={oldest}'"
    if _number(version) < _number(oldest):
        return f"Expected {name} {oldest} or newer, but got {version}: pip install -U {name}"
    return None


def _warnings(facts: dict[str, Any]) -> Iterator[str]:
    known, devices, threads = facts["versions"], facts["accelerators"], facts["threads"]
    for name, newest in machine.tested().items():
        version = known.get(name)
        if version is not None and _number(version)[:2] > _number(newest)[:2]:
            yield f"{name} {version} is newer than {newest}, the newest that robustnas was tested with."
    torch = known["torch"] or ""
    if known["torchvision"] and "+cpu" in torch and "+cpu" not in known["torchvision"]:
        yield (
            f"torchvision {known['torchvision']} was not built for torch {torch}: with a CPU build of torch it breaks "
            "the import of pytorch_lightning. robustnas does not need it: pip uninstall torchvision."
        )
    cores = threads["usable_cores"]
    wanted = int(asked) if (asked := threads["OMP_NUM_THREADS"] or "").isdecimal() else None
    for who, number in (("torch would use", threads["torch"]), ("OMP_NUM_THREADS asks for", wanted)):
        if number is not None and number > cores:
            yield (
                f"{who} {number} threads, but this process may use {cores} of the machine's cores: more threads "
                f"than cores make a search many times slower. Remedy: export OMP_NUM_THREADS={cores}."
            )
    if devices["driver"] and not devices["gpus"] and torch:
        yield (
            f"There is an NVIDIA driver ({devices['driver']}), but torch {torch} sees no GPU: it was built for the "
            "CPU, or for a newer driver, or CUDA_VISIBLE_DEVICES hides the GPUs."
        )
    shared, free = facts["memory"]["shared"], facts["disk"]["free"]
    if shared is not None and shared <= LOW_SHARED_MEMORY:
        yield (
            f"/dev/shm has {_bytes(shared)}, but processes on several GPUs exchange tensors through it. Start a "
            "container with --shm-size=1g or more."
        )
    if free is not None and free < LOW_DISK:
        yield f"The disk of this folder has {_bytes(free)} free, but runs and checkpoints are written there."


def report(found: dict[str, Any]) -> Iterator[str]:
    """The facts of :func:`examine` in lines of at most 100 columns."""
    yield "Versions"
    commit = found["git"]["robustnas"]
    from_commit = f", commit {commit['commit'][:12]}{' with changes' if commit['dirty'] else ''}" if commit else ""
    oldest, newest = machine.required()[""], machine.tested()
    for name, version in found["versions"].items():
        own = from_commit if name == "robustnas" else ""
        to = f" to {newest[name]}" if name in newest else " or newer"
        span = f"   ({oldest[name]}{to})" if name in oldest else ""
        yield from _row(name, f"{version or 'not installed'}{own}{span}")
    yield "\nMachine"
    for name, says in _machine(found):
        yield from _row(name, says)
    yield "\nExtras"
    for extra, absent in found["extras"].items():
        remedy = f'missing {", ".join(absent)}: pip install -e ".[{extra}]" in a checkout' if absent else "present"
        yield from _row(extra, remedy)
    for title, kind in (("Warnings", "warnings"), ("FAIL", "errors")):
        if found[kind]:
            yield f"\n{title}"
        for sentence in found[kind]:
            yield from _wrapped(sentence, "  - ", "    ")


def _machine(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    cpu, threads, memory, devices = (found[name] for name in ("cpu", "threads", "memory", "accelerators"))
    yield "system", found["platform"]
    yield "CPU", f"{cpu['model'] or 'unknown'}; {threads['usable_cores']} of {cpu['cores']} cores for this process"
    known = cpu["instructions"]
    yield "instructions", "unknown" if known is None else ", ".join(known) or "baseline only"
    yield "threads", f"torch {threads['torch'] or 'unknown'}, OMP_NUM_THREADS {threads['OMP_NUM_THREADS'] or 'not set'}"
    for index, gpu in enumerate(devices["gpus"]):
        yield f"GPU {index}", f"{gpu['name']}, {_bytes(gpu['memory_bytes'])}, {_bytes(gpu['free_bytes'])} free"
    if not devices["gpus"]:
        yield "GPU", "none"
    driver = f"driver {devices['driver'] or 'none'}"
    yield "CUDA", f"{devices['cuda'] or 'not in this torch'}, {driver}; MPS {'yes' if devices['mps'] else 'no'}"
    bound = f"; limit of this container: {_bytes(memory['limit'])}" if memory["limit"] else ""
    yield "memory", f"{_bytes(memory['total'])}, {_bytes(memory['available'])} available{bound}"
    yield "/dev/shm", _bytes(memory["shared"]) if memory["shared"] is not None else "none"
    yield "disk", f"{_bytes(found['disk']['free'])} free in {found['disk']['folder'] or 'a deleted folder'}"


def _printed(outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
    for number, outcome in enumerate(outcomes):
        if not number:
            print("\nSelf-test")
        head = f"  {'pass' if outcome.passed else 'FAIL'} {outcome.seconds:5.1f} s  {outcome.name}: "
        for line in _wrapped(outcome.says, head, " " * 16):
            print(line, flush=True)
        yield outcome


def _row(name: str, says: str) -> list[str]:
    return _wrapped(says, f"  {name:<18} ", " " * 21)


def _wrapped(text: str, first: str, following: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=following, break_on_hyphens=False
    ) or [first.rstrip()]  # fmt: skip


def _number(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: ``2.13.0+cpu`` is ``(2, 13, 0)``."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()


def _bytes(count: int | None) -> str:
    if count is None:
        return "unknown"
    return f"{count / GIB:.1f} GiB" if count >= GIB / 10 else f"{count / 2**20:.0f} MiB"
