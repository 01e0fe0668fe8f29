"""Short trainings of architectures, each an ordinary run, measured on samples on which it is not trained."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robustnas.analysis.registry import scores
from robustnas.runs.record import Run
from robustnas.runtime.csv_files import read_csv
from robustnas.spaces import Genotype, encode, find_space
from robustnas.studies.results import higher_is_better
from robustnas.studies.trial import Trial, training_of

Report = Callable[[int, float], None]
"""Receives after an epoch the number of epochs done and the score of the network."""

Train = Callable[[Genotype, int, Report], None]
"""Trains an architecture for some epochs and reports after each."""

METRICS = scores("val")  # the score of a task, unless the study names another


@dataclass(frozen=True)
class Training:
    """Trains architectures from scratch and validates them on the role ``selection`` after every epoch.

    Called with an architecture and a number of epochs it returns the last score, as random search and evolution want
    it; :meth:`train` reports after every epoch, as successive halving wants it. Each training is an ordinary run below
    ``folder``, and one that was interrupted is resumed. The test set is not touched, and the learning rate falls over
    the epochs of the training.
    """

    #: the configuration of an evaluation, see :func:`~robustnas.cli.configuration.configuration`; its genotype and
    #: epochs are replaced
    evaluation: Mapping[str, Any]
    folder: Path  #: where each training has a folder
    seed: int = 0  #: seed of everything
    metric: str | None = None  #: the metric that is compared, as it is logged; ``None`` for the first one of the task
    home: str = field(default_factory=os.getcwd)  #: working directory, to which relative paths refer

    @classmethod
    def of(cls, trial: Trial, folder: Path) -> Training:
        """The trainings of a trial, compared by the metric of the study's score on validation data."""
        assert trial.evaluation is not None
        role, _, name = (trial.score or "").partition("/")
        return cls(trial.evaluation, folder / "evaluations", trial.seed, f"val/{name}" if role == "test" else None)

    @property
    def measured(self) -> str | None:
        """The metric that was compared, by what the trainings logged; ``None`` before the first."""
        logs = (read_csv(path).names for path in self.folder.glob("*/run/metrics.csv"))
        columns = next(logs, [])
        return self.metric or next((name for name in METRICS if name in columns), None)

    def __call__(self, genotype: Genotype, epochs: float, number: int | None = None) -> float:
        """Train an architecture for some epochs, in the folder of a number, and return its last score."""
        place = self._place(genotype, number)
        scores: dict[int, float] = {}
        log = place / "run" / "metrics.csv"
        if log.is_file() and len(read_csv(log).rows) >= int(epochs):
            shutil.rmtree(place)  # it had ended, and only the record of it is missing
        self._run(genotype, int(epochs), place, scores.__setitem__)
        return scores[max(scores)]

    def train(self, genotype: Genotype, epochs: int, report: Report) -> None:
        """Train an architecture anew, and report after every epoch."""
        os.chdir(self.home)  # workers of a cluster start elsewhere
        self._run(genotype, epochs, self._place(genotype), report)

    def _place(self, genotype: Genotype, number: int | None = None) -> Path:
        space = self.evaluation["model"]["init_args"]["architecture"]["init_args"].get("space") or genotype.space
        return self.folder / (str(encode(genotype, find_space(space))) if number is None else f"{number:04}")

    def _run(self, genotype: Genotype, epochs: int, place: Path, report: Report) -> None:
        from pytorch_lightning import Callback

        from robustnas.cli.configuration import fit

        wanted = self.metric

        class Reporting(Callback):
            """Reports the score after each epoch."""

            def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
                known = trainer.callback_metrics
                name = next((name for name in ((wanted,) if wanted else METRICS) if name in known), None)
                if name is None:
                    measured = ", ".join(sorted(known))
                    raise ValueError(
                        f"Expected {wanted or METRICS[0]} to be logged after an epoch, but got {measured}."
                    )
                report(trainer.current_epoch + 1, float(known[name]) * (1 if higher_is_better(name) else -1))

        Run(place).write_genotype(genotype)
        given = training_of(self.evaluation, str(place))
        given["model"]["init_args"]["train_on_selection"] = False
        given["trainer"] = {**given["trainer"], "max_epochs": epochs}
        fit(given, place / "run", self.seed, [Reporting()])
