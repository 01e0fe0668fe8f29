"""Who started the processes of a run, and whether the options of the command fit."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from robustnas.runtime.trust import trusted_modules

MOST = 2**14  # processes of a run; Lightning lists them before it asks the machine


class Launch(NamedTuple):
    """Processes that something else than Lightning started.

    Attributes:
        by: What started them.
        processes: How many there are, on all machines.
        on_each: How many on this machine.
    """

    by: str
    processes: int
    on_each: int


def launched() -> Launch | None:
    """What started this process, as Lightning will find it.

    Returns:
        It and its numbers; ``None`` where Lightning is to start the processes.

    Raises:
        ValueError: If a job of SLURM does not say how many processes each machine has.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return Launch("torchrun", int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"]))
    if "SLURM_NTASKS" not in os.environ or os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive"):
        return None
    tasks, on_each = int(os.environ["SLURM_NTASKS"]), os.environ.get("SLURM_NTASKS_PER_NODE", "")
    if tasks > 1 and not on_each.isdigit():
        raise ValueError(
            f"Expected the job to say `--ntasks-per-node`, by which Lightning knows its processes, "
            f"but got only `--ntasks={tasks}`."
        )
    return Launch("SLURM", tasks, int(on_each or 1))


def check_launch(processes: int, nodes: int) -> None:
    """Refuse options that mean other processes than there are: some would wait for others without end.

    Args:
        processes: Processes on all machines, by the options.
        nodes: Machines, by the options.

    Raises:
        ValueError: If these are not the processes that were started.
    """
    if processes > MOST:
        raise ValueError(f"Expected `--trainer.devices` to mean at most {MOST:,} processes, but got {processes:,}.")
    found = launched()
    if found is None:
        return
    machines = -(-found.processes // found.on_each)
    for option, wanted, given in (
        ("--trainer.devices", found.on_each, processes // nodes),
        ("--trainer.num_nodes", machines, nodes),
    ):
        if wanted != given:
            on = f" on each of {machines} machines" if machines > 1 else ""
            raise ValueError(
                f"Expected `{option}` to be {wanted}, as {found.by} started {found.on_each} processes{on}, "
                f"but got {given}."
            )


def going_on(words: Sequence[str], *named: str) -> str:
    """The command line that goes on with an interrupted run.

    Args:
        words: The command and its options.
        named: Options and values to give in place of those that the words have.

    Returns:
        What can be typed, with the modules that are trusted.
    """
    kept, names, follows = [], named[::2], False
    for word in words:
        option, equals, _ = word.partition("=")
        if option in names:
            follows = not equals
        elif follows:
            follows = False
        else:
            kept.append(word)
    trusted = [word for module in trusted_modules() for word in ("--trust", module)]
    return shlex.join(["robustnas", *kept, *named, *trusted])


def beside_others() -> bool:
    """Whether other processes take part that cannot be told which folder this one has chosen."""
    found = launched()
    return "LOCAL_RANK" in os.environ or (found is not None and found.processes > 1)


def processes(config: Any) -> int:
    """How many processes a trainer is to have.

    Args:
        config: Its options.

    Returns:
        Devices times nodes.
    """
    devices = config.devices
    if isinstance(devices, str) and devices.isdigit():
        count = int(devices)
    elif isinstance(devices, int) and devices >= 0:
        count = devices
    elif isinstance(devices, list):
        count = len(devices)
    elif isinstance(devices, str) and "," in devices:
        count = len([device for device in devices.split(",") if device.strip()])
    else:
        on_gpus = config.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
        count = torch.cuda.device_count() if on_gpus else 1
    return count * int(config.num_nodes)
