"""What a search step of first-order DARTS costs in each precision, with cells as they are and compiled.

Steps alternate in one process, and each is compared with the fp32 step of its round, uncompiled: processor time on a
CPU, wall time with synchronisation on a GPU. Ratios are fp32 over the other: larger is better. How long compiling took
is wall time. On a GPU ``fp32`` shortens nothing, and ``tf32`` is float32 with TF32 in products and convolutions.

Example:
    python benchmarks/precision.py --json benchmarks/results/precision_cpu.json
    python benchmarks/precision.py --device cuda --batch 64 --json benchmarks/results/precision_cuda.json
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from measure import batch, parser, provenance, seconds, write
from methods import make_step, search
from torch import Tensor

from robustnas.runtime.precision import matmul_precision
from robustnas.training.compilation import compile_cells

BASE = "fp32"
Row = Callable[[Tensor, Tensor], None]


def rows(options: argparse.Namespace) -> list[str]:
    """What is measured: each precision, uncompiled and compiled."""
    precisions = [BASE, "bf16"] if options.device == "cpu" else [BASE, "tf32", "bf16"]
    return [name + how for how in ("", " compiled") for name in precisions]


def make_row(row: str, options: argparse.Namespace) -> tuple[Row, Any]:
    """Both halves of a search step in a precision, with the search it belongs to."""
    torch.manual_seed(0)
    module = search("DARTS", options)
    precision, _, compiled = row.partition(" ")
    if compiled:
        compile_cells(module.supernet, torch.device(options.device))
    halves = [make_step(module, which, precision) for which in ("arch", "weights")]

    def step(images: Tensor, labels: Tensor) -> None:
        with matmul_precision("high" if precision == "tf32" else "highest"):
            for half in halves:
                half(images, labels)

    return step, module


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Times of all rows, their ratios to the first, and the losses after as many steps."""
    steps, modules = {}, {}
    whole, first = batch(options, options.batch), {}
    for row in rows(options):
        steps[row], modules[row] = make_row(row, options)
        start = time.perf_counter()
        steps[row](*whole)  # compiles
        first[row] = time.perf_counter() - start
        print(f"{row}: first step {first[row]:.1f} s", flush=True)
    times: dict[str, list[float]] = {row: [] for row in steps}
    for _ in range(options.repeats):
        for row, step in steps.items():
            times[row].append(seconds(step, *whole))
    arch = {row: torch.cat([a.detach().flatten().cpu() for a in m.alphas.values()]) for row, m in modules.items()}
    return {
        "time_ratio": {
            row: statistics.median(slow / fast for slow, fast in zip(times[BASE], times[row], strict=True))
            for row in steps
        },
        "seconds_per_step": times,
        "first_step_seconds": first,
        "largest_difference_of_alpha": {row: float((arch[row] - arch[BASE]).abs().max()) for row in steps},
        **provenance(options),
    }


def table(found: dict[str, Any]) -> str:
    """What was found, for people."""
    lines = [f"{'':16}{'seconds':>10}{'ratio':>8}{'first step, s':>16}{'α differs by':>15}"]
    for row, ratio in found["time_ratio"].items():
        typical = statistics.median(found["seconds_per_step"][row])
        first, apart = found["first_step_seconds"][row], found["largest_difference_of_alpha"][row]
        lines.append(f"{row:16}{typical:10.3f}{ratio:8.2f}{first:16.1f}{apart:15.1e}")
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write."""
    options = parser(__doc__, "nothing: all are measured").parse_args()
    torch.set_num_threads(options.threads)
    found = compare(options)
    print(table(found))
    write(found, options.json)


if __name__ == "__main__":
    main()
