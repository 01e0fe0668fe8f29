"""Baselines that evaluate one random architecture after the other, each for a short time."""

from __future__ import annotations

import importlib.util
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import torch

from robustnas.data.batch import derived_seed
from robustnas.spaces import Genotype, find_space
from robustnas.studies import searchers as library
from robustnas.studies.baseline import Baseline
from robustnas.studies.grid import Cell
from robustnas.studies.searchers import affordable
from robustnas.studies.searchers.halving import SuccessiveHalving as Halving
from robustnas.studies.trials import Ledger, Trials, table_of

EPOCHS = 5  # of a short training


@dataclass(frozen=True)
class Sampling(Baseline, ABC):
    """Evaluates one architecture after the other, by short trainings or, where the study has a table, by asking it.

    As many are evaluated as the longest search of a variant pays for:
    :func:`~robustnas.studies.searchers.affordable` of its epochs and those of one evaluation. An answer of a table
    counts the epochs that its column names, such as ``cifar10_valid_12``.

    Args:
        evaluations: How many, whatever that costs.
        epochs: Epochs of an evaluation.
    """

    evaluations: int | None = None
    epochs: int | None = None

    def for_cell(self, cell: Cell, epochs: int | None) -> Sampling:
        super().for_cell(cell, epochs)
        each = self.epochs
        if cell.table is not None:
            tabular, table = table_of(cell.table)
            if tabular.asked is None or tabular.asked not in table.columns:
                raise ValueError(
                    f"Expected `table.validation` to be a column of {tabular.file} that {type(self).__name__} may "
                    f"ask, but got {tabular.asked!r}."
                )
            each = each or tabular.epochs
        else:
            each = each or EPOCHS
        if self.evaluations is None and (epochs is None or each is None):
            raise ValueError(f"Expected `evaluations` of {type(self).__name__}, since no cost is known, but got none.")
        count = self.evaluations or affordable(epochs or 1, each or 1)
        planned = replace(self, evaluations=count, epochs=each)
        planned.method(1.0)
        return planned

    @property
    def trained(self) -> int:
        return (self.evaluations or 0) * (self.epochs or 0)

    @abstractmethod
    def method(self, budget: float) -> library.Baseline:
        """What chooses the architectures, each given a budget."""

    def find(self, cell: Cell, search: Mapping[str, Any], folder: Path) -> Genotype:
        evaluate: Callable[[Genotype, float, int], float]
        if cell.table is not None:
            tabular, table = table_of(cell.table)
            look_up = table.evaluator(str(tabular.asked))
            evaluate, metric, budget = lambda one, given, number: look_up(one, given), tabular.asked, 1
        else:
            evaluate = Trials(cell, search, folder)
            metric, budget = evaluate.metric, self.epochs or EPOCHS
        ledger = _ledger(self, cell, folder, metric, budget * (self.evaluations or 0))

        if cell.table is None:
            ledger.write()  # so that progress can be shown

        def ask(genotype: Genotype, given: float) -> float:
            return ledger.ask(evaluate, genotype, given, keep=cell.table is None)

        space, generator = find_space(search["model"]["init_args"]["space"]), _generator(self, cell)
        found = self.method(budget).run(space, generator, ask)
        ledger.about["metric"] = evaluate.measured if isinstance(evaluate, Trials) else metric
        ledger.write()
        return found.incumbent.genotype


@dataclass(frozen=True)
class RandomSearch(Sampling):
    """Random search with equal evaluation budget (arXiv:1902.07638); see :class:`Sampling`."""

    def method(self, budget: float) -> library.RandomSearch:
        return library.RandomSearch(self.evaluations or 1, budget)


@dataclass(frozen=True)
class RegularisedEvolution(Sampling):
    """Ageing evolution (arXiv:1802.01548), with the evaluations of :class:`RandomSearch`; see :class:`Sampling`.

    Args:
        population: Members of the population; by default a quarter of the evaluations.
        sample: Members that compete for having a child; by default a quarter of the population, as in the paper.
    """

    population: int | None = None
    sample: int | None = None

    def method(self, budget: float) -> library.RegularisedEvolution:
        evaluations = self.evaluations or 1
        population = self.population or max(1, evaluations // 4)
        sample = self.sample or max(min(2, population), population // 4)
        return library.RegularisedEvolution(evaluations, population, sample, budget)


@dataclass(frozen=True)
class SuccessiveHalving(Baseline):
    r"""ASHA by Ray Tune over random architectures (arXiv:1810.05934).

    Of :math:`n` trials :math:`n / \eta` go on at each of :math:`K = \log_\eta(\text{epochs} / \text{grace})` rungs, so
    that a trial costs :math:`\text{grace}\,(1 + K (1 - 1 / \eta))` epochs on average; by default there are as many as
    the longest search pays for. What was interrupted starts again.

    Args:
        trials: Architectures.
        epochs: Epochs of those that are never stopped.
        grace: Epochs that each one gets.
        factor: :math:`\eta`.
        at_once: Trainings at one time; a result is a function of the seed only where it is 1.
    """

    trials: int | None = None
    epochs: int = 9
    grace: int = 1
    factor: int = 3
    at_once: int = 1

    def for_cell(self, cell: Cell, epochs: int | None) -> SuccessiveHalving:
        if cell.evaluation is None:
            raise ValueError("Expected `evaluation`, whose recipe SuccessiveHalving trains with, but got none.")
        if importlib.util.find_spec("ray") is None:
            raise ValueError(
                "Expected Ray Tune for SuccessiveHalving, but it is not installed; `pip install robustnas[ray]`."
            )
        Halving(1, self.epochs, self.grace, self.factor)
        if self.trials is None and epochs is None:
            raise ValueError("Expected `trials` of SuccessiveHalving, since no cost is known, but got none.")
        return replace(self, trials=self.trials or affordable(epochs or 1, self._each))

    @property
    def _each(self) -> float:
        rungs, top = 0, self.grace
        while top * self.factor <= self.epochs:
            rungs, top = rungs + 1, top * self.factor
        return self.grace * (1 + rungs * (1 - 1 / self.factor))

    @property
    def trained(self) -> int:
        return round((self.trials or 1) * self._each)

    def find(self, cell: Cell, search: Mapping[str, Any], folder: Path) -> Genotype:
        shutil.rmtree(folder / "trials", ignore_errors=True)
        trials = Trials(cell, search, folder.absolute())
        space = find_space(search["model"]["init_args"]["space"])
        gpus = 1 / self.at_once if torch.cuda.is_available() else 0
        method = Halving(self.trials or 1, self.epochs, self.grace, self.factor, self.at_once, gpus=gpus)
        trace = method.run(space, _generator(self, cell), trials.train)
        _ledger(self, cell, folder, trials.measured, self.trained).take(trace)
        return trace.incumbent.genotype


def _ledger(baseline: Baseline, cell: Cell, folder: Path, metric: str | None, planned: float) -> Ledger:
    unit = "epochs" if cell.table is None or isinstance(baseline, SuccessiveHalving) else "queries"
    about = {"baseline": type(baseline).__name__, "unit": unit, "planned": planned, "metric": metric}
    return Ledger(folder, about, cell.table)


def _generator(baseline: Baseline, cell: Cell) -> Random:
    return Random(derived_seed(cell.seed, type(baseline).__name__))
