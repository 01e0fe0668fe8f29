"""``robustnas ablate``: run the trials of a study, print their results and write its report."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from robustnas.cli.errors import Parser
from robustnas.commands.engines import STOPPED, add_engine_options, engine_of, terminable
from robustnas.planning.durations import duration
from robustnas.runs.run_lock import held
from robustnas.studies.estimate import Estimate, estimate
from robustnas.studies.grid import select_trials, trials_of
from robustnas.studies.progress import Progress
from robustnas.studies.results import Record, best_setting, read_failures, read_results, write_plan
from robustnas.studies.running import run_trials, unfinished
from robustnas.studies.study import read_study
from robustnas.studies.trial import Trial

if TYPE_CHECKING:
    from robustnas.reports.study.study_data import Score


def parser() -> Parser:
    """The options of ``robustnas ablate``."""
    parser = Parser(
        prog="robustnas ablate",
        description="Run a study: a grid of variants, search spaces, data, factors and seeds. Finished trials are "
        "skipped, so the same command resumes a study that was stopped.",
    )
    study = "YAML file of the study, or the name of one that comes with robustnas"
    parser.add_path("study", metavar="STUDY", help=study)
    parser.add_path("--folder", help="folder of the study (default: runs/NAME)")
    add_engine_options(parser)
    parser.add_argument("--only", nargs="+", default=[], metavar="TRIAL", help="trials to run, such as DARTS/*/seed-0")
    dry_run = "print the trials, with time and memory estimated from the first steps of each configuration"
    parser.add_argument("--dry-run", action="store_true", help=dry_run)
    parser.add_argument("--force", action="store_true", help="run trials of another version or configuration again")
    return parser


def main(arguments: list[str]) -> int:
    """Run the trials that are not finished, and print a table of all that are; 1 if one failed, 130 if stopped."""
    options = parser().parse_args(arguments[1:])
    study = read_study(options.study)
    trials = select_trials(every := trials_of(study), options.only)
    root = Path(options.folder or Path("runs", study.name))
    engine = engine_of(options, None if options.dry_run else root)
    print(f"Checking {len(trials)} trials ...", flush=True)
    from robustnas.studies.configuration import configured  # imports Lightning, after what is cheap to find wrong

    known = {trial.key: trial for trial in configured(every)}
    trials = [known[trial.key] for trial in trials]
    if options.dry_run:
        found = estimate(trials, engine)
        _print_estimate(trials, unfinished(root, trials, keep=True), found)
        return 1 if found.failed else 0
    with held(root, "--folder"), terminable():
        todo = unfinished(root, trials, options.force)
        write_plan(root, study.name, known.values(), study.published)
        progress = Progress(root, todo, len(trials) - len(todo), engine.slots)
        try:
            with progress.shown():
                failed = run_trials(root, todo, engine, progress, planned=list(known.values()))
        except KeyboardInterrupt:
            print(f"Stopped. The same command resumes the study; finished trials are in {root}.")
            return STOPPED
        print_results(read_results(root), read_failures(root), len(every))
        from robustnas.reports.study import write_report  # imports scipy

        print(f"Report: {write_report(root)}")
    return 1 if failed else 0


def _print_estimate(trials: Sequence[Trial], todo: Sequence[Trial], found: Estimate) -> None:
    left = {trial.key for trial in todo}
    table = Table(title=f"{len(trials)} trials, {len(trials) - len(left)} finished", title_justify="left")
    table.add_column("trial", overflow="fold")
    table.add_column("state")
    table.add_column("estimate", justify="right")
    for trial in trials:
        seconds = found.seconds[trial.key]
        state = "fails" if trial.group in found.failed else "to run" if trial.key in left else "finished"
        table.add_row(trial.key, state, "" if math.isnan(seconds) else duration(seconds))
    Console().print(table)
    for group, reason in found.failed.items():
        print(f"{group}: {reason}")
    sizes = [f"{size / 2**30:.1f} GiB{on}" for size, on in zip(found.memory, ("", " of its GPU"), strict=True) if size]
    print(f"To run: {len(left)} trials, {found.slots} at a time: about {duration(found.total(left))}", end="")
    print(f", with {' and '.join(sizes)} a worker" if sizes else "", end=".\n")
    print("Estimated from the first steps of each configuration.")


def print_results(records: Iterable[Record], failures: dict[str, str], planned: int) -> None:
    """Print a row for each group of trials that differ only in their seeds, and the failures."""
    from robustnas.reports.study.study_data import Score  # imports scipy

    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.group, []).append(record)
    metrics = {one.held["score"]["name"] for group in groups.values() for one in group if one.held["score"]}
    metric = Score(metrics.pop() if len(metrics) == 1 else "score")
    finished = sum(map(len, groups.values()))
    table = Table(title=f"{finished} of {planned} trials", title_justify="left")
    table.add_column("trial", overflow="fold")
    best = {name: best_setting(group) for name, group in groups.items()}
    shown = ["best setting"] if any(best.values()) else []
    sized = ["parameters"] if any(record.held["parameters"] for group in groups.values() for record in group) else []
    for name in (metric.said, "95 % interval", *shown, "n", "verdicts", *sized, "seconds"):
        table.add_column(
            name, justify="left" if name == "verdicts" else "right", no_wrap=name in shown, overflow="fold"
        )
    for name, group in groups.items():
        scores = [record.score for record in group if record.score is not None]
        verdicts = Counter(str(record.held["verdict"]["state"]) for record in group if record.held["verdict"])
        sizes = [record.held["parameters"] for record in group if record.held["parameters"]]
        seconds = statistics.fmean(sum(record.held["seconds"].values()) for record in group)
        said = ", ".join(f"{count} {state}" for state, count in verdicts.items())
        size = [f"{statistics.fmean(sizes):,.0f}" if sizes else ""] if sized else []
        under = [f"{metric.shown(one['value'])} (of {one['of']})" if (one := best[name]) else ""] if shown else []
        table.add_row(name, *_mean(scores, metric), *under, str(len(scores)), said, *size, f"{seconds:.0f}")
    Console().print(table)
    for folder, reason in failures.items():
        print(f"{folder} failed: {reason} See its log.txt.")


def _mean(scores: Sequence[float], metric: Score) -> tuple[str, str]:
    """Mean over seeds and its 95 % interval; one seed has none."""
    from robustnas.statistics import mean_interval  # imports scipy

    if not scores:
        return "", ""
    mean = metric.shown(statistics.fmean(scores))
    if len(scores) == 1:
        return mean, ""
    inside = metric.possible(mean_interval(scores))
    return mean, f"{metric.shown(inside.low)} to {metric.shown(inside.high)}"
