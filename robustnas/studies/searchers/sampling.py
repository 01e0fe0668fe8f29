"""Baselines that need nothing but a space, random numbers and something that evaluates an architecture."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from random import Random

from robustnas.spaces import Genotype, SearchSpace, mutated, num_architectures, random_genotype
from robustnas.studies.searchers.trace import Evaluate, Trace, Trial


def affordable(cost: float, each: float) -> int:
    r"""How many architectures a baseline may evaluate so that it costs what a search cost.

    Both costs are in one unit, such as epochs over the same samples, or seconds on one device. What counts is all that
    was spent to find an architecture, its selection included, and not the final evaluation, which every method pays.
    The rule is :math:`n = \max(1, \lfloor \text{cost} / \text{each} \rfloor)` (arXiv:1902.07638).

    Args:
        cost: What the search cost.
        each: What one evaluation costs.

    Returns:
        A number of evaluations, at least one.

    Raises:
        ValueError: If a cost is not positive.
    """
    if not (cost > 0 and each > 0 and math.isfinite(cost) and math.isfinite(each)):
        raise ValueError(f"Expected `cost` and `each` to be positive, but got {cost} and {each}.")
    return max(1, math.floor(cost / each + 1e-9))


class Baseline(ABC):
    """A way to find an architecture that a search has to beat."""

    @abstractmethod
    def run(self, space: SearchSpace, generator: Random, evaluate: Evaluate) -> Trace:
        """Find an architecture.

        Args:
            space: Where to look.
            generator: Source of random numbers.
            evaluate: Says how good an architecture is, given a budget.

        Returns:
            Every trial; its incumbent is what was found.
        """


@dataclass(frozen=True)
class RandomSearch(Baseline):
    """Evaluate architectures drawn uniformly, and keep the best (arXiv:1902.07638).

    None is drawn twice, unless the space has fewer than are asked for. To spend what a search spent, ask
    :func:`affordable` for the number.

    Args:
        evaluations: How many.
        budget: What each evaluation is given, such as epochs.

    Raises:
        ValueError: If a number is not positive.
    """

    evaluations: int
    budget: float = 1.0

    def __post_init__(self) -> None:
        check_positive(evaluations=self.evaluations, budget=self.budget)

    def run(self, space: SearchSpace, generator: Random, evaluate: Evaluate) -> Trace:
        trace = Trace()
        drawn = set[Genotype]()
        while len(trace.trials) < self.evaluations:
            genotype = random_genotype(space, generator)
            if genotype in drawn and len(drawn) < num_architectures(space):
                continue
            drawn.add(genotype)
            trace.add(genotype, evaluate(genotype, self.budget), self.budget)
        return trace


@dataclass(frozen=True)
class RegularisedEvolution(Baseline):
    """Ageing evolution: the best of a sample has a child, and the oldest dies (arXiv:1802.01548).

    The first ``population`` architectures are drawn uniformly. From then on ``sample`` members of the population are
    drawn, with replacement as in the paper, and the best of them has a child with one edge changed
    (:func:`~robustnas.spaces.mutated`), which takes the place of the oldest member.

    The paper's population of 100 and sample of 25 are for 20,000 evaluations; these defaults are for hundreds.

    Args:
        evaluations: How many architectures are evaluated in all.
        population: Members of the population.
        sample: Members that compete for having a child.
        budget: What each evaluation is given, such as epochs.

    Raises:
        ValueError: If a number is not positive, or fewer are evaluated than are members of the population.
    """

    evaluations: int
    population: int = 64
    sample: int = 10
    budget: float = 1.0

    def __post_init__(self) -> None:
        check_positive(population=self.population, sample=self.sample, budget=self.budget)
        if self.evaluations < self.population:
            raise ValueError(
                f"Expected `evaluations` to be at least `population`, but got {self.evaluations} and {self.population}."
            )

    def run(self, space: SearchSpace, generator: Random, evaluate: Evaluate) -> Trace:
        trace, living = Trace(), deque[Trial]()
        for _ in range(self.evaluations):
            if len(living) < self.population:
                genotype = random_genotype(space, generator)
            else:
                rivals = [living[generator.randrange(len(living))] for _ in range(self.sample)]
                genotype = mutated(max(rivals, key=lambda trial: trial.score).genotype, space, generator)
                living.popleft()
            living.append(trace.add(genotype, evaluate(genotype, self.budget), self.budget))
        return trace


def check_positive(**numbers: float) -> None:
    """Refuse numbers that are not positive.

    Args:
        **numbers: The numbers by name.

    Raises:
        ValueError: If one is not.
    """
    for name, number in numbers.items():
        if not (number > 0 and math.isfinite(number)):
            raise ValueError(f"Expected `{name}` to be positive, but got {number}.")
