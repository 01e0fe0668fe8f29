"""What the benchmarks share: time and memory of a step, and how they are asked for and kept."""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from robustnas.runtime.environment import environment
from robustnas.spaces import find_space

Step = Callable[[Tensor, Tensor], None]


def parser(description: str | None, precision: str) -> argparse.ArgumentParser:
    """The arguments that all benchmarks take.

    Args:
        description: What the benchmark is.
        precision: Of what ``--precision`` is the precision.

    Returns:
        A parser for more.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="DARTS", help="name of the search space")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help=f"of {precision}")
    parser.add_argument("--channels", "-C", type=int, default=16)
    parser.add_argument("--layers", type=int, help="cells; in NAS-Bench-201 those of a stage")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5, help="rounds of steps")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="file for ratios and raw figures")
    return parser


def depth(options: argparse.Namespace) -> dict[str, int]:
    """The argument of a network that sets its depth, where one is asked for."""
    name = "layers" if find_space(options.space).skeleton == "darts" else "cells"
    return {} if options.layers is None else {name: options.layers}


def batch(options: argparse.Namespace, size: int) -> tuple[Tensor, Tensor]:
    """Noise and labels, on the device."""
    images = torch.randn(size, 3, options.image_size, options.image_size)
    return images.to(options.device), torch.randint(10, (size,)).to(options.device)


def seconds(step: Step, images: Tensor, labels: Tensor) -> float:
    """Processor time of a step on a CPU, wall time on a GPU."""
    if not images.is_cuda:
        start = time.process_time()
        step(images, labels)
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    step(images, labels)
    torch.cuda.synchronize()
    return time.perf_counter() - start


def status(field: str) -> int:
    """Bytes of an entry of ``/proc/self/status``."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def peak_memory(step: Step, options: argparse.Namespace) -> int:
    """Bytes that a step needs at its peak above the idle process; in a fresh process, since CPUs only keep the peak."""
    step(*batch(options, 2))
    images, labels = batch(options, options.batch)
    if images.is_cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        idle = torch.cuda.memory_allocated()
        step(images, labels)
        return torch.cuda.max_memory_allocated() - idle
    idle = status("VmRSS")
    step(images, labels)
    return status("VmHWM") - idle


def elsewhere(*words: str) -> int:
    """The number that the same command prints with some more words, in a process of its own."""
    command = [sys.executable, *sys.argv, *words]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def provenance(options: argparse.Namespace, *hidden: str) -> dict[str, Any]:
    """How and where something was measured."""
    cuda = torch.device(options.device).type == "cuda"
    return {
        "settings": {name: value for name, value in vars(options).items() if name not in {"json", *hidden}},
        "command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "device": torch.cuda.get_device_name() if cuda else processor(),
    }


def processor() -> str:
    """Name of the CPU and its instruction set, by which figures of CPUs are to be read."""
    cpu = environment()["cpu"]
    return f"{cpu['model']} ({', '.join(cpu['instructions'] or ['instructions not known'])})"


def write(found: dict[str, Any], path: Path | None) -> None:
    """Keep what was found, where a file is named."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=1) + "\n")
