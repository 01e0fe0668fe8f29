"""Searchers that propose architectures: ask for one, evaluate it, tell its score."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from robustnas.spaces import Genotype, SearchSpace, find_space, mutated, num_architectures, random_genotype
from robustnas.studies.searchers.baseline import Baseline
from robustnas.studies.searchers.trace import Evaluate, Ledger, Observation, Trace
from robustnas.studies.searchers.training import Training
from robustnas.studies.trial import Trial

EPOCHS = 5  # of a short training


def affordable(cost: float, each: float) -> int:
    r"""Return how many evaluations cost what a search cost: :math:`\max(1, \lfloor \text{cost} / \text{each} \rfloor)`.

    Both costs are in one unit, such as epochs over the same samples, or seconds on one device. What counts is all that
    was spent to find an architecture, its selection included, and not the final evaluation, which every method pays
    (arXiv:1902.07638).

    Raises:
        ValueError: If a cost is not positive.
    """
    if not (cost > 0 and each > 0 and math.isfinite(cost) and math.isfinite(each)):
        raise ValueError(f"Expected `cost` and `each` to be positive, but got {cost} and {each}.")
    return max(1, math.floor(cost / each + 1e-9))


class Search:
    """A search by a searcher: :meth:`ask` for an architecture, evaluate it with ``budget``, :meth:`tell` its score.

    ``proposed`` holds every architecture that was asked for, and ``trace`` the observations that it was told.

    Raises:
        ValueError: If the searcher does not say how many architectures it evaluates, or the budget is not positive.
    """

    def __init__(self, searcher: Searcher, space: SearchSpace, generator: Random, budget: float = 1.0) -> None:
        if searcher.evaluations is None:
            raise ValueError(f"Expected `evaluations` of {type(searcher).__name__} to be given, but got none.")
        if not (budget > 0 and math.isfinite(budget)):
            raise ValueError(f"Expected `budget` to be positive, but got {budget}.")
        self.searcher, self.space, self.generator, self.budget = searcher, space, generator, budget
        self.left, self.proposed, self.trace = searcher.evaluations, set[Genotype](), Trace()

    def ask(self) -> Genotype | None:
        """The next architecture to evaluate, or ``None`` at the end."""
        if not self.left:
            return None
        self.left -= 1
        genotype = self.searcher.propose(self)
        self.proposed.add(genotype)
        return genotype

    def tell(self, genotype: Genotype, score: float, budget: float | None = None) -> Observation:
        """Record the score of an architecture, and the budget it had where that is another than was planned."""
        return self.trace.add(genotype, score, self.budget if budget is None else budget)


@dataclass(frozen=True)
class Searcher(Baseline):
    """Evaluates one architecture after the other, by short trainings or, where the study has a table, by a look-up.

    In a study as many are evaluated as the longest search of a variant pays for: :func:`affordable` of its epochs and
    those of one evaluation. A look-up counts the epochs that its column names, such as ``cifar10_valid_12``.
    """

    evaluations: int | None = None  #: how many architectures are evaluated
    epochs: int | None = None  #: epochs of an evaluation

    @abstractmethod
    def propose(self, search: Search) -> Genotype:
        """The next architecture, by what a search has proposed and observed."""

    def run(self, space: SearchSpace, generator: Random, evaluate: Evaluate, budget: float = 1.0) -> Trace:
        """Every observation of a :class:`Search` to the end; the incumbent of the trace is what was found."""
        search = Search(self, space, generator, budget)
        while (genotype := search.ask()) is not None:
            search.tell(genotype, evaluate(genotype, budget))
        return search.trace

    def planned(self, trial: Trial, epochs: int | None) -> Searcher:
        super().planned(trial, epochs)
        each = self.epochs
        if trial.table is None:
            each = each or EPOCHS
        else:
            space = find_space(trial.search_space)
            table, column = trial.table.read(space), trial.table.queried
            if column is None or column not in table.columns:
                raise ValueError(
                    f"Expected `table.validation` to be a column of {trial.table.file} that {type(self).__name__} may "
                    f"query, but got {column!r}."
                )
            each = each or trial.table.epochs
        if self.evaluations is None and (epochs is None or each is None):
            raise ValueError(f"Expected `evaluations` of {type(self).__name__}, since no cost is known, but got none.")
        return replace(self, evaluations=self.evaluations or affordable(epochs or 1, each or 1), epochs=each)

    @property
    def trained(self) -> int:
        return (self.evaluations or 0) * (self.epochs or 0)

    def find(self, trial: Trial, folder: Path) -> Genotype:
        space, generator = find_space(trial.search_space), self.generator(trial.seed)
        if trial.table is None:
            training, epochs = Training.of(trial, folder), self.epochs or EPOCHS
            ledger = self._ledger(trial, folder, "epochs", epochs * (self.evaluations or 0), training.metric)
            ledger.write()  # so that progress can be shown
            found = self.run(space, generator, ledger.recorded(training, keep=True), epochs)
            ledger.about["metric"] = training.measured
        else:
            column = str(trial.table.queried)
            ledger = self._ledger(trial, folder, "queries", self.evaluations or 0, column)
            found = self.run(
                space, generator, ledger.recorded(trial.table.read(space).evaluator(column), keep=False), 1
            )
        ledger.write()
        return found.incumbent.genotype

    def _ledger(self, trial: Trial, folder: Path, unit: str, planned: float, metric: str | None) -> Ledger:
        about = {"baseline": type(self).__name__, "unit": unit, "planned": planned, "metric": metric}
        return Ledger(folder, about, trial.table)

    def generator(self, seed: int) -> Random:
        """Its source of random numbers in a trial."""
        from robustnas.data.batch import derived_seed  # imports torch

        return Random(derived_seed(seed, type(self).__name__))


@dataclass(frozen=True)
class RandomSearch(Searcher):
    """Evaluate architectures drawn uniformly, and keep the best (arXiv:1902.07638); see :class:`Searcher`.

    None is drawn twice, unless the space has fewer than are asked for.
    """

    def propose(self, search: Search) -> Genotype:
        while True:
            genotype = random_genotype(search.space, search.generator)
            if genotype not in search.proposed or len(search.proposed) >= num_architectures(search.space):
                return genotype


@dataclass(frozen=True)
class RegularisedEvolution(Searcher):
    """Ageing evolution: the best of a sample has a child, and the oldest dies (arXiv:1802.01548).

    The first ``population`` architectures are drawn uniformly. From then on ``sample`` members of the population are
    drawn, with replacement as in the paper, and the best of them has a child with one edge changed
    (:func:`~robustnas.spaces.mutated`), which takes the place of the oldest member. See :class:`Searcher`.
    """

    population: int | None = None  #: members of the population; by default a quarter of the evaluations
    #: members that compete for having a child; by default a quarter of the population, as in the paper
    sample: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.evaluations is not None and self.evaluations < self.members:
            raise ValueError(
                f"Expected `evaluations` to be at least `population`, but got {self.evaluations} and {self.members}."
            )

    @property
    def members(self) -> int:
        """Members of the population."""
        return self.population or max(1, (self.evaluations or 1) // 4)

    def propose(self, search: Search) -> Genotype:
        if len(search.trace.observations) < self.members:
            return random_genotype(search.space, search.generator)
        living = search.trace.observations[-self.members :]
        sample = self.sample or max(min(2, self.members), self.members // 4)
        rivals = [living[search.generator.randrange(len(living))] for _ in range(sample)]
        return mutated(max(rivals, key=lambda one: one.score).genotype, search.space, search.generator)
