"""What a search step of every method costs, relative to one of first-order DARTS.

A step is that of the search itself: α's step on one batch, the weights' on another, with optimisers, clipping and
metrics. Steps of all methods alternate in one process, and each is compared with the DARTS step of its round: processor
time on a CPU, wall time with synchronisation on a GPU. Peak memory is that of a step above the idle process, each in a
process of its own. Ratios are method over DARTS: smaller is better. All are taken half-way through a search.

Example:
    python benchmarks/methods.py --json benchmarks/results/methods_cpu.json
"""

from __future__ import annotations

import argparse
import statistics
from types import SimpleNamespace
from typing import Any

import torch
from measure import Step, batch, depth, elsewhere, parser, peak_memory, provenance, seconds, write
from torch import Tensor

from robustnas import variants
from robustnas.data.batch import Batch
from robustnas.strategies import LayerAlignment, RandomPerturbation, Strongest, Unrolled
from robustnas.training import SearchModule

EPOCHS = 100  # of the search whose middle is measured: α moves by then in all methods
BASE = "DARTS"
KINDS = {  # methods that a variant holds beside its defaults, or with other ones
    "FairDARTS": ("FairDARTS", {"selection": Strongest()}),  # in a space whose nodes keep a fixed number of edges
    "LambdaDARTS, differences": ("LambdaDARTS", {"weight_hook": LayerAlignment(form="differences")}),
    "DARTS, second order": ("DARTS", {"gradient": Unrolled()}),
    "SmoothDARTS, random": ("SmoothDARTS", {"perturbation": RandomPerturbation()}),
}
METHODS = {**{name: (name, {}) for name in variants.__all__}, **KINDS}
STEPS = ("arch", "weights")


def search(method: str, options: argparse.Namespace) -> SearchModule:
    """A search by a method, in the middle, with as much of a trainer as a step asks for."""
    name, parts = METHODS[method]
    module: Any = getattr(variants, name)(space=options.space, channels=options.channels, **depth(options), **parts)
    module.to(options.device).train()
    module.trainer = SimpleNamespace(
        max_epochs=EPOCHS, current_epoch=EPOCHS // 2, global_step=0, global_rank=0, is_last_batch=False, world_size=1
    )
    optimizers = module.configure_optimizers()[0]
    module.optimizers = lambda use_pl_optimizer=True: optimizers
    module.log = module.log_dict = lambda *_, **__: None
    return module


def make_step(module: SearchModule, which: str, precision: str) -> Step:
    """One half of a search step, as a function of a batch."""
    move = {"arch": module.arch_step, "weights": module.weight_step}[which]

    def step(images: Tensor, labels: Tensor) -> None:
        held = Batch(images, labels, torch.tensor(0))
        with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
            move({"weights": held, "arch": held})

    return step


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Times and memory of the steps of all methods, and their ratios to DARTS."""
    methods = [BASE, *(name for name in METHODS if name != BASE and (not options.only or name in options.only))]
    modules = {method: search(method, options) for method in methods}
    steps = {method: {w: make_step(modules[method], w, options.precision) for w in STEPS} for method in methods}
    small, whole = batch(options, 2), batch(options, options.batch)
    for method in methods:  # what happens only once
        for step in steps[method].values():
            step(*small)
    times: dict[str, dict[str, list[float]]] = {method: {which: [] for which in STEPS} for method in methods}
    for round_ in range(options.repeats):
        for method in methods:
            modules[method].trainer.global_step = round_  # another sample each time
            for which, step in steps[method].items():
                times[method][which].append(seconds(step, *whole))
    memory = {m: {w: elsewhere("--memory-of", m, w) for w in STEPS} for m in methods} if options.memory else {}
    return {
        "time_ratio": {method: time_ratios(times[method], times[BASE]) for method in methods},
        "memory_ratio": {method: memory_ratios(memory[method], memory[BASE]) for method in memory},
        "seconds_per_step": times,
        "peak_memory_bytes": memory,
        **provenance(options, "memory_of", "memory"),
    }


def time_ratios(times: dict[str, list[float]], base: dict[str, list[float]]) -> dict[str, float]:
    """Median over rounds of the ratio to DARTS, for each step by itself and both."""

    def ratio(one: list[float], other: list[float]) -> float:
        return statistics.median(a / b for a, b in zip(one, other, strict=True))

    both, both_of_base = ([sum(pair) for pair in zip(*t.values(), strict=True)] for t in (times, base))
    return {**{which: ratio(times[which], base[which]) for which in STEPS}, "whole": ratio(both, both_of_base)}


def memory_ratios(memory: dict[str, int], base: dict[str, int]) -> dict[str, float]:
    """Ratio of the peaks to DARTS, for each step by itself and for the larger one."""
    ratios = {which: memory[which] / base[which] for which in STEPS}
    return {**ratios, "whole": max(memory.values()) / max(base.values())}


def table(found: dict[str, Any]) -> str:
    """What was found, for people."""
    columns = [*STEPS, "whole"]
    lines = [
        f"{'':24}{'time, to DARTS':^27}{'memory, to DARTS':^27}",
        f"{'':24}" + 2 * "".join(f"{c:>9}" for c in columns),
    ]
    for method, ratios in found["time_ratio"].items():
        memory = found["memory_ratio"].get(method, {})
        cells = [ratios[c] for c in columns] + [memory.get(c, float("nan")) for c in columns]
        lines.append(f"{method:24}" + "".join(f"{value:9.2f}" for value in cells))
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    """The arguments of the command."""
    arguments = parser(__doc__, "all networks")
    arguments.add_argument("--only", nargs="+", choices=sorted(METHODS), help="methods beside DARTS; default: all")
    arguments.add_argument("--no-memory", dest="memory", action="store_false", help="measure time alone")
    arguments.add_argument("--memory-of", nargs=2, metavar=("METHOD", "STEP"), help=argparse.SUPPRESS)
    return arguments.parse_args()


def main() -> None:
    """Measure, print and write."""
    options = parse()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if options.memory_of:
        method, which = options.memory_of
        print(peak_memory(make_step(search(method, options), which, options.precision), options))
        return
    found = compare(options)
    print(table(found))
    write(found, options.json)


if __name__ == "__main__":
    main()
