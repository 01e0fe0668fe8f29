"""Successive halving over random architectures, by Ray Tune."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from robustnas.runtime.module_path import InRootFolder, remove_current_folder_from_path
from robustnas.runtime.trust import VARIABLE
from robustnas.spaces import Genotype, SearchSpace, find_space, num_architectures
from robustnas.studies.searchers.searcher import RandomSearch, Search, affordable
from robustnas.studies.searchers.trace import Trace
from robustnas.studies.searchers.training import Train, Training
from robustnas.studies.trial import Trial

MISSING = "Expected Ray Tune for SuccessiveHalving, but it is not installed; `pip install robustnas[ray]`."


@dataclass(frozen=True)
class SuccessiveHalving(RandomSearch):
    r"""Train random architectures, and continue the better ones: ASHA (arXiv:1810.05934).

    All architectures train for ``grace`` epochs; of those that have, the best :math:`1/\eta` continue to :math:`\eta`
    times as many, and so on up to ``epochs``, without waiting for one another: :math:`\text{grace}\,(1 + K (1 - 1 /
    \eta))` epochs on average over :math:`K = \log_\eta(\text{epochs} / \text{grace})` rungs. The work is done by
    ``ASHAScheduler`` of Ray Tune, here or on the cluster that ``ray.init`` has joined. Which architectures continue
    depends on which finish first, so only a run with ``max_concurrent`` of 1 is a function of its seed. A run that was
    interrupted starts again. In a study there are by default as many architectures as the longest search pays for.
    """

    epochs: int = 9  #: epochs of those that are never stopped
    grace: int = 1  #: epochs that each one gets
    factor: int = 3  #: :math:`\eta`
    max_concurrent: int = 1  #: trainings at one time

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.factor < 2:
            raise ValueError(f"Expected `factor` to be at least 2, but got {self.factor}.")
        if self.grace > self.epochs:
            raise ValueError(f"Expected `grace` to be at most `epochs`, but got {self.grace} and {self.epochs}.")

    def planned(self, trial: Trial, epochs: int | None) -> SuccessiveHalving:
        if trial.evaluation is None:
            raise ValueError("Expected `evaluation`, whose recipe SuccessiveHalving trains with, but got none.")
        if importlib.util.find_spec("ray") is None:
            raise ValueError(MISSING)
        if self.evaluations is None and epochs is None:
            raise ValueError("Expected `evaluations` of SuccessiveHalving, since no cost is known, but got none.")
        return replace(self, evaluations=self.evaluations or affordable(epochs or 1, self._mean_epochs))

    @property
    def _mean_epochs(self) -> float:
        rungs, top = 0, self.grace
        while top * self.factor <= self.epochs:
            rungs, top = rungs + 1, top * self.factor
        return self.grace * (1 + rungs * (1 - 1 / self.factor))

    @property
    def trained(self) -> int:
        return round((self.evaluations or 1) * self._mean_epochs)

    def find(self, trial: Trial, folder: Path) -> Genotype:
        import torch

        training = Training.of(trial, folder.absolute())
        shutil.rmtree(training.folder, ignore_errors=True)
        gpus = 1 / self.max_concurrent if torch.cuda.is_available() else 0
        trace = self.halve(find_space(trial.search_space), self.generator(trial.seed), training.train, gpus=gpus)
        self._ledger(trial, folder, "epochs", self.trained, training.measured).take(trace)
        return trace.incumbent.genotype

    def halve(
        self, space: SearchSpace, generator: Random, train: Train, gpus: float = 0, folder: str | None = None
    ) -> Trace:
        """Return an observation of each architecture, in the order they were drawn, with the last score it reported.

        The budget of an observation is the number of epochs that the architecture got. Ray sends ``train`` to its
        workers; a training gets ``gpus``, also a part of one. Ray Tune leaves its record in ``folder``, if any.

        Raises:
            ValueError: If Ray is missing, the space is too small, or no training came to an end.
        """
        search = Search(self, space, generator, self.epochs)
        if search.left > num_architectures(space):
            raise ValueError(
                f"Expected `evaluations` to be at most the genotypes of {space.name}, which are "
                f"{num_architectures(space)}, but got {search.left}."
            )
        drawn = list(iter(search.ask, None))
        results = self._trained(drawn, train, gpus, folder)
        reported = {result.config["genotype"]: result.metrics or {} for result in results}
        for genotype in drawn:
            metrics = reported.get(genotype.to_json(), {})
            if "score" in metrics:
                search.tell(genotype, metrics["score"], metrics["epoch"])
        if not search.trace.observations:
            errors = [str(error).strip().splitlines()[-1] for error in results.errors if error] or ["no error"]
            raise ValueError(f"Expected trainings to report scores, but none did: {errors[0]}.")
        return search.trace

    def _trained(self, drawn: list[Genotype], train: Train, gpus: float, folder: str | None) -> Any:
        """What Ray Tune reports of the trainings, on the cluster that is joined or on one that is started for it."""
        ray = _ray()
        joined = ray.is_initialized()
        if not joined:
            with InRootFolder():  # Ray lets its workers import from the current folder first
                ray.init()
        with tempfile.TemporaryDirectory() as nowhere:
            try:
                return self._tuner(drawn, train, gpus, Path(folder or nowhere)).fit()
            finally:
                if not joined:
                    ray.shutdown()

    def _tuner(self, drawn: list[Genotype], train: Train, gpus: float, folder: Path) -> Any:
        from ray import tune
        from ray.tune.schedulers import ASHAScheduler

        epochs, working, trusted = self.epochs, os.getcwd(), os.environ.get(VARIABLE, "")

        def trainable(config: dict[str, Any]) -> None:
            os.environ[VARIABLE] = trusted
            os.chdir(working)  # Ray Tune gives each training a folder of its own
            remove_current_folder_from_path()
            train(
                Genotype.from_json(config["genotype"]),
                epochs,
                lambda epoch, score: tune.report({"epoch": epoch, "score": score}),
            )

        halving = ASHAScheduler(time_attr="epoch", max_t=epochs, grace_period=self.grace, reduction_factor=self.factor)
        return tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1, "gpu": gpus}),
            param_space={"genotype": tune.grid_search([genotype.to_json() for genotype in drawn])},
            tune_config=tune.TuneConfig(
                metric="score", mode="max", scheduler=halving, max_concurrent_trials=self.max_concurrent
            ),
            run_config=tune.RunConfig(storage_path=str(folder.absolute()), name="asha", verbose=0),
        )


def _ray() -> Any:
    try:
        return importlib.import_module("ray.tune") and importlib.import_module("ray")
    except ImportError as error:
        raise ValueError(MISSING) from error
