"""The dominant eigenvalue of the Hessian in α by Lanczos iteration against that of the dense matrix.

Both take the Hessian of the validation loss of a supernet in all its α, at batch statistics and without weight
decay, and start from images and labels. The dense way takes one product with the Hessian for each α, as
RobustDARTS does, and all eigenvalues; the Lanczos way takes products until it is within its tolerance.

The two alternate in one process, on a new batch each time, and are compared pair by pair: processor time on a CPU,
wall time with synchronisation on a GPU. Peak memory is that above the idle process, each in a process of its own.
All ratios are dense over Lanczos: larger is better.

Example:
    python benchmarks/curvature.py --json benchmarks/results/curvature.json
    python benchmarks/curvature.py --channels 16 --layers 8 --batch 64 --image-size 32 --device cuda
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from search_step import batch, processor, seconds, status
from torch import Tensor

from robustnas.curvature import Hessian, extremes
from robustnas.curvature.spectrum import eigenvalues
from robustnas.networks import Mixture, Supernet
from robustnas.spaces import find_space

WAYS = ("dense", "lanczos")
Found = dict[str, float]
Way = Callable[[Tensor, Tensor], Found]


def make_ways(options: argparse.Namespace) -> dict[str, Way]:
    """Both ways to the dominant eigenvalue, of one network at one α, as functions of a batch."""
    space, dtype = find_space(options.space), getattr(torch, options.precision)
    name = "layers" if space.skeleton == "darts" else "cells"
    depth = {} if options.layers is None else {name: options.layers}
    network = Supernet(space, options.channels, **depth).to(options.device, dtype).requires_grad_(False)
    alphas = {k: options.alpha * torch.randn(cell.shape).to(options.device, dtype) for k, cell in space.cells.items()}

    def hessian(images: Tensor, labels: Tensor) -> Hessian:
        def loss(found: Sequence[Tensor]) -> Tensor:
            mixtures = {kind: Mixture(a.softmax(dim=-1)) for kind, a in zip(alphas, found, strict=True)}
            return F.cross_entropy(network(images.to(dtype), mixtures), labels)

        return Hessian.at(loss, list(alphas.values()), dtype)

    def dense(images: Tensor, labels: Tensor) -> Found:
        whole = hessian(images, labels)
        return {"eigenvalue": float(eigenvalues(whole)[-1]), "products": whole.size}

    def lanczos(images: Tensor, labels: Tensor) -> Found:
        pairs = extremes(hessian(images, labels), tolerance=options.tolerance)[0]
        return {"eigenvalue": float(pairs.values), "products": pairs.products, "bound": float(pairs.errors)}

    return {"dense": dense, "lanczos": lanczos}


def peak_memory(which: str, options: argparse.Namespace) -> int:
    """Bytes that a way needs at its peak above the idle process, which has been the Lanczos way with a small batch."""
    ways = make_ways(options)
    ways["lanczos"](*batch(options, 2))
    images, labels = batch(options, options.batch)
    if images.is_cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        idle = torch.cuda.memory_allocated()
        ways[which](images, labels)
        return torch.cuda.max_memory_allocated() - idle
    idle = status("VmRSS")
    ways[which](images, labels)
    return status("VmHWM") - idle


def peak_memory_elsewhere(which: str) -> int:
    """Peak memory of a way, measured by a process of its own."""
    command = [sys.executable, __file__, *sys.argv[1:], "--memory-of", which]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Times, memory, products and values of both ways, and their ratios."""
    ways = make_ways(options)
    ways["lanczos"](*batch(options, options.batch))  # what happens only once
    times: dict[str, list[float]] = {which: [] for which in WAYS}
    found: dict[str, list[Found]] = {which: [] for which in WAYS}
    for _ in range(options.repeats):
        images, labels = batch(options, options.batch)
        for which, way in ways.items():
            times[which].append(seconds(lambda x, y, way=way, to=found[which]: to.append(way(x, y)), images, labels))
    memory = {which: peak_memory_elsewhere(which) for which in WAYS}
    pairs = list(zip(found["dense"], found["lanczos"], strict=True))
    return {
        "time_ratio": statistics.median(d / n for d, n in zip(times["dense"], times["lanczos"], strict=True)),
        "memory_ratio": memory["dense"] / memory["lanczos"],
        "product_ratio": statistics.median(d["products"] / n["products"] for d, n in pairs),
        "largest_relative_error": max(abs(n["eigenvalue"] / d["eigenvalue"] - 1) for d, n in pairs),
        "largest_relative_bound": max(n["bound"] / abs(d["eigenvalue"]) for d, n in pairs),
        "seconds": times,
        "peak_memory_bytes": memory,
        "found": found,
        "settings": {name: value for name, value in vars(options).items() if name not in {"json", "memory_of"}},
        "command": " ".join(["python", "benchmarks/curvature.py", *sys.argv[1:]]),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "device": torch.cuda.get_device_name() if options.device.startswith("cuda") else processor(),
    }


def table(result: dict[str, Any]) -> str:
    """What was found, for people."""

    def medians(values: Callable[[str], list[float]], form: str) -> list[str]:
        return [format(statistics.median(values(which)), form) for which in WAYS]

    def of(name: str) -> Callable[[str], list[float]]:
        return lambda which: [one[name] for one in result["found"][which]]

    rows = [
        ("products", *medians(of("products"), ".0f"), f"{result['product_ratio']:.2f}"),
        ("seconds", *medians(result["seconds"].get, ".3f"), f"{result['time_ratio']:.2f}"),
        ("peak memory, MB", *(f"{result['peak_memory_bytes'][w] / 1e6:.0f}" for w in WAYS),
         f"{result['memory_ratio']:.2f}"),
        ("eigenvalue", *medians(of("eigenvalue"), ".4g"), ""),
        ("relative error", "", f"{result['largest_relative_error']:.1e}", ""),
        ("its bound", "", f"{result['largest_relative_bound']:.1e}", ""),
    ]  # fmt: skip
    return "\n".join(f"{name:20}{a:>12}{b:>12}{r:>8}" for name, a, b, r in [("", *WAYS, "ratio"), *rows])


def parse() -> argparse.Namespace:
    """The arguments of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="DARTS", help="name of the search space")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--precision", choices=("float32", "float64"), default="float32")
    parser.add_argument("--channels", "-C", type=int, default=4)
    parser.add_argument("--layers", type=int, default=3, help="cells; in NAS-Bench-201 those of a stage")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--image-size", type=int, default=16)
    parser.add_argument("--alpha", type=float, default=1e-3, help="standard deviation of the random α")
    parser.add_argument("--tolerance", type=float, default=1e-3, help="of the Lanczos iteration")
    parser.add_argument("--repeats", type=int, default=3, help="pairs, each on a new batch")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="file for ratios and raw figures")
    parser.add_argument("--memory-of", choices=WAYS, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure, print and write."""
    options = parse()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if options.memory_of:
        print(peak_memory(options.memory_of, options))
        return
    result = compare(options)
    print(table(result))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
