"""``robustnas ablate``: run a study, every cell of it an ordinary run, and say what came of it."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import signal
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.table import Table

from robustnas.cli.errors import Parser, path_option
from robustnas.runs.run_lock import held
from robustnas.studies.engine import Engine
from robustnas.studies.estimate import Estimate, estimate
from robustnas.studies.grid import Cell, cells_of, chosen
from robustnas.studies.pool import pool_of
from robustnas.studies.progress import Progress, duration
from robustnas.studies.results import Record, read_failures, read_results, write_plan
from robustnas.studies.running import run_cells, unfinished
from robustnas.studies.study import read_study

ENGINES = ("local", "ray")
ONLY = {"local": ("runs_per_gpu",), "ray": ("address", "cpus_per_cell", "gpus_per_cell")}  # options of one engine
STOPPED = 130  # what shells expect of a command that Ctrl-C ended


def parser() -> Parser:
    """The options of ``robustnas ablate``."""
    parser = Parser(
        prog="robustnas ablate",
        description="Run a study: a grid of variants, spaces, data, overrides and seeds. Finished cells are skipped, "
        "so that the same command goes on with a study that was stopped.",
    )
    parser.add_argument(
        "study",
        metavar="STUDY",
        type=path_option("STUDY"),
        help="YAML file of the study, or the name of one of robustnas",
    )
    parser.add_argument(
        "--folder", type=path_option("--folder"), help="folder of the study (default: its name, in runs/)"
    )
    parser.add_argument("--engine", choices=ENGINES, default="local", help="where cells run (default: local)")
    parser.add_argument("--workers", type=int, help="cells at a time (default: one a core, or as GPUs hold)")
    parser.add_argument("--threads", type=int, help="threads of a worker (default: 1, or a share of the cores)")
    parser.add_argument("--runs-per-gpu", type=int, help="cells that share a GPU (default: 1)")
    on_ray = parser.add_argument_group("with --engine ray")
    on_ray.add_argument(
        "--address", help="of the cluster; auto: one that runs here (default: $RAY_ADDRESS, or start one)"
    )
    on_ray.add_argument(
        "--gpus-per-cell", type=float, metavar="N", help="1, or 0.25 of one (default: 1, if there are any)"
    )
    on_ray.add_argument("--cpus-per-cell", type=float, metavar="N", help="(default: --threads, or a share of the node)")
    parser.add_argument("--only", nargs="+", default=[], metavar="CELL", help="cells to run, such as DARTS/*/seed-0")
    parser.add_argument("--dry-run", action="store_true", help="print the cells, and time and memory by three steps")
    parser.add_argument("--force", action="store_true", help="run cells of another version or configuration again")
    return parser


def main(arguments: list[str]) -> int:
    """Run the cells of a study that are not finished, and print a table of all that are.

    Args:
        arguments: ``ablate`` and its options.

    Returns:
        0, or 1 if a cell failed, or 130 if it was stopped.

    Raises:
        ValueError: If the study or an option is wrong, or its folder holds something else.
    """
    options = parser().parse_args(arguments[1:])
    study = read_study(options.study)
    cells = chosen(every := cells_of(study), options.only)
    root = Path(options.folder or Path("runs", study.name))
    engine = engine_of(options, root)
    print(f"Checking {len(cells)} cells ...", flush=True)
    from robustnas.studies.configuration import configured  # imports Lightning, after what is cheap to find wrong

    marked = {cell.key: cell for cell in configured(every)}
    if options.dry_run:
        cells = [marked[cell.key] for cell in cells]
        found = estimate(cells, engine)
        _print_estimate(cells, unfinished(root, cells, keep=True), found)
        return 1 if found.failed else 0
    with held(root, "--folder"), _terminable():
        todo = unfinished(root, [marked[cell.key] for cell in cells], options.force)
        write_plan(root, study.name, marked.values(), study.published)
        progress = Progress(root, todo, len(cells) - len(todo), engine.slots)
        try:
            with progress.shown():
                failed = run_cells(root, todo, engine, progress)
        except KeyboardInterrupt:
            print(f"Stopped. The same command goes on; what is finished is in {root}.")
            return STOPPED
        print_results(read_results(root), read_failures(root), len(every))
        from robustnas.reports.study import write_report  # imports scipy

        print(f"Report: {write_report(root)}")
    return 1 if failed else 0


def engine_of(options: argparse.Namespace, root: Path) -> Engine:
    """Where the cells run.

    Args:
        options: Options of the command.
        root: Folder of the study.

    Returns:
        The engine.

    Raises:
        ValueError: If an option is wrong, or of the other engine.
    """
    for engine, names in ONLY.items():
        for name in names:
            if engine != options.engine and getattr(options, name) is not None:
                option = f"--{name.replace('_', '-')}"
                raise ValueError(f"Expected `{option}` with `--engine {engine}`, but got --engine {options.engine}.")
    if options.engine == "local":
        return pool_of(_gpus(), options.workers, options.threads, options.runs_per_gpu or 1)
    from robustnas.studies.ray_engine import ray_engine_of

    given = options.address, options.workers, options.cpus_per_cell, options.gpus_per_cell, options.threads
    return ray_engine_of(*given, shared=None if options.dry_run else root)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _gpus() -> tuple[str, ...]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return tuple(name.strip() for name in visible.split(",") if name.strip() not in ("", "-1"))
    import torch

    return tuple(map(str, range(torch.cuda.device_count())))


def _print_estimate(cells: Sequence[Cell], todo: Sequence[Cell], found: Estimate) -> None:
    left = {cell.key for cell in todo}
    table = Table(title=f"{len(cells)} cells, {len(cells) - len(left)} finished", title_justify="left")
    table.add_column("cell", overflow="fold")
    table.add_column("state")
    table.add_column("estimate", justify="right")
    for cell in cells:
        seconds = found.seconds[cell.key]
        state = "fails" if cell.group in found.failed else "to run" if cell.key in left else "finished"
        table.add_row(cell.key, state, "" if math.isnan(seconds) else duration(seconds))
    Console().print(table)
    for group, reason in found.failed.items():
        print(f"{group}: {reason}")
    sizes = [f"{size / 2**30:.1f} GiB{on}" for size, on in zip(found.memory, ("", " of its GPU"), strict=True) if size]
    print(f"To run: {len(left)} cells, {found.slots} at a time: about {duration(found.total(left))}", end="")
    print(f", with {' and '.join(sizes)} a worker" if sizes else "", end=".\n")
    print("By three steps of each configuration; diagnostics, checkpoints and the start of a run come on top.")


def print_results(records: Iterable[Record], failures: dict[str, str], planned: int) -> None:
    """Print a row for each group of cells that differ only in their seeds.

    Args:
        records: The finished cells.
        failures: Folder of a failed cell to the reason.
        planned: How many cells the study has.
    """
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.group, []).append(record)
    metrics = {one.held["score"]["name"] for group in groups.values() for one in group if one.held["score"]}
    metric = metrics.pop() if len(metrics) == 1 else "score"
    finished = sum(map(len, groups.values()))
    table = Table(title=f"{finished} of {planned} cells", title_justify="left")
    table.add_column("cell", overflow="fold")
    for name in (metric, "n", "verdicts", "parameters", "seconds"):
        table.add_column(name, justify="left" if name == "verdicts" else "right")
    for name, group in groups.items():
        scores = [record.score for record in group if record.score is not None]
        verdicts = Counter(str(record.held["verdict"]["state"]) for record in group if record.held["verdict"])
        sizes = [record.held["parameters"] for record in group if record.held["parameters"]]
        seconds = statistics.fmean(sum(record.held["seconds"].values()) for record in group)
        said = ", ".join(f"{count} {state}" for state, count in verdicts.items())
        size = f"{statistics.fmean(sizes):,.0f}" if sizes else ""
        table.add_row(name, _spread(scores), str(len(scores)), said, size, f"{seconds:.0f}")
    Console().print(table)
    for folder, reason in failures.items():
        print(f"{folder} failed: {reason} Its log.txt says more.")


def _spread(scores: Sequence[float]) -> str:
    """Mean and standard deviation over seeds; one seed has no spread."""
    if not scores:
        return ""
    mean = f"{statistics.fmean(scores):.4f}"
    return f"{mean} ± {statistics.stdev(scores):.4f}" if len(scores) > 1 else mean
