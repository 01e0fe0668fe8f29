"""``robustnas quickstart``: DARTS and a robust method on one task, side by side, in minutes."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from rich.table import Table

from robustnas.analysis import metrics
from robustnas.analysis.history import part
from robustnas.cli import lightning_cli
from robustnas.cli.configuration import Result, data_of, train_and_test
from robustnas.cli.errors import Parser
from robustnas.data import ClutteredDigits
from robustnas.plotting.cells import render
from robustnas.plotting.curves import curves_figure
from robustnas.reports import SearchData, headline_charts, report
from robustnas.runs.record import Run, read_genotype, write_bytes, write_text
from robustnas.runs.run_lock import holds_run, new_folder
from robustnas.runtime.launch import resume_command


class Method(NamedTuple):
    """One of the searches: its name, its folder, and the options it adds to the configuration ``collapse``."""

    name: str
    folder: str
    options: Sequence[str] = ()


METHODS = (
    Method("DARTS", "darts"),
    Method("SmoothDARTS", "smooth_darts", ("--model=SmoothDARTS", "--model.init_args.perturbation=RandomPerturbation")),
)
CHARTS = (
    metrics.TRUE_ACCURACY, metrics.SKIP_SHARE, metrics.CURVATURE, metrics.SKIP_CONNECT_SHARE, metrics.ENTROPY,
    metrics.GAP,
)  # fmt: skip


def parser() -> Parser:
    """The options of ``robustnas quickstart``."""
    parser = Parser(
        prog="robustnas quickstart",
        description="Search with DARTS and with SmoothDARTS on small images of digits, at a setting where DARTS "
        "collapses, train both networks that were found, and compare. Takes about three minutes on two cores.",
    )
    parser.add_path("--run-dir", help="folder of the results (default: a new one under runs/)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    return parser


def main(arguments: list[str]) -> None:
    """Search with DARTS and with a robust method; train both results, compare, and write a report."""
    options = parser().parse_args(arguments[1:])
    root = Path(options.run_dir) if options.run_dir else new_folder("quickstart")
    if root.is_dir() and (holds_run(root) or any(_is_other(root / method.folder) for method in METHODS)):
        raise ValueError(f"Expected `--run-dir` to be new or the folder of a quickstart, but {root} holds another run.")
    threads = torch.get_num_threads()
    # Images of 12 x 12 gain nothing from threads, and on busy cores waiting threads take 70 times longer.
    torch.set_num_threads(1)
    try:
        again = resume_command(["quickstart"], "--run-dir", str(root), "--seed", str(options.seed))
        _compare(root, ["--seed_everything", str(options.seed), "--ckpt_path", "auto"], again)
    finally:
        torch.set_num_threads(threads)


def _compare(root: Path, seed: list[str], again: str) -> None:
    for method in METHODS:
        print(f"Searching for an architecture with {method.name} ...")
        words = ["-c", _config("collapse"), *method.options, "--run-dir", str(root / method.folder)]
        lightning_cli.main(["fit", *words, *seed], again=again)
        print(f"Found: {read_genotype(str(root / method.folder))}\n")
    trained = []
    for method in METHODS:
        print(f"Training the network that {method.name} found from scratch ...")
        chosen = ["--model.init_args.architecture.init_args.genotype", str(root / method.folder)]
        data = ["--data", json.dumps(data_of(root / method.folder)), *seed]
        words = ["-c", _config("quickstart_evaluation"), *chosen, *data]
        evaluation = str(root / method.folder / "evaluation")
        trained.append(train_and_test(method.name, [*words, "--run-dir", evaluation], again))
    folders = [root / method.folder for method in METHODS]
    searches = [SearchData.read(folder) for folder in folders]
    _print(searches, trained)
    charts = headline_charts(searches, [method.name for method in METHODS], [(chart.name,) for chart in CHARTS])
    write_bytes(root / "curves.png", render(curves_figure([chart for chart in charts if chart.measured]), "png", 120))
    write_text(root / "report.html", report(folders))
    where = shlex.quote(str(root))
    print(f"Report: {root / 'report.html'}   Curves: {root / 'curves.png'}\n\nNext:")
    print(f"  robustnas diagnose {where}/{METHODS[0].folder}")
    print(f"  robustnas select {where}/{METHODS[0].folder} --compare")
    print(f"  tensorboard --logdir {where}")


def _is_other(folder: Path) -> bool:
    """Whether a folder holds a run on other data than those of the quickstart."""
    if not (folder / "manifest.json").exists():
        return False
    return not str(part(Run(folder).manifest, "data", "source")).startswith(ClutteredDigits.__name__)


def _config(name: str) -> str:
    return str(files("robustnas.configs") / f"{name}.yaml")


def _print(searches: Sequence[SearchData], trained: Sequence[Result]) -> None:
    table = Table(title="Same data, supernet, seed and epochs (first → last)", title_justify="left")
    columns = [_shown(search, result) for search, result in zip(searches, trained, strict=True)]
    for title in ("", *(result.name for result in trained)):
        table.add_column(title, justify="right" if title else "left")
    for row in columns[0]:
        table.add_row(row, *(column[row] for column in columns))
    print()
    Console().print(table)
    for search, result in zip(searches, trained, strict=True):
        print(f"{result.name}: {search.verdict.line}.")
    print("True accuracy: that of the cell trained by itself, from a table that no search sees.\n")


def _shown(search: SearchData, result: Result) -> dict[str, str]:
    """What the table says of a search, by row."""
    verdict, truth = search.verdict, search.found.get(metrics.TRUE_ACCURACY.name, {})
    best = max(truth, key=lambda epoch: (truth[epoch], epoch), default=None)
    curvature, share = (search.found.get(one.name, {}) for one in (metrics.CURVATURE, metrics.SKIP_CONNECT_SHARE))
    return {
        "verdict": verdict.state if verdict.since is None else f"{verdict.state} since epoch {verdict.since}",
        "curvature in α": _ends(curvature),
        "share of skips in α": _ends(share),
        "skips of the result": _skips(search),
        "supernet": search.last(metrics.VAL_TOP1.name) or "",
        "discretised supernet": search.last(metrics.DISCRETE_ACCURACY.name) or "",
        "result, trained here": metrics.TEST_TOP1.show(result.metrics[metrics.TEST_TOP1.name]),
        "best cell on the way": "" if best is None else f"{metrics.TRUE_ACCURACY.show(truth[best])} (epoch {best})",
        "true accuracy": search.true_accuracy or "",
        "rank": search.rank or "",
    }


def _ends(values: Mapping[int, float]) -> str:
    if not values:
        return ""
    return f"{values[min(values)]:.2f} → {values[max(values)]:.2f}"


def _skips(search: SearchData) -> str:
    genotype = search.history.final or search.history.genotypes[search.span[1]]
    kept = sum(len(choices) for choices in genotype.cells.values())
    return f"{sum(genotype.count('skip_connect').values())} of {kept}"
