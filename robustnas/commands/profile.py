"""``robustnas profile``: measure the cost of each operation of a search; ``ExpectedCost`` reads the table."""

from __future__ import annotations

from random import Random

import torch
from rich.console import Console
from rich.table import Table

from robustnas.cli import lightning_cli
from robustnas.cli.errors import Parser
from robustnas.cost import UNITS, CostTable, Measure, Profiler
from robustnas.plotting.cell_layout import label_of
from robustnas.runs.record import environment, write_json
from robustnas.runtime.environment import MAX_THREADS
from robustnas.spaces import SearchSpace, random_genotype
from robustnas.training import SearchModule

SIZES = ("channels", "layers", "cells", "num_classes", "stem")
# A batch that no device can hold; repeats beyond which the median does not change; more cores than machines have.
LIMITS = {"batch": 2**16, "repeats": 10_000, "threads": MAX_THREADS}
MAX_CHECKED = 1_000


def parser() -> Parser:
    """The options of ``robustnas profile``."""
    parser = Parser(
        prog="robustnas profile",
        description="Count parameters, multiply-adds and memory access and measure the latency of every operation of "
        "a search, with the network size of its configuration and the image size of its data.",
        epilog="Further options are those of `robustnas fit`, such as --model.channels 36.",
    )
    parser.add_argument("-c", "--config", required=True, action="append", help="YAML of the search; later ones win")
    parser.add_argument("--measure", nargs="+", default=list(UNITS), help=f"what to measure: {', '.join(UNITS)}")
    parser.add_argument("--batch", type=int, default=64, help="batch size for latency (default: 64)")
    parser.add_argument("--device", help="device for latency (default: cuda if available, else cpu)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument(
        "--repeats", type=int, default=15, help="timed runs of an operation; the median is reported (default: 15)"
    )
    parser.add_argument(
        "--check",
        type=int,
        default=0,
        metavar="N",
        help="compare the latency that the table predicts with that of N whole random networks (default: 0)",
    )
    parser.add_path("--out", default="costs.json", metavar="FILE", help="file of the table (default: costs.json)")
    return parser


def main(arguments: list[str]) -> None:
    """Measure a cost table, write it and print it."""
    options, rest = parser().parse_known_args(arguments[1:])
    for name, maximum in LIMITS.items():
        if not 1 <= (given := getattr(options, name)) <= maximum:
            raise ValueError(f"Expected `--{name}` to be from 1 to {maximum:,}, but got {given:,}.")
    if not 0 <= options.check <= MAX_CHECKED:
        raise ValueError(f"Expected `--check` to be from 0 to {MAX_CHECKED:,}, but got {options.check:,}.")
    if options.check and "latency" not in options.measure:
        raise ValueError(f"Expected `latency` to be among `--measure` with `--check`, but got {options.measure}.")
    device = _device(options.device)
    files = [word for file in options.config for word in ("-c", file)]
    described = lightning_cli.main(["fit", *files, *rest], stop_after="instantiation")
    search = described.model
    if not isinstance(search, SearchModule):
        raise ValueError(f"Expected `model` to be a search, but got {type(search).__name__}.")
    given = search.description["init_args"]
    profiler = Profiler(
        search.space, tuple(described.datamodule.image_shape), **{name: given[name] for name in SIZES},
        batch=options.batch, device=device, repeats=options.repeats,
    )  # fmt: skip
    threads = torch.get_num_threads()
    torch.set_num_threads(options.threads)  # on busy cores, waiting threads distort the times
    try:
        table = profiler.table(options.measure)
        pairs = _checked(profiler, table, search.space, options.check)
    finally:
        torch.set_num_threads(threads)
    where = {name: value for name, value in environment().items() if name in ("versions", "platform", "cpu", "gpus")}
    write_json(options.out, {**table.to_json(), "device": device, **where})
    for measure in dict.fromkeys(options.measure):
        _print(table, search.space, measure)
    for predicted, measured in pairs:
        away = f"{predicted / measured - 1:+.1%}"
        print(f"Whole network: {predicted:.3f} ms predicted, {measured:.3f} ms measured ({away}).")
    print(f"Table: {options.out}")


def _checked(profiler: Profiler, table: CostTable, space: SearchSpace, count: int) -> list[tuple[float, float]]:
    """Latency by the table, and measured, of the networks of random genotypes."""
    drawn = [random_genotype(space, Random(seed)) for seed in range(count)]
    return [(table.cost(genotype, "latency", space), profiler.latency(genotype)) for genotype in drawn]


def _device(name: str | None) -> str:
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # a torch without CUDA asserts
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"Expected `--device` to be one that torch can use, but got {name!r}: {reason}") from error
    return name


def _print(table: CostTable, space: SearchSpace, measure: Measure) -> None:
    console = Console()
    console.print(f"\n{measure}, in {UNITS[measure]}", style="bold")
    for kind, cell in space.cells.items():
        names = list(dict.fromkeys(name for edge in cell.edges for name in edge.operations))
        shown = Table(title=kind, title_justify="left")
        shown.add_column("edge")
        for name in names:
            shown.add_column(label_of(name), justify="right")
        for edge, row in zip(cell.edges, table.kinds[kind][measure], strict=True):
            costs = dict(zip(edge.operations, row, strict=True))
            shown.add_row(edge.name, *(_figure(costs[name]) if name in costs else "" for name in names))
        console.print(shown)
    rest = table.rest[measure]
    mean = sum(sum(row) / len(row) for costs in table.kinds.values() for row in costs[measure])
    print(f"Rest of the network: {_figure(rest)}. Expected cost at uniform weights: {_figure(mean + rest)}.")


def _figure(cost: float) -> str:
    return f"{cost:,}" if isinstance(cost, int) else f"{cost:,.3f}"
