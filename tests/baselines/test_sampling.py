"""Protects random search and evolution: against brute force, step by step, and against each other on a table."""

from __future__ import annotations

import json
import math
import random
from collections import deque
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from robustnas.spaces import DARTS, S1, Genotype, Mobile, NASBench201, SearchSpace, complete_cell, decode
from robustnas.studies.searchers import RandomSearch, RegularisedEvolution, Search, Trace, affordable
from robustnas.tabular import Table

REAL = Path(__file__).resolve().parents[2] / "../shared/data/nas_bench_201.csv.gz"
SMALL = SearchSpace("Small", {"cell": complete_cell(1, 2, ("a", "b", "c"), (2,))}, "nasbench201")  # 27 genotypes


def additive(genotype: Genotype, budget: float = 1.0) -> float:
    """A score to which every edge adds a fixed amount of its own, between -1 and 1."""
    choices = [(kind, *choice) for kind, cell in genotype.cells.items() for choice in cell]
    return sum(random.Random(str(choice)).uniform(-1, 1) for choice in choices)


def test_random_search_looks_at_every_architecture_once() -> None:
    trace = RandomSearch(27).run(SMALL, random.Random(0), additive)
    every = [decode(number, SMALL) for number in range(27)]
    assert {trial.genotype for trial in trace.observations} == set(every)
    assert trace.incumbent.genotype == max(every, key=additive)
    assert len(RandomSearch(40).run(SMALL, random.Random(0), additive).observations) == 40  # and then again


def test_a_trace_tells_what_was_spent_and_what_was_best_then() -> None:
    asked: list[tuple[Genotype, float]] = []

    def evaluate(genotype: Genotype, budget: float) -> float:
        asked.append((genotype, budget))
        return math.nan if len(asked) == 2 else additive(genotype)

    trace = RandomSearch(6).run(SMALL, random.Random(3), evaluate, budget=12)
    assert [(trial.genotype, trial.budget) for trial in trace.observations] == asked
    assert [trial.spent for trial in trace.observations] == [12, 24, 36, 48, 60, 72]
    scores = [-math.inf if k == 1 else additive(genotype) for k, (genotype, _) in enumerate(asked)]
    assert [trial.score for trial in trace.observations] == scores
    assert [trial.score for trial in trace.incumbents()] == [max(scores[: k + 1]) for k in range(6)]
    data = json.loads(json.dumps(trace.to_json(), allow_nan=False))
    assert [one["score"] for one in data] == [None if s == -math.inf else s for s in scores]
    assert [Genotype.from_text(one["genotype"]) for one in data] == [genotype for genotype, _ in asked]
    with pytest.raises(ValueError, match="Expected a trace with observations, but got an empty one"):
        Trace().incumbent  # noqa: B018


def test_the_incumbent_has_the_largest_budget() -> None:
    trace, every = Trace(), [decode(number, SMALL) for number in range(4)]
    for genotype, score, budget in zip(every, (0.9, 0.5, 0.7, 0.7), (1, 9, 9, 9), strict=True):
        trace.add(genotype, score, budget)
    assert [trial.genotype for trial in trace.incumbents()] == [every[0], every[1], every[2], every[2]]


def test_evolution_follows_the_paper_step_by_step() -> None:
    """Replay: a child differs from the best of some members alive in one edge, and members die by age."""
    trace = RegularisedEvolution(60, population=8, sample=3).run(S1, random.Random(1), additive)
    living: deque[Any] = deque(trace.observations[:8], maxlen=8)
    for trial in trace.observations[8:]:
        cells = trial.genotype.cells
        distance = [sum(len(set(cells[k]) - set(one.genotype.cells[k])) for k in cells) for one in living]
        parents = [one for one, edges in zip(living, distance, strict=True) if edges == 1]
        assert parents  # who is dead has no children
        living.append(trial)
    early, late = (mean(trial.score for trial in part) for part in (trace.observations[:8], trace.observations[-8:]))
    assert late > early


def test_the_whole_population_as_rivals_breeds_from_the_best() -> None:
    """With samples so large that every member is among them, the parent is the best alive."""
    trace = RegularisedEvolution(40, population=4, sample=400).run(NASBench201, random.Random(2), additive)
    for k in range(4, 40):
        best = max(trace.observations[k - 4 : k], key=lambda trial: trial.score).genotype.cells["cell"]
        assert len(set(best) - set(trace.observations[k].genotype.cells["cell"])) == 1


@pytest.mark.parametrize("space", [DARTS, S1, Mobile, NASBench201], ids=lambda space: space.name)
@pytest.mark.parametrize(
    "baseline", [RandomSearch(30), RegularisedEvolution(30, population=8, sample=4)], ids=lambda one: type(one).__name__
)
def test_it_runs_in_every_space_and_is_a_function_of_its_seed(baseline: Any, space: SearchSpace) -> None:
    traces = [baseline.run(space, random.Random(seed), additive) for seed in (0, 0, 1)]
    assert traces[0].observations == traces[1].observations != traces[2].observations
    assert all(trial.genotype.validate(space) for trial in traces[0].observations)


def beats(space: SearchSpace, evaluate: Any, evaluations: int, seeds: int) -> tuple[float, float]:
    """What evolution and random search find on average, for the same number of evaluations."""
    found = []
    for baseline in (RegularisedEvolution(evaluations, population=20, sample=5), RandomSearch(evaluations)):
        traces = [baseline.run(space, random.Random(seed), evaluate) for seed in range(seeds)]
        found.append(mean(trace.incumbent.score for trace in traces))
    return found[0], found[1]


def test_evolution_beats_random_search_where_edges_add_up() -> None:
    evolution, drawn = beats(NASBench201, additive, 150, 8)
    best = sum(
        max(additive(Genotype("x", {"cell": ((e.source, e.node, op),)})) for op in e.operations)
        for _, e in NASBench201  # type: ignore[arg-type]
    )
    assert drawn < evolution <= best + 1e-9
    assert best - evolution < 0.5 * (best - drawn)


@pytest.mark.slow
def test_evolution_beats_random_search_on_the_benchmark() -> None:
    if not REAL.is_file():
        pytest.skip("no benchmark table: nas_bench_201.csv.gz is not in ../shared/data")
    table = Table.read(REAL)
    evolution, drawn = beats(NASBench201, table.evaluator("cifar10_test_200"), 200, 20)
    assert table.mean("cifar10_test_200") < drawn < evolution <= table.best("cifar10_test_200").accuracy


def test_a_budget_is_shared_out() -> None:
    assert [affordable(50, 12), affordable(600, 200), affordable(1, 200), affordable(0.3, 0.1)] == [4, 3, 1, 3]


def test_a_search_is_asked_and_told() -> None:
    """What is asked may be told later, and in another order; the loop of ``run`` is this and no more."""
    whole = RegularisedEvolution(12, population=4, sample=2).run(NASBench201, random.Random(5), additive)
    search = Search(RegularisedEvolution(12, population=4, sample=2), NASBench201, random.Random(5))
    while (genotype := search.ask()) is not None:
        search.tell(genotype, additive(genotype))
    assert search.trace == whole
    drawn = Search(RandomSearch(3), SMALL, random.Random(0))
    asked = list(iter(drawn.ask, None))
    assert len(set(asked)) == 3
    for genotype, budget in zip(reversed(asked), (1, 2, 4), strict=True):
        drawn.tell(genotype, 0.5, budget)
    assert [one.spent for one in drawn.trace.observations] == [1, 3, 7]
    assert drawn.trace.incumbent.genotype == asked[0]


def test_bad_numbers_are_one_sentence() -> None:
    for make, words in (
        (lambda: RandomSearch(0), "`evaluations` of RandomSearch to be a whole number from 1, but got 0"),
        (
            lambda: RandomSearch(3).run(SMALL, random.Random(0), additive, math.nan),
            "`budget` to be positive, but got nan",
        ),
        (lambda: RandomSearch().run(SMALL, random.Random(0), additive), "`evaluations` of RandomSearch to be given"),
        (
            lambda: RegularisedEvolution(63, population=64),
            "`evaluations` to be at least `population`, but got 63 ",
        ),
        (lambda: RegularisedEvolution(9, population=0), "`population` of RegularisedEvolution to be a whole number"),
        (lambda: affordable(0, 1), "`cost` and `each` to be positive, but got 0 and 1"),
    ):
        with pytest.raises(ValueError, match=f"^Expected {words}"):
            make()
