"""The genotype within a cost, against all genotypes of a space."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
from test_cost_target import FEWER, KEPT, made
from test_hardware import written
from torch import Tensor

from robustnas.cost import CostTable
from robustnas.spaces import DARTS, Genotype, NASBench201, SearchSpace, decode, num_architectures
from robustnas.strategies import ExpectedCost, Strongest, WithinTarget
from robustnas.strategies.cost_target import cost_range

Weights = dict[str, Tensor]
SEEDS = range(4)


def within(folder: Path, table: CostTable, target: float) -> WithinTarget:
    return WithinTarget(written(folder, table), target, "flops")


def shares(space: SearchSpace, seed: int, sharp: float = 1.0) -> Weights:
    """Shares as of a softmax, which do not sum to one where edges have weights of their own."""
    generator, found = torch.Generator().manual_seed(seed), {}
    for kind, cell in space.cells.items():
        logits = sharp * torch.randn(cell.shape, generator=generator, dtype=torch.float64)
        found[kind] = logits.softmax(1) * torch.rand(len(cell.edges), 1, generator=generator, dtype=torch.float64)
    return found


def every_cell(table: CostTable, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Columns, cost and sum of log-weights of the 15,625 cells of NAS-Bench-201."""
    columns = torch.cartesian_prod(*[torch.arange(5)] * 6)
    costs = torch.tensor(table.kinds["cell"]["flops"], dtype=torch.float64)
    edges = torch.arange(6)
    return columns, table.rest["flops"] + costs[edges, columns].sum(1), weights.log()[edges, columns].sum(1)


@pytest.mark.parametrize("sharp", [0.01, 1.0, 20.0])
def test_it_is_the_best_of_the_lagrangian_over_all_cells(tmp_path: Path, sharp: float) -> None:
    table = made(NASBench201)
    low, high = cost_range(table, "flops", NASBench201)
    for seed in SEEDS:
        weights = shares(NASBench201, seed, sharp)
        columns, costs, logs = every_cell(table, weights["cell"])
        for part in (0.0, 0.05, 0.3, 0.6):
            target = low + part * (high - low)
            rule = within(tmp_path, table, target)
            mu, genotype = rule.multiplier(NASBench201, weights), rule.genotype(NASBench201, weights)
            names = [choice.operation for choice in genotype.cells["cell"]]
            chosen = torch.tensor([NASBench201.operations.index(name) for name in names])
            (own,) = (columns == chosen).all(1).nonzero()[0]
            assert costs[own] == table.cost(genotype, "flops") <= target
            objective = logs - mu * costs / target
            assert objective.max() <= objective[own] + 1e-9 * (1 + mu)
            assert logs[costs <= costs[own]].max() <= logs[own] + 1e-9  # none that costs as little is liked more
            if mu > 0:  # the smallest: with a little less, the best costs more than the target
                assert costs[(logs - mu * (1 - 1e-6) * costs / target).argmax()] > target


def log_of(genotype: Genotype, space: SearchSpace, weights: Weights) -> float:
    found = 0.0
    for kind, choices in genotype.cells.items():
        cell = space.cells[kind]
        for source, node, operation in choices:
            row = cell.row(source, node) or 0
            found += math.log(weights[kind][row, cell.edges[row].operations.index(operation)])
    return found


@pytest.mark.parametrize("space", [KEPT, FEWER], ids=lambda space: space.name)
def test_so_it_is_where_a_node_keeps_some_of_its_edges(tmp_path: Path, space: SearchSpace) -> None:
    table, cell = made(space), space.cells["normal"]
    edges = sum(cell.kept(node) for node in cell.nodes)
    every = [decode(number, space) for number in range(num_architectures(space))]
    every = [one for one in every if len({choice[:2] for choice in one.cells["normal"]}) == edges]
    every = [one for one in every if len(one.cells["normal"]) == edges]  # one operation on each
    costs = [table.cost(one, "flops", space) for one in every]
    for seed in SEEDS:
        weights = shares(space, seed)
        logs = [log_of(one, space, weights) for one in every]
        for part in (0.0, 0.1, 0.4, 1.0):
            target = min(costs) + part * (max(costs) - min(costs))
            rule = within(tmp_path, table, target)
            mu, genotype = rule.multiplier(space, weights), rule.genotype(space, weights)
            cost = table.cost(genotype, "flops", space)
            assert cost <= target
            objective = log_of(genotype, space, weights) - mu * cost / target
            pairs = list(zip(logs, costs, strict=True))
            assert max(log - mu * c / target for log, c in pairs) <= objective + 1e-9 * (1 + mu)
            assert max(log for log, c in pairs if c <= cost) <= log_of(genotype, space, weights) + 1e-9
            assert (mu == 0) == (table.cost(Strongest().genotype(space, weights), "flops", space) <= target)
    says = f"Expected `target` to be at least {min(costs):g} multiply-adds for an image, the flops of the cheapest "
    with pytest.raises(ValueError, match=re.escape(says)) as refusal:
        within(tmp_path, table, min(costs) - 1).check_files(space)
    assert ("that keeps all the edges it may" in str(refusal.value)) == cell.fewer


def test_both_kinds_of_cell_share_the_target(tmp_path: Path) -> None:
    table, weights = made(DARTS), shares(DARTS, 0)
    strongest = Strongest().genotype(DARTS, weights)
    target = 0.7 * table.cost(strongest, "flops")
    genotype = within(tmp_path, table, target).genotype(DARTS, weights)
    assert table.cost(genotype, "flops") <= target
    assert all(genotype.cells[kind] != strongest.cells[kind] for kind in DARTS.cells)
    assert "none" not in {choice.operation for cell in genotype.cells.values() for choice in cell}
    assert within(tmp_path, table, 1e9).genotype(DARTS, weights) == strongest


def test_what_has_no_weight_stays_out(tmp_path: Path) -> None:
    table, weights = made(NASBench201), shares(NASBench201, 1)
    costs = torch.tensor(table.kinds["cell"]["flops"])
    rows = torch.arange(6)
    weights["cell"][rows, costs.argmin(1)] = 0.0  # the cheapest of every edge was pruned
    left = costs.where(weights["cell"] > 0, torch.inf)
    least = float(left.min(1).values.sum()) + 50
    tight, wide = (within(tmp_path, table, target) for target in (least - 1, least))
    for rule in (tight, wide):
        genotype = rule.genotype(NASBench201, weights)
        assert table.cost(genotype, "flops") == least
    assert tight.says(genotype, NASBench201).endswith("; operations that have a share allow no less.")
    assert wide.says(genotype, NASBench201) == (
        f"Cost: flops of the genotype {least:g} multiply-adds for an image, target {least:g}."
    )


def test_equal_shares_and_float32_are_no_exception(tmp_path: Path) -> None:
    table = made(NASBench201)
    low, high = cost_range(table, "flops", NASBench201)
    rule = within(tmp_path, table, (low + high) / 3)
    for weights in (torch.full((6, 5), 0.2), torch.full((6, 5), 0.2).double()):
        assert table.cost(rule.genotype(NASBench201, {"cell": weights}), "flops") <= rule.target


def test_it_refuses_what_an_expected_cost_refuses(tmp_path: Path) -> None:
    table = made(NASBench201)
    path, low = written(tmp_path, table), cost_range(table, "flops", NASBench201)[0]
    for space, given in (
        (DARTS, {"table": path, "target": 1e3, "measure": "flops"}),
        (NASBench201, {"table": path, "target": 1e3}),
        (NASBench201, {"table": path, "target": low - 1, "measure": "flops"}),
        (NASBench201, {"table": "none.json", "target": 1e3}),
    ):
        with pytest.raises(ValueError, match="Expected ") as refusal:
            ExpectedCost(**given).check(space)
        with pytest.raises(ValueError, match=re.escape(str(refusal.value))):
            WithinTarget(**given).genotype(space, shares(space, 0))
    with pytest.raises(ValueError, match=r"Expected `target` to be positive, but got -1\.0\."):
        WithinTarget(path, -1.0)
