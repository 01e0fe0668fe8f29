"""Successive halving over random architectures, by Ray Tune."""

from __future__ import annotations

import importlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from robustnas.runtime.module_path import InRootFolder, remove_current_folder_from_path
from robustnas.runtime.trust import VARIABLE
from robustnas.spaces import Genotype, SearchSpace, num_architectures, random_genotype
from robustnas.studies.searchers.sampling import check_positive
from robustnas.studies.searchers.trace import Trace
from robustnas.studies.searchers.training import Train


@dataclass(frozen=True)
class SuccessiveHalving:
    r"""Train random architectures, and go on with the better ones: ASHA (arXiv:1810.05934).

    All architectures train for ``grace`` epochs; of those that have, the best :math:`1/\eta` go on to
    :math:`\eta` times as many, and so on up to ``epochs``, without waiting for one another. The work is done by
    ``ASHAScheduler`` of Ray Tune, on this machine or on the cluster that ``ray.init`` has joined. Which architectures
    go on depends on which finish first, so that only a run of one at a time is a function of its seed.

    Args:
        trials: Architectures, drawn uniformly, none of them twice.
        epochs: Epochs of those that are never stopped.
        grace: Epochs that each one gets.
        factor: :math:`\eta`.
        at_once: Trainings at one time; as many as there are processors by default.
        cpus: Processors of a training.
        gpus: GPUs of a training, also a part of one.
        folder: Where Ray Tune leaves its record; ``None`` for nowhere.

    Raises:
        ValueError: If a number is out of range.
    """

    trials: int
    epochs: int
    grace: int = 1
    factor: int = 4
    at_once: int | None = None
    cpus: float = 1
    gpus: float = 0
    folder: str | None = None

    def __post_init__(self) -> None:
        check_positive(trials=self.trials, epochs=self.epochs, grace=self.grace, cpus=self.cpus)
        if self.at_once is not None:
            check_positive(at_once=self.at_once)
        if self.factor < 2:
            raise ValueError(f"Expected `factor` to be at least 2, but got {self.factor}.")
        if self.grace > self.epochs:
            raise ValueError(f"Expected `grace` to be at most `epochs`, but got {self.grace} and {self.epochs}.")

    def run(self, space: SearchSpace, generator: Random, train: Train) -> Trace:
        """Find an architecture.

        Args:
            space: Where to look.
            generator: Source of random numbers.
            train: Trains an architecture, and reports after every epoch how good it is; Ray sends it to its workers.

        Returns:
            A trial for each architecture, in the order they were drawn, with the last score it reported; the budget is
            the number of epochs it got.

        Raises:
            ValueError: If Ray is missing, the space is too small, or no training came to an end.
        """
        drawn, ray = self._drawn(space, generator), _tune()
        joined = ray.is_initialized()
        if not joined:
            with InRootFolder():  # Ray lets its workers import from the current folder first
                ray.init()
        with tempfile.TemporaryDirectory() as nowhere:
            try:
                return _trace(drawn, self._tuner(drawn, train, Path(self.folder or nowhere)).fit())
            finally:
                if not joined:
                    ray.shutdown()

    def _drawn(self, space: SearchSpace, generator: Random) -> list[Genotype]:
        if self.trials > num_architectures(space):
            raise ValueError(
                f"Expected `trials` to be at most the genotypes of {space.name}, which are {num_architectures(space)}, "
                f"but got {self.trials}."
            )
        drawn: dict[Genotype, None] = {}
        while len(drawn) < self.trials:
            drawn[random_genotype(space, generator)] = None
        return list(drawn)

    def _tuner(self, drawn: list[Genotype], train: Train, folder: Path) -> Any:
        from ray import tune
        from ray.tune.schedulers import ASHAScheduler

        epochs, working, trusted = self.epochs, os.getcwd(), os.environ.get(VARIABLE, "")

        def trainable(config: dict[str, Any]) -> None:
            os.environ[VARIABLE] = trusted
            os.chdir(working)  # Ray Tune gives each training a folder of its own
            remove_current_folder_from_path()
            report = lambda epoch, score: tune.report({"epoch": epoch, "score": score})  # noqa: E731
            train(Genotype.from_json(config["genotype"]), epochs, report)

        halving = ASHAScheduler(time_attr="epoch", max_t=epochs, grace_period=self.grace, reduction_factor=self.factor)
        return tune.Tuner(
            tune.with_resources(trainable, {"cpu": self.cpus, "gpu": self.gpus}),
            param_space={"genotype": tune.grid_search([genotype.to_json() for genotype in drawn])},
            tune_config=tune.TuneConfig(
                metric="score", mode="max", scheduler=halving, max_concurrent_trials=self.at_once
            ),
            run_config=tune.RunConfig(storage_path=str(folder.absolute()), name="asha", verbose=0),
        )


def _tune() -> Any:
    """Ray, with its part that tunes."""
    try:
        return importlib.import_module("ray.tune") and importlib.import_module("ray")
    except ImportError as error:
        raise ValueError(
            "Expected Ray Tune for successive halving, but it is not installed; `pip install robustnas[ray]`."
        ) from error


def _trace(drawn: list[Genotype], results: Any) -> Trace:
    trace, errors = Trace(), [str(error).strip().splitlines()[-1] for error in results.errors if error]
    reported = {result.config["genotype"]: result.metrics or {} for result in results}
    for genotype in drawn:
        metrics = reported.get(genotype.to_json(), {})
        if "score" in metrics:
            trace.add(genotype, metrics["score"], metrics["epoch"])
    if not trace.trials:
        raise ValueError(f"Expected trainings to report scores, but none did: {errors[0] if errors else 'no error'}.")
    return trace
