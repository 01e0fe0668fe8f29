"""Which launcher started the processes of a run, and whether it agrees with the options of the command."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from robustnas.runtime.trust import trusted_modules

MAX_PROCESSES = 2**14  # Lightning allocates a list of them before it checks the machine


class Launcher(NamedTuple):
    """A launcher other than Lightning: its name, how many processes it started, and how many on each machine."""

    name: str
    processes: int
    per_machine: int


def find_launcher() -> Launcher | None:
    """The launcher that Lightning will detect; ``None`` if Lightning itself starts the processes."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return Launcher("torchrun", int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"]))
    if "SLURM_NTASKS" not in os.environ or os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive"):
        return None
    tasks, per_machine = int(os.environ["SLURM_NTASKS"]), os.environ.get("SLURM_NTASKS_PER_NODE", "")
    if tasks > 1 and not per_machine.isdigit():
        raise ValueError(
            f"Expected the SLURM job to set `--ntasks-per-node`, from which Lightning counts its processes, "
            f"but got only `--ntasks={tasks}`."
        )
    return Launcher("SLURM", tasks, int(per_machine or 1))


def check_launch(processes: int, nodes: int) -> None:
    """Refuse options for other processes than those that were started: some would wait for the others for ever."""
    if processes > MAX_PROCESSES:
        raise ValueError(
            f"Expected `--trainer.devices` to start at most {MAX_PROCESSES:,} processes, but got {processes:,}."
        )
    found = find_launcher()
    if found is None:
        return
    machines = -(-found.processes // found.per_machine)
    for option, wanted, given in (
        ("--trainer.devices", found.per_machine, processes // nodes),
        ("--trainer.num_nodes", machines, nodes),
    ):
        if wanted != given:
            on = f" on each of {machines} machines" if machines > 1 else ""
            raise ValueError(
                f"Expected `{option}` to be {wanted}, as {found.name} started {found.per_machine} processes{on}, "
                f"but got {given}."
            )


def resume_command(words: Sequence[str], *named: str) -> str:
    """The command line that resumes an interrupted run; the option-value pairs ``named`` replace those of ``words``."""
    kept, rest = [], iter(words)
    for word in rest:
        option, equals, _ = word.partition("=")
        if option not in named[::2]:
            kept.append(word)
        elif not equals:
            next(rest, None)
    trusted = [word for module in trusted_modules() for word in ("--trust", module)]
    return shlex.join(["robustnas", *kept, *named, *trusted])


def is_one_of_several() -> bool:
    """Whether this is one of several processes, which cannot be told which folder this one has chosen."""
    found = find_launcher()
    return "LOCAL_RANK" in os.environ or (found is not None and found.processes > 1)


def count_processes(config: Any) -> int:
    """How many processes the configuration of a trainer asks for: devices times nodes."""
    devices = config.devices
    if isinstance(devices, str) and "," in devices:
        devices = [device for device in devices.split(",") if device.strip()]
    if isinstance(devices, list):
        count = len(devices)
    elif str(devices).isdigit():
        count = int(devices)
    else:
        on_gpus = config.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
        count = torch.cuda.device_count() if on_gpus else 1
    return count * int(config.num_nodes)
