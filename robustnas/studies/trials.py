"""What a baseline tries: short trainings or look-ups, each noted at once, so that none is paid for twice."""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from robustnas.analysis.metrics import TRUTH
from robustnas.analysis.registry import scores
from robustnas.cli import lightning_cli
from robustnas.runs.record import Run, read_json, write_json
from robustnas.runtime.csv_files import read_csv
from robustnas.spaces import Genotype, encode, find_space
from robustnas.studies.baseline_configuration import Tabular
from robustnas.studies.grid import Cell
from robustnas.studies.results import higher_is_better
from robustnas.studies.searchers import Trace
from robustnas.studies.searchers.training import Report
from robustnas.studies.words import QUIET, evaluation_words, found_words, in_folder
from robustnas.tabular import Table

SCHEMA = 1
FILE = "trace.json"
FIRST = scores("val")


def table_of(held: Mapping[str, Any]) -> tuple[Tabular, Table]:
    """The table of a cell.

    Args:
        held: Fields of :class:`~robustnas.studies.baseline_configuration.Tabular`.

    Returns:
        What the study says of it, and the table.

    Raises:
        ValueError: If the file cannot be read, or has no such column.
    """
    tabular = Tabular(**held)
    table = Table.once(tabular.file)
    table.column(tabular.accuracy)
    return tabular, table


def truth_of(held: Mapping[str, Any], genotype: Genotype) -> dict[str, Any]:
    """What a table says of an architecture, as ``truth.json`` of a search holds it.

    Args:
        held: Fields of :class:`~robustnas.studies.baseline_configuration.Tabular`.
        genotype: The architecture.

    Returns:
        ``accuracy``, ``regret`` and ``rank`` of how many, with the best and the mean of the table.

    Raises:
        ValueError: If the table does not know it.
    """
    tabular, table = table_of(held)
    column = tabular.accuracy
    rank = table.rank(genotype, column)
    return {
        "schema": SCHEMA, "table": tabular.file, "column": column, "genotype": str(genotype),
        "accuracy": table.accuracy(genotype, column), "regret": table.regret(genotype, column), "rank": rank.place,
        "of": rank.of, "best": table.best(column).accuracy, "mean": table.mean(column),
    }  # fmt: skip


@dataclass
class Ledger:
    """The trials of a baseline, in ``trace.json`` as soon as they have ended.

    A baseline that was interrupted asks for the same architectures in the same order when it starts again: what is
    noted already is answered from the file.

    Args:
        folder: Where the file lies.
        about: What else it holds: ``baseline``, ``unit`` of budgets, ``planned`` budget and ``metric``.
        table: Fields of the study's table, by which the truth of each trial is noted and nothing is selected.
    """

    folder: Path
    about: dict[str, Any]
    table: Mapping[str, Any] | None = None
    trials: list[dict[str, Any]] = field(default_factory=list, init=False)
    asked: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if (self.folder / FILE).is_file():
            self.trials = read_json(self.folder / FILE)["trials"]

    def ask(
        self, evaluate: Callable[[Genotype, float, int], float], genotype: Genotype, budget: float, keep: bool = True
    ) -> float:
        """How good an architecture is.

        Args:
            evaluate: Says so, given a budget and the number of the trial.
            genotype: The architecture.
            budget: What it is given.
            keep: Whether the file is written at once.

        Returns:
            Its score.
        """
        number, self.asked = self.asked, self.asked + 1
        if number < len(self.trials) and self.trials[number]["genotype"] == str(genotype):
            score = self.trials[number]["score"]
            return -math.inf if score is None else float(score)
        del self.trials[number:]
        since = time.perf_counter()
        score = evaluate(genotype, budget, number)
        self._note(genotype, score, budget, time.perf_counter() - since)
        if keep:
            self.write()
        return score

    def take(self, trace: Trace) -> None:
        """Note the trials of a whole trace.

        Args:
            trace: The trace.
        """
        self.trials = []
        for trial in trace.trials:
            self._note(trial.genotype, trial.score, trial.budget, None)
        self.write()

    def write(self) -> None:
        """Write the file."""
        write_json(self.folder / FILE, {"schema": SCHEMA, **self.about, "trials": self.trials})

    def _note(self, genotype: Genotype, score: float, budget: float, seconds: float | None) -> None:
        spent = budget + (self.trials[-1]["spent"] if self.trials else 0)
        noted = {
            "genotype": str(genotype), "score": score if math.isfinite(score) else None, "budget": budget,
            "spent": spent, "seconds": seconds,
        }  # fmt: skip
        known = {} if self.table is None else truth_of(self.table, genotype)
        self.trials.append({**noted, **{TRUTH.of(name): known[name] for name in ("accuracy",) if known}})


class _Telling(Callback):
    """Tells how good the network is after each epoch."""

    def __init__(self, metric: str | None, report: Report) -> None:
        self.metric, self.report = metric, report

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        name = self.metric or next((name for name in FIRST if name in trainer.callback_metrics), None)
        if name is None or name not in trainer.callback_metrics:
            measured = ", ".join(sorted(trainer.callback_metrics))
            raise ValueError(f"Expected {self.metric or FIRST[0]} to be measured after an epoch, but got {measured}.")
        value = float(trainer.callback_metrics[name])
        self.report(trainer.current_epoch + 1, value if higher_is_better(name) else -value)


@dataclass(frozen=True)
class Trials:
    """Short trainings with the recipe of the study's evaluation: ordinary runs, validated on the role ``selection``.

    The test set is not touched, and the learning rate falls over the epochs of the trial.

    Args:
        cell: The cell, which has an evaluation.
        search: Configuration of a search in the same space on the same data.
        folder: Where each has a folder.
        home: Working directory, in which relative paths of the study are meant.
    """

    cell: Cell
    search: Mapping[str, Any]
    folder: Path
    home: str = field(default_factory=os.getcwd)

    @property
    def metric(self) -> str | None:
        """What is compared: the metric of the study's score on validation data, or ``None`` for the first one."""
        room, _, name = (self.cell.score or "").partition("/")
        return f"val/{name}" if room == "test" else None

    @property
    def measured(self) -> str | None:
        """What was compared, by what the trials logged; ``None`` before the first."""
        logs = (read_csv(path).names for path in self.folder.glob("trials/*/run/metrics.csv"))
        columns = next(logs, [])
        return self.metric or next((name for name in FIRST if name in columns), None)

    def __call__(self, genotype: Genotype, epochs: float, number: int) -> float:
        """Train an architecture.

        Args:
            genotype: The architecture.
            epochs: For how many epochs.
            number: Number of the trial.

        Returns:
            Its score after the last epoch; higher is better.
        """
        place = self.folder / "trials" / f"{number:04}"
        scores: dict[int, float] = {}
        if _epochs_of(place / "run") >= int(epochs):
            shutil.rmtree(place)  # it had ended, and only the note of it is missing
        self._run(genotype, int(epochs), place, scores.__setitem__)
        return scores[max(scores)]

    def train(self, genotype: Genotype, epochs: int, report: Report) -> None:
        """Train an architecture anew, and report after every epoch.

        Args:
            genotype: The architecture.
            epochs: How many.
            report: Is told the number of epochs done, and the score.
        """
        os.chdir(self.home)  # workers of a cluster start elsewhere
        number = encode(genotype, find_space(self.search["model"]["init_args"]["space"]))
        self._run(genotype, epochs, self.folder / "trials" / str(number), report)

    def _run(self, genotype: Genotype, epochs: int, place: Path, report: Report) -> None:
        metric = self.metric

        class Told(lightning_cli.RobustCLI):
            """A run that tells its scores."""

            def before_instantiate_classes(self) -> None:
                super().before_instantiate_classes()
                self.trainer_defaults["callbacks"].append(_Telling(metric, report))

        Run(place).write_genotype(genotype)
        model, data = self.search["model"], self.search["data"]
        words = evaluation_words(self.cell, model, data, found_words(str(place), model["init_args"]["space"]))
        shorter = ["--model.init_args.train_on_selection=false", f"--trainer.max_epochs={epochs}"]
        seed = f"--seed_everything={self.cell.seed}"
        lightning_cli.main(["fit", QUIET, *words, *shorter, seed, *in_folder(place / "run")], run=Told)


def _epochs_of(run: Path) -> int:
    """Epochs that a run has done."""
    path = run / "metrics.csv"
    return len(read_csv(path).rows) if path.is_file() else 0
