"""The logarithmic cost is that of the original, cell by cell; from a table it is its formula."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
import torch
from golden import check, golden, part
from torch import Tensor

from robustnas.cost import Profiler
from robustnas.spaces import DARTS, NASBench201
from robustnas.strategies import LogCost, StepContext
from robustnas.strategies.concrete import concrete
from robustnas.strategies.log_cost import log_cost

MOMENT = StepContext("arch", 0, 1, torch.Generator())
CELLS = {"normal": ["cells.0"], "reduce": ["cells.1", "cells.2"]}


@pytest.mark.parametrize("temperature", ["1.0", "0.3"])
def test_it_is_the_resource_term_of_the_original(temperature: str) -> None:
    arrays, meta = golden("snas")
    out, bounds = part(arrays, f"out/temp_{temperature}/"), meta["tolerances"]
    alphas = {kind: arrays[f"alpha/{kind}"].clone().requires_grad_() for kind in CELLS}
    found: dict[str, Tensor] = {}
    for kind, cells in CELLS.items():
        weights = concrete(alphas[kind], -(-arrays[f"uniform/{kind}"].log()).log(), float(temperature))
        costs = [[arrays[f"out/cost/{cell}/{name}"] for name in ("size", "flops", "mac")] for cell in cells]
        found[kind] = torch.stack([log_cost(weights, one) for one in costs]).sum()
        check(found[kind], out[f"log_resource/{kind}"], **bounds["forward"])
    loss = 1e-2 * (found["normal"] / 6 + found["reduce"] / 2)
    check(loss, out["resource_loss"], **bounds["forward"])
    for kind, gradient in zip(alphas, torch.autograd.grad(loss, list(alphas.values())), strict=True):
        check(gradient, out[f"grad_alpha_resource/{kind}"], **bounds["gradient"])


def written(folder: Path) -> str:
    table = Profiler(NASBench201, (1, 8, 8), channels=2, cells=1).table(["parameters", "flops", "memory_access"])
    path = folder / "costs.json"
    path.write_text(json.dumps(table.to_json()), encoding="utf-8")
    return str(path)


def test_it_is_its_formula_of_the_shares(tmp_path: Path) -> None:
    penalty = LogCost(written(tmp_path), 0.3)
    penalty.check(NASBench201)
    costs = json.loads((tmp_path / "costs.json").read_text(encoding="utf-8"))["kinds"]["cell"]
    alpha = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)

    def expected(rows: list[list[float]]) -> float:
        total = 0.0
        for edge, row in enumerate(rows):
            for measure in ("parameters", "flops", "memory_access"):
                mean = sum(s * c for s, c in zip(row, costs[measure][edge], strict=True))
                total += math.log(max(mean, 1.0)) / 3
        return 0.3 * total

    shares = {"cell": alpha.softmax(-1)}
    value = penalty.of({"cell": alpha}, shares, MOMENT)
    assert float(value) == pytest.approx(expected(shares["cell"].tolist()), rel=1e-12)
    loss = torch.tensor(2.0, dtype=torch.float64)
    assert float(penalty.total(loss, {}, shares, MOMENT)) == pytest.approx(2 + float(value), rel=1e-12)
    assert torch.autograd.gradcheck(lambda a: penalty.of({}, {"cell": a.softmax(-1)}, MOMENT), alpha)


def test_an_edge_that_costs_nothing_adds_nothing_and_has_no_gradient(tmp_path: Path) -> None:
    share = torch.zeros(6, 5, dtype=torch.float64)
    share[:, 0] = 1  # none
    share.requires_grad_()
    value = LogCost(written(tmp_path)).of({}, {"cell": share}, MOMENT)
    value.backward()
    assert float(value) == 0
    assert bool((share.grad == 0).all())


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    table = written(tmp_path)
    sentences = {
        "Expected `weight` to be zero or more, but got -1.0.": lambda: LogCost(table, -1.0),
        "Expected `weight` to be zero or more, but got nan.": lambda: LogCost(table, math.nan),
        "Expected `measures` to be distinct ones of ['parameters', ": lambda: LogCost(table, measures=()),
        ", but got ('flops', 'flops').": lambda: LogCost(table, measures=("flops", "flops")),
        ", but got ('size',).": lambda: LogCost(table, measures=("size",)),  # type: ignore[arg-type]
        f"Expected `table` to fit the search, but {table} does not. Expected a cost table of DARTS": lambda: LogCost(
            table
        ).check(DARTS),
        "Expected a cost table that holds 'latency', but got": lambda: LogCost(table, measures=("latency",)).check(
            NASBench201
        ),
        "Expected none.json to be a cost table that `robustnas profile` wrote": lambda: LogCost("none.json").check(
            NASBench201
        ),
        "Expected `table` to have costs of the shape (6, 4) for 'cell', but ": lambda: LogCost(table).of(
            {}, {"cell": torch.ones(6, 4)}, MOMENT
        ),
    }
    for sentence, call in sentences.items():
        with pytest.raises(ValueError, match=re.escape(sentence)):
            call()
    assert LogCost(table, measures=["flops"]).measures == ("flops",)  # type: ignore[arg-type]
