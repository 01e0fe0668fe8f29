"""``robustnas tune``: tune the hyperparameters of an evaluation or a search, alone or with the genotype."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from robustnas.cli.errors import Parser
from robustnas.commands.engines import STOPPED, add_engine_options, engine_of, terminable
from robustnas.runs.run_lock import held
from robustnas.studies.progress import Progress
from robustnas.tuning.file import read_tuning

if TYPE_CHECKING:
    from robustnas.tuning.plan import Plan
    from robustnas.tuning.results import Tried

SHOWN = 10  # hyperparameters in the table of importances


def parser() -> Parser:
    """The options of ``robustnas tune``."""
    parser = Parser(
        prog="robustnas tune",
        description="Tune hyperparameters by Optuna on validation data: of the evaluation of what a search found, of "
        "a search, or jointly with the genotype. The test set is not touched. Finished trials are kept, so the same "
        "command resumes a tuning that was stopped.",
        epilog='needs the extra `tune`: pip install "robustnas[tune]"',
    )
    tuning = "YAML file of the tuning, or the name of one that comes with robustnas"
    parser.add_path("tuning", metavar="TUNING", help=tuning)
    run = "search, or genotype as text or file, whose evaluation is tuned (default: `run` in the file)"
    parser.add_argument("run", metavar="RUN", nargs="?", help=run)
    parser.add_path("--folder", help="folder of the tuning (default: runs/NAME)")
    parser.add_argument("--trials", type=int, metavar="N", help="number of trials, those that are finished included")
    storage = "database of the trials, as a URL of SQLAlchemy (default: trials.sqlite in the folder)"
    parser.add_argument("--storage", metavar="URL", help=storage)
    add_engine_options(parser)
    return parser


def main(arguments: list[str]) -> int:
    """Run the trials that are not finished, and say what was found; 1 if no trial is complete, 130 if stopped."""
    options = parser().parse_args(arguments[1:])
    tuning = read_tuning(options.tuning)
    if options.trials is not None:
        if options.trials < 1:
            raise ValueError(f"Expected `--trials` to be 1 or larger, but got {options.trials}.")
        tuning = replace(tuning, trials=options.trials)
    root = Path(options.folder or Path("runs", tuning.name))
    from robustnas.tuning.storage import begin, clear, default_storage, optuna_module

    optuna_module()
    engine = engine_of(options, root)
    print(f"Checking {tuning.name} ...", flush=True)
    from robustnas.tuning.plan import planned  # imports Lightning, after what is cheap to find wrong
    from robustnas.tuning.results import write_results
    from robustnas.tuning.running import Numbered, run_trials

    plan = planned(tuning, options.run)
    url = options.storage or default_storage(root)
    with held(root, "--folder"), terminable():
        study = begin(root, plan, url)
        todo = clear(study, tuning.trials)
        progress = Progress(root, [Numbered(k) for k in todo], tuning.trials - len(todo), engine.slots)
        try:
            with progress.shown():
                failures = run_trials(root, plan, url, todo, engine, progress)
        except KeyboardInterrupt:
            print(f"Stopped. The same command resumes the tuning; finished trials are in {root}.")
            return STOPPED
        trials, shares = write_results(root, study, plan)
    print_results(root, plan, trials, shares)
    for folder, reason in failures.items():
        print(f"{folder} failed: {reason} See its log.txt.")
    return 0 if any(one.state == "complete" for one in trials) else 1


def print_results(root: Path, plan: Plan, trials: Sequence[Tried], shares: Mapping[str, float]) -> None:
    """Print the best trial beside the configuration that is not tuned, importances, and what to run next."""
    from robustnas.tuning.results import BEST, HISTORY, TABLE, best_of

    counts = Counter(one.state for one in trials)
    print(f"{len(trials)} trials: {', '.join(f'{count} {state}' for state, count in counts.items())}.")
    if (best := best_of(trials, plan)) is None:
        print("No trial is complete, so there is no best configuration.")
        return
    untuned = next((one for one in trials if one.untuned and one.metric is not None), None)
    table = Table(title=f"{plan.metric} on validation", title_justify="left")
    for name in ("", f"trial {best.number}, the best", *(["untuned"] if untuned else [])):
        table.add_column(name, overflow="fold")
    for name, value in {plan.metric: best.metric, **best.values}.items():
        before = [] if untuned is None else [untuned.metric if name == plan.metric else untuned.values.get(name)]
        table.add_row(name, *(f"{one:.6g}" if isinstance(one, float) else str(one) for one in (value, *before)))
    Console().print(table)
    if plan.defaults is None:
        print("The configuration that is not tuned lies outside the space, so it is no trial.")
    complete = counts["complete"]
    print(f"The best of {complete} is measured on the data that chose it, so it looks better than it is.")
    if shares:
        table = Table(title=f"Importance, fANOVA over {complete} complete trials", title_justify="left")
        table.add_column("hyperparameter", overflow="fold")
        table.add_column("share of the variance", justify="right")
        for name, share in list(shares.items())[:SHOWN]:
            table.add_row(name, f"{share:.2f}")
        Console().print(table)
    print(f"Trials: {root / TABLE}, {root / HISTORY}")
    print(f"Best configuration: {root / BEST}. To train with it, and test once:")
    print(*commands(root, plan), sep="\n")


def commands(root: Path, plan: Plan) -> list[str]:
    """The commands that train with the best configuration, and test once."""
    from robustnas.tuning.results import BEST

    run = root / "best"
    train = ["robustnas", "fit", "-c", str(root / BEST), "--run-dir", str(run)]
    test = ["robustnas", "test", "-c", str(run / "config.yaml"), "--ckpt_path", str(run / "last.ckpt")]
    last = test if plan.command == "evaluate" else ["robustnas", "evaluate", str(run)]
    return [shlex.join(train), shlex.join(last)]
