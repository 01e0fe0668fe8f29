"""One search step of the bundled supernet against the same step edge by edge.

A step is that of first-order DARTS: an architecture gradient on one batch and a weight gradient on another. The
reference evaluates every operation of every edge by itself, in float32, and computes all gradients in both
passes, as the original code does. The bundled supernet computes the same values and only the gradients it needs.

Steps are interleaved in one process and compared pair by pair: processor time on a CPU, wall time with
synchronisation on a GPU. Peak memory is that of a step above the idle process, each network in a process of its own.
All ratios are reference over bundled: larger is better.

Example:
    python benchmarks/search_step.py --precision bf16 --json benchmarks/results/step.json
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from measure import Step, batch, depth, elsewhere, parser, peak_memory, provenance, seconds, write  # noqa: E402
from references import ReferenceSupernet  # noqa: E402

from robustnas.networks import Mixture, Supernet  # noqa: E402
from robustnas.spaces import find_space  # noqa: E402

NETWORKS = ("reference", "bundled")
COMPUTES_NOTHING = re.compile(  # views, allocations and questions
    r"aten::(_nnpack_available|_reshape_alias|_unsafe_view|alias|as_strided_?|chunk|contiguous|detach|empty\w*|expand|"
    r"expand_as|flatten|lift_fresh|narrow|new_empty\w*|permute|reshape|resize_|resize_as_|result_type|select|slice|"
    r"split\w*|squeeze|t|to|transpose|unbind|unflatten|unsqueeze|view|view_as)"
)


def make_step(which: str, options: argparse.Namespace) -> Step:
    """The step of one of the two networks, as a function of a batch."""
    space = find_space(options.space)
    alphas = {
        kind: (1e-3 * torch.randn(cell.shape)).to(options.device).requires_grad_() for kind, cell in space.cells.items()
    }
    if which == "reference":
        return reference_step(ReferenceSupernet(space, options.channels, **depth(options)).to(options.device), alphas)
    network = Supernet(space, options.channels, **depth(options)).to(options.device)
    return bundled_step(network, alphas, torch.device(options.device).type, options.precision == "bf16")


def reference_step(network: ReferenceSupernet, alphas: dict[str, Tensor]) -> Step:
    """Both passes backward through everything."""
    tensors = [*alphas.values(), *network.parameters()]

    def step(images: Tensor, labels: Tensor) -> None:
        for _ in range(2):
            mixtures = {kind: alpha.softmax(dim=-1) for kind, alpha in alphas.items()}
            torch.autograd.grad(F.cross_entropy(network(images, mixtures), labels), tensors)

    return step


def bundled_step(network: Supernet, alphas: dict[str, Tensor], device: str, bf16: bool) -> Step:
    """One pass with the gradient of α alone, one with those of the weights alone."""
    weights = list(network.parameters())

    def loss(images: Tensor, labels: Tensor, mixtures: dict[str, Mixture]) -> Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            return F.cross_entropy(network(images, mixtures), labels)

    def step(images: Tensor, labels: Tensor) -> None:
        mixtures = {kind: Mixture(alpha.softmax(dim=-1)) for kind, alpha in alphas.items()}
        network.requires_grad_(False)
        torch.autograd.grad(loss(images, labels, mixtures), list(alphas.values()))
        network.requires_grad_(True)
        torch.autograd.grad(loss(images, labels, {kind: m.detach() for kind, m in mixtures.items()}), weights)

    return step


def kernels(step: Step, images: Tensor, labels: Tensor) -> int:
    """Kernels that a step starts: on a GPU those launched, on a CPU operators that compute and call no other."""
    activities = [ProfilerActivity.CUDA] if images.is_cuda else [ProfilerActivity.CPU]
    step(images, labels)  # what happens only once
    with profile(activities=activities) as profiler:
        step(images, labels)
    events = profiler.events() or []
    if images.is_cuda:
        return sum(event.device_type == torch.autograd.DeviceType.CUDA for event in events)

    def count(event: Any) -> int:
        inside = sum(count(child) for child in event.cpu_children)
        return inside or int(event.name.startswith("aten::") and not COMPUTES_NOTHING.fullmatch(event.name))

    return sum(count(event) for event in events if event.cpu_parent is None)


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Times, memory and kernels of both networks, and their ratios."""
    steps = {which: make_step(which, options) for which in NETWORKS}
    images, labels = batch(options, options.batch)
    counted = {which: kernels(step, images, labels) / 2 for which, step in steps.items()}  # two passes
    times: dict[str, list[float]] = {which: [] for which in NETWORKS}
    for _ in range(options.repeats):
        for which, step in steps.items():
            times[which].append(seconds(step, images, labels))
    memory = {which: elsewhere("--memory-of", which) for which in NETWORKS}
    pairs = zip(times["reference"], times["bundled"], strict=True)
    return {
        "time_ratio": statistics.median(slow / fast for slow, fast in pairs),
        "memory_ratio": memory["reference"] / memory["bundled"],
        "kernel_ratio": counted["reference"] / counted["bundled"],
        "seconds_per_step": times,
        "peak_memory_bytes": memory,
        "kernels_per_pass": counted,
        **provenance(options, "memory_of"),
    }


def table(found: dict[str, Any]) -> str:
    """What was found, for people."""
    times, memory, counted = (found[key] for key in ("seconds_per_step", "peak_memory_bytes", "kernels_per_pass"))
    rows = [
        ("seconds per step", *(f"{statistics.median(times[which]):.3f}" for which in NETWORKS), found["time_ratio"]),
        ("peak memory, MB", *(f"{memory[which] / 1e6:.0f}" for which in NETWORKS), found["memory_ratio"]),
        ("kernels per pass", *(f"{counted[which]:.0f}" for which in NETWORKS), found["kernel_ratio"]),
    ]
    lines = [f"{'':20}{'reference':>12}{'bundled':>12}{'ratio':>8}"]
    return "\n".join(lines + [f"{name:20}{slow:>12}{fast:>12}{ratio:8.2f}" for name, slow, fast, ratio in rows])


def parse() -> argparse.Namespace:
    """The arguments of the command."""
    arguments = parser(__doc__, "the bundled network")
    arguments.add_argument("--memory-of", choices=NETWORKS, help=argparse.SUPPRESS)
    return arguments.parse_args()


def main() -> None:
    """Measure, print and write."""
    options = parse()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if options.memory_of:
        print(peak_memory(make_step(options.memory_of, options), options))
        return
    found = compare(options)
    print(table(found))
    write(found, options.json)


if __name__ == "__main__":
    main()
