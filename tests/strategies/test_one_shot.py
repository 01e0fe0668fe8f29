"""Selections that measure the supernet once: against brute force, and against the probabilities they draw by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import combinations, permutations
from math import prod
from random import Random
from typing import Any

import pytest
import torch
from scipy.stats import chisquare
from tables import check_each
from torch import Tensor

from robustnas.spaces import (
    DARTS,
    Genotype,
    MobileSmall,
    NASBench201,
    SearchSpace,
    complete_cell,
    num_architectures,
    weighted_genotype,
)
from robustnas.strategies import BestOfSampled, LargestDrop, Strongest
from robustnas.strategies.decisions import Score
from robustnas.strategies.selection import Scores, Selected

TINY = SearchSpace(
    "Tiny",
    {
        "normal": complete_cell(2, 2, ("a", "b", "none"), (2, 3), keep=2, never_selected=("none",)),
        "reduce": complete_cell(2, 2, ("a", "b", "none"), (2, 3), reduction=True, keep=2, never_selected=("none",)),
    },
)


def loss_at(weights: Mapping[str, Tensor]) -> float:
    """A loss in which operations of all edges and kinds of cell depend on each other."""
    flat = torch.cat([weights[kind].double().flatten() for kind in sorted(weights)])
    generator = torch.Generator().manual_seed(len(flat))
    mixed = torch.randn(len(flat), len(flat), generator=generator, dtype=torch.float64)
    return float((mixed @ flat).square().sum())


class Planted:
    """A search that has ended, with a known loss in place of its supernet."""

    def __init__(self, space: SearchSpace, weights: Mapping[str, Tensor]) -> None:
        self.space, self.epoch = space, 7
        self.architecture_weights = self.operations = weights
        self.active_mask: Mapping[str, Tensor] = {kind: torch.ones(c.shape).bool() for kind, c in space.cells.items()}
        self.asked: list[Mapping[str, Tensor]] = []
        self.totals: list[int] = []

    def seed(self, *purpose: str | int) -> int:
        return 3

    @contextmanager
    def scores(self, batch_statistics: bool, seed: int, says: str, total: int) -> Iterator[Scores]:
        self.totals.append(total)
        yield self

    def at(self, weights: Mapping[str, Tensor]) -> Score:
        self.asked.append(weights)
        return Score(0.5, loss_at(weights))

    def of(self, genotype: Genotype) -> Score:
        return self.at(one_hot(self.space, genotype))


def one_hot(space: SearchSpace, genotype: Genotype) -> dict[str, Tensor]:
    weights = {kind: torch.zeros(cell.shape) for kind, cell in space.cells.items()}
    for kind, cell in space.cells.items():
        for source, node, operation in genotype.cells[kind]:
            row = cell.row(source, node)
            assert row is not None
            weights[kind][row, cell.edges[row].operations.index(operation)] = 1.0
    return weights


def random_search(space: SearchSpace, seed: int) -> Planted:
    generator = torch.Generator().manual_seed(seed)
    shares = {k: torch.randn(c.shape, generator=generator).softmax(dim=-1) for k, c in space.cells.items()}
    return Planted(space, shares)


def by_brute_force(search: Planted) -> Genotype:
    """The genotype whose every choice is missed most, each alone, at the weights of the search."""

    def loss_without(kind: str, row: int, columns: list[int]) -> float:
        weights = {name: weight.clone() for name, weight in search.operations.items()}
        weights[kind][row, columns] = 0.0
        return loss_at(weights)

    cells: dict[str, Any] = {}
    for kind, cell in search.space.cells.items():
        chosen = []
        whole = {row: loss_without(kind, row, list(range(cell.shape[1]))) for row in range(len(cell.edges))}
        for node in cell.nodes:
            ways = list(combinations([row for row, _ in cell.edges_into(node)], cell.kept(node)))
            missed = [sum(whole[row] for row in way) for way in ways]
            for row in ways[missed.index(max(missed))]:
                names = cell.selectable(cell.edges[row])
                losses = {loss_without(kind, row, [column]): name for column, name in names.items()}
                chosen.append((cell.edges[row].source, node, losses[max(losses)]))
        cells[kind] = tuple(chosen)
    return Genotype(search.space.name, cells)


def test_one_shot_keeps_what_is_missed_most_with_all_else_as_it_was() -> None:
    def check(row: tuple[SearchSpace, int]) -> None:
        space, seed = row
        search = random_search(space, seed)
        found = LargestDrop("loss", finetune=0).select(search)
        assert found.genotype.validate(space) == by_brute_force(search)
        assert search.totals == [len(search.asked)]
        for weights in search.asked:  # one operation or one edge is zero, everything else is the search's
            differing = [
                (weights[k] != w).any(dim=1).nonzero().flatten().tolist() for k, w in search.operations.items()
            ]
            assert sum(map(len, differing)) == 1

    check_each([(space, seed) for space in (TINY, NASBench201, MobileSmall) for seed in range(3)], check)


def test_one_shot_takes_a_pass_for_each_operation_and_each_edge_that_may_go() -> None:
    search = random_search(DARTS, 0)
    found = LargestDrop("loss", finetune=0).select(search)
    assert search.totals == [len(search.asked)] == [2 * (14 * 7 + 3 + 4 + 5)]
    decisions = found.record["decisions.json"]["decisions"]
    assert [one["epoch"] for one in decisions] == [7] * 2 * (14 + 3)
    assert {one["keeps"] for one in decisions if "edge" in one} <= set(DARTS.operations) - {"none"}


def test_the_first_decision_of_a_phase_is_one_of_those_in_one_shot() -> None:
    search = random_search(TINY, 1)
    rule, phase = LargestDrop("loss", finetune=0), LargestDrop("loss", finetune=1)
    made = rule.decide_at_once(TINY, search.active_mask, search.operations, search.at)
    for row, cell in enumerate(TINY.cells["normal"].edges):
        column, scores = phase.operation(TINY.cells["normal"], "normal", row, search.operations, search.at)
        assert (made[row].column, made[row].rounds) == (column, [scores]), cell
    for kind, decision in ((kind, one) for kind in TINY.cells for one in made if one.kind == kind and one.node):
        dropped, _ = phase.edges(TINY.cells[kind], kind, decision.node or 0, search.operations, search.at)
        assert decision.dropped == frozenset(dropped)


def test_ties_keep_the_first_operation_and_the_first_edges() -> None:
    search = random_search(DARTS, 0)
    made = LargestDrop(finetune=0).decide_at_once(  # all accuracies are equal
        DARTS, search.active_mask, search.operations, search.at
    )
    assert {one.column for one in made if one.row is not None} == {1}
    assert [sorted(one.dropped) for one in made if one.kind == "normal" and one.node is not None] == [
        [4], [7, 8], [11, 12, 13],
    ]  # fmt: skip


def test_what_was_pruned_is_not_chosen_in_one_shot() -> None:
    search = random_search(TINY, 2)
    search.active_mask = {kind: mask & (torch.arange(3) != 0) for kind, mask in search.active_mask.items()}
    found = LargestDrop("loss", finetune=0).select(search)
    assert {choice.operation for cell in found.genotype.cells.values() for choice in cell} == {"b"}
    assert len(search.asked) == 6  # edges alone: of each only one operation is left


def test_draws_have_the_frequencies_of_the_shares() -> None:
    """In NAS-Bench-201 every edge keeps one operation, `none` too, and edges are independent."""
    search, count = random_search(NASBench201, 5), 4000
    rows, generator = {"cell": search.operations["cell"].tolist()}, Random(0)
    found = [weighted_genotype(NASBench201, rows, generator).cells["cell"] for _ in range(count)]
    for row, edge in enumerate(NASBench201.cells["cell"].edges):
        drawn = Counter(choices[row].operation for choices in found)
        expected = [count * share for share in search.operations["cell"][row].double().tolist()]
        seen = [drawn[name] for name in edge.operations]
        assert chisquare(seen, expected, sum_check=False).pvalue > 0.001, edge.name
    pairs = Counter((choices[0].operation, choices[5].operation) for choices in found)
    first, last = (search.operations["cell"][row].double() for row in (0, 5))
    joint = [count * float(first[i] * last[k]) for i in range(5) for k in range(5)]
    names = NASBench201.operations
    assert chisquare([pairs[a, b] for a in names for b in names], joint, sum_check=False).pvalue > 0.001


def test_edges_are_drawn_one_after_the_other_by_their_strongest_operation() -> None:
    search, count = random_search(TINY, 6), 4000
    rows, generator = {kind: weight.tolist() for kind, weight in search.operations.items()}, Random(1)
    found = [weighted_genotype(TINY, rows, generator).validate(TINY) for _ in range(count)]
    strengths = search.operations["normal"][2:5, :2].double().max(dim=1).values.tolist()  # those into node 3
    kept = Counter(tuple(c.source for c in one.cells["normal"] if c.node == 3) for one in found)

    def probability(pair: tuple[int, int]) -> float:
        whole = sum(strengths)
        return sum(strengths[a] / whole * strengths[b] / (whole - strengths[a]) for a, b in permutations(pair))

    pairs = [(0, 1), (0, 2), (1, 2)]
    assert sum(map(probability, pairs)) == pytest.approx(1)
    assert chisquare([kept[pair] for pair in pairs], [count * probability(pair) for pair in pairs]).pvalue > 0.001
    shares = search.operations["reduce"][0, :2].double()
    drawn = Counter(one.cells["reduce"][0].operation for one in found)
    expected = (count * shares / shares.sum()).tolist()
    assert chisquare([drawn["a"], drawn["b"]], expected).pvalue > 0.001


def test_equal_shares_draw_as_the_uniform_source_does() -> None:
    rows = {kind: torch.full(cell.shape, 0.25).tolist() for kind, cell in TINY.cells.items()}
    generator = Random(2)
    found = Counter(weighted_genotype(TINY, rows, generator) for _ in range(23_000))
    assert len(found) == num_architectures(TINY) == prod([4, 12]) ** 2
    assert chisquare(list(found.values())).pvalue > 0.001


def test_what_has_no_weight_is_drawn_where_nothing_else_is_left() -> None:
    rows = {kind: torch.zeros(cell.shape).tolist() for kind, cell in TINY.cells.items()}
    rows["normal"][0] = [0.0, 0.5, 0.5]
    rows["normal"][2] = [0.0, -1.0, 1.0]
    found = [weighted_genotype(TINY, rows, Random(seed)).validate(TINY) for seed in range(60)]
    assert {one.cells["normal"][0].operation for one in found} == {"b"}
    assert {one.cells["normal"][1].operation for one in found} == {"a", "b"}
    assert len({tuple(c.source for c in one.cells["normal"][2:]) for one in found}) == 3


def test_a_decided_alpha_leaves_one_architecture_which_is_the_strongest() -> None:
    weights = {k: torch.eye(c.shape[1])[torch.arange(c.shape[0]) % c.shape[1]] for k, c in NASBench201.cells.items()}
    search = Planted(NASBench201, weights)
    strongest = Strongest().select(search)
    assert strongest == Selected(Strongest().genotype(NASBench201, weights))
    found = BestOfSampled(40, "loss", source="alpha").select(search)
    assert found.genotype == strongest.genotype
    assert found.says == "Compared 1 architectures, not 40: α has nearly decided, and its draws repeat."
    assert search.totals == [1]


def test_the_best_of_a_sample_by_alpha_is_the_best_of_what_was_drawn() -> None:
    search = random_search(DARTS, 9)
    rule = BestOfSampled(30, "loss", source="alpha")
    found = rule.select(search)
    drawn = rule.drawn(DARTS, 3, search.operations)
    assert len(drawn) == len(set(drawn)) == 30
    assert found.genotype == min(drawn, key=lambda genotype: loss_at(one_hot(DARTS, genotype)))
    assert [one["genotype"] for one in found.record["sampled.json"]["sampled"]] == list(map(str, drawn))
    assert found.says == ""
    assert drawn == rule.drawn(DARTS, 3, search.operations) != rule.drawn(DARTS, 4, search.operations)
    assert rule.drawn(DARTS, 3, search.operations) != BestOfSampled(30).drawn(DARTS, 3, search.operations)


def test_wrong_arguments_are_named() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"finetune": -1}, "Expected `finetune` to be at least 0, but got -1."),
        ({"finetune": 0, "lr": 0.1}, "Expected no `lr` with `finetune` 0, which trains nothing, but got 0.1."),
        (
            {"finetune": 0, "restore_dropped": False},
            "Expected `restore_dropped` to be true with `finetune` 0, but got False.",
        ),
    ]
    for options, says in cases:
        with pytest.raises(ValueError, match="Expected") as error:
            LargestDrop(**options)
        assert str(error.value) == says
