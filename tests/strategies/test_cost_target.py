"""A target for the cost: mean and range over all genotypes of a space, the multiplier, and what is refused."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from test_hardware import SHORT, shares_of, written
from torch import Tensor

from robustnas.cost import CostTable, Profiler
from robustnas.spaces import SearchSpace, complete_cell, decode, num_architectures
from robustnas.strategies import ExpectedCost, StepContext
from robustnas.strategies.cost_target import ascended, cost_range

OPERATIONS = ("none", "skip_connect", "sep_conv_3x3")
KEPT = SearchSpace(  # a node keeps two of two or of three edges, and never `none`
    "kept", {"normal": complete_cell(2, 2, OPERATIONS, (2, 3), keep=2, never_selected=("none",))}, "darts_normal"
)
FEWER = SearchSpace(  # a node keeps none to two of its edges, which carry one or two operations
    "fewer",
    {"normal": complete_cell(2, 2, OPERATIONS[1:], (2, 3), keep=2, fewer=True, carried=2)},
    "darts_normal",
)


def made(space: SearchSpace) -> CostTable:
    """A table of random costs."""
    generator = torch.Generator().manual_seed(0)
    kinds = {
        kind: {
            "flops": tuple(
                tuple(torch.randint(1, 100, (len(edge.operations),), generator=generator).tolist())
                for edge in cell.edges
            )
        }
        for kind, cell in space.cells.items()
    }
    operations = {kind: tuple(edge.operations for edge in cell.edges) for kind, cell in space.cells.items()}
    return CostTable(space.name, operations, kinds, {"flops": 50.0})


def at(space: SearchSpace, multiplier: float) -> StepContext:
    return StepContext("arch", 0, 1, torch.Generator(), space=space, multiplier=multiplier)


def target_of(folder: Path, table: CostTable, target: float) -> ExpectedCost:
    return ExpectedCost(written(folder, table), measure="flops", target=target)


def test_it_is_the_mean_over_drawn_edges_and_operations(tmp_path: Path) -> None:
    table, cell = made(KEPT), KEPT.cells["normal"]
    logits = {"normal": torch.randn(cell.shape, dtype=torch.float64)}
    shares = shares_of(KEPT, logits)
    total = weight = 0.0
    for number in range(num_architectures(KEPT)):
        genotype, probability = decode(number, KEPT), 1.0
        for source, node, operation in genotype.cells["normal"]:
            row = shares["normal"][cell.row(source, node) or 0]
            probability *= float(row[OPERATIONS.index(operation)] / row[1:].sum())
        probability /= math.comb(2, 2) * math.comb(3, 2)  # every pair of edges of a node is equally likely
        total += probability * table.cost(genotype, "flops", KEPT)
        weight += probability
    assert weight == pytest.approx(1, rel=1e-12)
    assert float(target_of(tmp_path, table, 1e3).in_loss(shares, KEPT)) == pytest.approx(total, rel=1e-12)


def test_where_all_edges_are_kept_it_is_the_expected_cost(tmp_path: Path) -> None:
    table = Profiler(SHORT, (1, 8, 8), channels=8).table(["flops"])
    shares = shares_of(SHORT, {"chain": torch.randn(3, 4, dtype=torch.float64)})
    penalty = target_of(tmp_path, table, 1e6)
    assert float(penalty.in_loss(shares, SHORT)) == pytest.approx(float(penalty.expected(shares)), rel=1e-12)
    weighed = ExpectedCost(penalty.table, 1e6, "flops")
    assert torch.equal(weighed.in_loss(shares, SHORT), weighed.expected(shares))


@pytest.mark.parametrize("space", [SHORT, KEPT, FEWER], ids=lambda space: space.name)
def test_the_range_is_that_of_all_genotypes(space: SearchSpace) -> None:
    table = made(space)
    costs = [table.cost(decode(number, space), "flops", space) for number in range(num_architectures(space))]
    assert cost_range(table, "flops", space) == (min(costs), max(costs))


def test_loss_and_gradient(tmp_path: Path) -> None:
    """The formula, and its gradient by central differences."""
    penalty = target_of(tmp_path, made(KEPT), 150.0)
    logits = torch.randn(KEPT.cells["normal"].shape, dtype=torch.float64, requires_grad=True)
    loss = torch.tensor(1.7, dtype=torch.float64, requires_grad=True)

    def total(logits: Tensor, loss: Tensor) -> Tensor:
        return penalty.total(loss, {}, shares_of(KEPT, {"normal": logits}), at(KEPT, 0.3))

    expected = float(penalty.in_loss(shares_of(KEPT, {"normal": logits}), KEPT))
    assert float(total(logits, loss)) == pytest.approx(1.7 + 0.3 * (expected / 150 - 1), rel=1e-12)
    assert torch.autograd.gradcheck(total, (logits, loss))


def test_without_a_multiplier_it_is_the_loss_itself(tmp_path: Path) -> None:
    loss, shares = torch.tensor(1.7), shares_of(KEPT, {"normal": torch.randn(KEPT.cells["normal"].shape)})
    assert target_of(tmp_path, made(KEPT), 150.0).total(loss, {}, shares, at(KEPT, 0.0)) is loss


def test_nothing_to_select_costs_nothing(tmp_path: Path) -> None:
    """A sparse relaxation may put all of an edge on `none`: the cost and its gradient stay finite."""
    share = torch.tensor([1.0, 0.0, 0.0]).repeat(5, 1).double().requires_grad_()
    cost = target_of(tmp_path, made(KEPT), 150.0).in_loss({"normal": share}, KEPT)
    (slope,) = torch.autograd.grad(cost, share)
    assert (float(cost), bool(slope.isfinite().all())) == (50.0, True)


def test_the_multiplier_climbs_above_the_target_and_falls_to_zero_below(tmp_path: Path) -> None:
    assert ascended(0.5, 0.1, 150.0, 100.0) == pytest.approx(0.55, rel=1e-12)
    assert ascended(0.5, 0.1, 50.0, 100.0) == pytest.approx(0.45, rel=1e-12)
    assert ascended(0.5, 0.1, 100.0, 100.0) == 0.5
    falling = list(itertools.accumulate(range(20), lambda held, _: ascended(held, 0.1, 50.0, 100.0), initial=0.5))
    assert falling == sorted(falling, reverse=True)
    assert falling[-1] == 0.0
    penalty = ExpectedCost(written(tmp_path, made(KEPT)), measure="flops", target=100.0, rate=4.0)
    assert penalty.ascend(0.5, 150.0, 0.01) == ascended(0.5, 0.04, 150.0, 100.0)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "neither": ({}, "Expected either `reference` or `target`, a cost to weigh or one to meet, but got neither."),
    "both": ({"reference": 80.0, "target": 90.0}, "a cost to weigh or one to meet, but got 80.0 and 90.0."),
    "zero": ({"target": 0.0}, "Expected `target` to be positive, but got 0.0."),
    "not a number": ({"target": math.nan}, "Expected `target` to be positive, but got nan."),
    "a weight": ({"target": 9.0, "weight": 0.3}, "Expected no `weight` beside `target`, whose multiplier is learned, "),
    "a form": ({"target": 9.0, "form": "linear"}, "Expected no `form` beside `target`"),
    "no rate": ({"target": 9.0, "rate": 0.0}, "Expected `rate` to be positive, but got 0.0."),
}


@pytest.mark.parametrize("case", WRONG)
def test_bad_arguments_are_refused(case: str) -> None:
    options, says = WRONG[case]
    with pytest.raises(ValueError, match=re.escape(says)):
        ExpectedCost("costs.json", **options)


def test_a_target_that_no_architecture_meets_is_refused(tmp_path: Path) -> None:
    low, _ = cost_range(made(KEPT), "flops", KEPT)
    says = (
        f"Expected `target` to be at least {low:g} multiply-adds for an image, the flops of the cheapest architecture"
    )
    with pytest.raises(ValueError, match=re.escape(says)):
        target_of(tmp_path, made(KEPT), low - 1).check(KEPT)
    target_of(tmp_path, made(KEPT), low).check(KEPT)


def test_it_is_for_shares_that_sum_to_one(tmp_path: Path) -> None:
    assert target_of(tmp_path, made(KEPT), 150.0).wants == "normalised"
    assert ExpectedCost(written(tmp_path, made(KEPT)), 150.0).wants == "any"
