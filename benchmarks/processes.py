"""What processes that search together spend on talking: averages of gradients, comparisons of numbers, signals.

Two processes with a thread (or a GPU) each take steps of one search, α and weights, optimisers and clipping included.
Before each collective they wait for each other, and that time is left out of both sides of the share: it is what one
process was slower by, not what talking costs. After every step they agree on whether a signal asks the run to end. α is
compared after every step here; a search does so every 50 steps, and compares all it holds once an epoch, whose time is
given by itself. Processor time counts that of all threads of a
process; wall time is what a user waits for. The larger of both processes counts. On a GPU there is wall time alone.

Example:
    python benchmarks/processes.py --json benchmarks/results/processes_cpu.json
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist
from measure import batch, parser, provenance, write
from methods import METHODS, make_step, search
from torch import multiprocessing

from robustnas.training import module as base
from robustnas.training import processes, replica_check
from robustnas.training import search as searching
from robustnas.training.lightning.interruption import Interruption

Seconds = dict[str, list[float]]
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "processor": time.process_time}


class Meter:
    """Seconds of what is called through it, by clock and label; waiting for the other process apart."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.spent: dict[str, dict[str, float]] = {clock: defaultdict(float) for clock in CLOCKS}

    def now(self) -> dict[str, float]:
        """All clocks, after the work that was asked for is done."""
        if torch.device(self.device).type == "cuda":
            torch.cuda.synchronize()
        return {name: clock() for name, clock in CLOCKS.items()}

    def call(self, label: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function, and wait before it."""
        start = self.now()
        dist.barrier()
        met = self.now()
        result = function(*arguments)
        end = self.now()
        for clock in CLOCKS:
            self.spent[clock]["waiting"] += met[clock] - start[clock]
            self.spent[clock][label] += end[clock] - met[clock]
        return result


def work(rank: int, folder: str, method: str, options: argparse.Namespace) -> None:
    """Steps of one process; leaves its seconds in the folder."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(options.threads)
    torch.manual_seed(rank)
    cuda = torch.device(options.device).type == "cuda"
    options.device = f"cuda:{rank}" if cuda else "cpu"
    if cuda:
        torch.cuda.set_device(rank)
    dist.init_process_group("nccl" if cuda else "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    module: Any = search(method, options)
    module.trainer.global_rank, module.trainer.world_size = rank, 2
    module.trainer.optimizers = module.optimizers()
    module.trainer.strategy = SimpleNamespace(root_device=torch.device(options.device))
    halves = [make_step(module, which, options.precision) for which in ("arch", "weights")]
    images, labels = batch(options, options.batch)
    for half in halves:  # what happens only once
        half(images, labels)
    rows, interruption = [], Interruption()
    for step in range(options.repeats):
        module.trainer.global_step = step
        meter = Meter(options.device)
        measured = partial(meter.call, "averages", processes.average)
        searching.average = base.average = measured  # type: ignore[assignment]
        start = meter.now()
        for half in halves:
            half(images, labels)
        found = meter.call("comparison of α", replica_check.differences, replica_check.architecture(module))
        meter.call("signals", interruption.agreed, module.trainer)
        end = meter.now()
        waited = {clock: meter.spent[clock]["waiting"] for clock in CLOCKS}
        meter.call(
            "comparison of all",
            replica_check.differences,
            replica_check.search_state(module, module.architecture.active_mask),
        )
        assert found == []
        rows.append({c: {**meter.spent[c], "step": end[c] - start[c], "waiting": waited[c]} for c in CLOCKS})
    torch.save(rows, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def share(row: dict[str, float]) -> float:
    """Share of a step, without waiting, that averages, the comparison of α and signals take."""
    own = row["step"] - row["waiting"]
    return (row["averages"] + row["comparison of α"] + row["signals"]) / own


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Shares and seconds of each method."""
    clocks = ["wall"] if torch.device(options.device).type == "cuda" else list(CLOCKS)
    found: dict[str, Any] = {}
    for method in options.only:
        with tempfile.TemporaryDirectory() as folder:
            multiprocessing.spawn(work, (folder, method, options), nprocs=2)
            ranks = [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(2)]
        found[method] = {clock: summary([[row[clock] for row in rows] for rows in ranks]) for clock in clocks}
    return {"methods": found, **provenance(options)}


def summary(ranks: list[list[dict[str, float]]]) -> dict[str, Any]:
    """Median share of the process with the larger one, the largest of any step, and median milliseconds."""
    slower = max(ranks, key=lambda rows: statistics.median(map(share, rows)))
    names = ("step", "waiting", "averages", "comparison of α", "signals", "comparison of all")
    return {
        "median_share": statistics.median(map(share, slower)),
        "largest_share": max(share(row) for rows in ranks for row in rows),
        "milliseconds": {name: 1e3 * statistics.median(row[name] for row in slower) for name in names},
        "rows": ranks,
    }


def table(found: dict[str, Any]) -> str:
    """What was found, for people."""
    lines = [
        f"{'':22}{'clock':>10}{'share':>8}{'largest':>9}{'step':>9}{'averages':>10}{'α':>8}{'signals':>9}{'all':>8}  ms"
    ]
    for method, clocks in found["methods"].items():
        for clock, of in clocks.items():
            ms = of["milliseconds"]
            own = [ms["step"] - ms["waiting"], ms["averages"], ms["comparison of α"], ms["signals"]]
            lines.append(
                f"{method:22}{clock:>10}{of['median_share']:8.2%}{of['largest_share']:9.2%}"
                f"{own[0]:9.0f}{own[1]:10.1f}{own[2]:8.2f}{own[3]:9.2f}{ms['comparison of all']:8.1f}"
            )
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    """The arguments of the command."""
    arguments = parser(__doc__, "the search")
    arguments.add_argument("--only", nargs="+", choices=sorted(METHODS), default=["DARTS", "GDAS"], help="methods")
    return arguments.parse_args()


def main() -> None:
    """Measure, print and write."""
    options = parse()
    found = compare(options)
    print(table(found))
    write(found, options.json)


if __name__ == "__main__":
    main()
