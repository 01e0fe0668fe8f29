"""``robustnas tune``: tune the hyperparameters of an evaluation or a search, alone or with the genotype."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from robustnas.cli.errors import Parser
from robustnas.commands.engines import STOPPED, add_engine_options, engine_of, terminable
from robustnas.planning.durations import counted
from robustnas.runs.run_lock import held
from robustnas.studies.progress import Progress
from robustnas.tuning.file import read_tuning

if TYPE_CHECKING:
    from robustnas.studies.engine import Engine
    from robustnas.tuning.confirming import Confirmed
    from robustnas.tuning.plan import Plan
    from robustnas.tuning.results import Tried


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
    from robustnas.tuning.storage import begin, clear, default_storage, open_storage, optuna_module

    optuna_module()
    engine = engine_of(options, root)
    print(f"Checking {tuning.name} ...", flush=True)
    from robustnas.tuning.confirming import write_best
    from robustnas.tuning.plan import planned  # imports Lightning, after what is cheap to find wrong
    from robustnas.tuning.results import write_results
    from robustnas.tuning.summary import print_chosen, print_trials

    plan = planned(tuning, options.run)
    if options.storage:
        open_storage(options.storage)  # a wrong one is refused before there is a folder
    url = options.storage or default_storage(root)
    with held(root, "--folder"), terminable():
        study = begin(root, plan, url)
        try:
            failures = _run_trials(root, plan, url, clear(study, tuning.trials), tuning.trials, engine)
            trials, shares = write_results(root, study, plan)
            confirmed, failed = _run_again(root, plan, trials, engine)
        except KeyboardInterrupt:
            print(f"Stopped. The same command resumes the tuning; finished trials are in {root}.")
            return STOPPED
    print_trials(root, plan, trials, shares)
    print_chosen(root, plan, trials, confirmed, write_best(root, plan, trials, confirmed))
    for folder, reason in {**failures, **failed}.items():
        print(f"{folder} failed: {reason} See its log.txt.")
    return 0 if any(one.state == "complete" for one in trials) else 1


def _run_trials(root: Path, plan: Plan, url: str, todo: list[int], total: int, engine: Engine) -> dict[str, str]:
    from robustnas.tuning.running import Numbered, run_trials

    progress = Progress(root, [Numbered(k) for k in todo], total - len(todo), engine.slots)
    with progress.shown():
        return run_trials(root, plan, url, todo, engine, progress)


def _run_again(
    root: Path, plan: Plan, trials: Sequence[Tried], engine: Engine
) -> tuple[list[Confirmed], dict[str, str]]:
    """Train the best trials again with fresh seeds; return what was measured, the best first, and the failures."""
    from robustnas.tuning import confirming
    from robustnas.tuning.running import run

    chosen = confirming.candidates(trials, plan)
    if not chosen:
        return [], {}
    everything = confirming.repeats(chosen, plan)
    todo = [one for one in everything if not confirming.is_done(root, one)]
    if todo:
        seeds = counted(len(everything) // len(chosen), "fresh seed")
        print(f"Confirming {counted(len(chosen), 'configuration')} with {seeds} each ...", flush=True)
    progress = Progress(root, todo, len(everything) - len(todo), engine.slots)
    with progress.shown():
        failures = run(list(confirming.jobs(root, plan, chosen, todo)), engine, progress)
    confirmed = confirming.read_confirmed(root, plan, chosen)
    confirming.write_confirmed(root, plan, confirmed)
    return confirmed, failures
