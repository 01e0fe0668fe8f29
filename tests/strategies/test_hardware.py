"""The expected cost in α's loss: the mean over all architectures, the original's numbers, and what is refused."""

from __future__ import annotations

import itertools
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from golden import check, golden
from torch import Tensor

from robustnas.cost import CostTable, Profiler
from robustnas.spaces import DARTS, Choice, Genotype, NASBench201, SearchSpace, complete_cell, mobile
from robustnas.strategies import ExpectedCost, StepContext

MOMENT = StepContext("arch", 0, 1, torch.Generator())
SHORT = mobile("short", (1, 2), ("mbconv_3x3_3", "mbconv_3x3_6", "mbconv_7x7_3"))


def written(folder: Path, table: CostTable) -> str:
    path = folder / "costs.json"
    path.write_text(json.dumps(table.to_json()), encoding="utf-8")
    return str(path)


def flat(folder: Path, rest: float, *costs: float) -> str:
    """A table of one edge."""
    names = tuple(f"op{k}" for k in range(len(costs)))
    return written(folder, CostTable("flat", {"cell": (names,)}, {"cell": {"latency": (costs,)}}, {"latency": rest}))


def shares_of(space: SearchSpace, logits: dict[str, Tensor]) -> dict[str, Tensor]:
    masked = {}
    for kind, cell in space.cells.items():
        widths = torch.tensor([len(edge.operations) for edge in cell.edges])
        masked[kind] = logits[kind].masked_fill(torch.arange(cell.shape[1]) >= widths[:, None], -torch.inf).softmax(1)
    return masked


def test_it_is_the_mean_over_all_architectures(tmp_path: Path) -> None:
    table = Profiler(SHORT, (1, 8, 8), channels=8).table()
    logits = {"chain": torch.randn(3, 4, dtype=torch.float64)}
    shares, edges = shares_of(SHORT, logits), SHORT.cells["chain"].edges
    for measure in ("parameters", "flops"):
        mean = 0.0
        for columns in itertools.product(*(range(len(edge.operations)) for edge in edges)):
            probability = math.prod(float(shares["chain"][k, column]) for k, column in enumerate(columns))
            choices = [Choice(e.source, e.node, e.operations[c]) for e, c in zip(edges, columns, strict=True)]
            mean += probability * table.cost(Genotype("short", {"chain": choices}), measure, SHORT)
        penalty = ExpectedCost(written(tmp_path, table), 1e5, measure)
        assert float(penalty.expected(shares)) == pytest.approx(mean, rel=1e-12)


def test_kinds_add_up(tmp_path: Path) -> None:
    table = Profiler(DARTS, (1, 8, 8), channels=2, layers=3).table(["flops"])
    penalty = ExpectedCost(written(tmp_path, table), 1e5, "flops")
    shares = {kind: torch.rand(cell.shape, dtype=torch.float64) for kind, cell in DARTS.cells.items()}
    total = table.rest["flops"] + sum(
        float(shares[kind][row, column]) * cost
        for kind, costs in table.kinds.items()
        for row, line in enumerate(costs["flops"])
        for column, cost in enumerate(line)
    )
    assert float(penalty.expected(shares)) == pytest.approx(total, rel=1e-12)


def test_losses_and_slopes_are_those_of_the_original(tmp_path: Path) -> None:
    arrays, _ = golden("proxyless")
    table = flat(tmp_path, 10.0, 40.0, 140.0)
    forms: dict[str, dict[str, Any]] = {"add#linear": {"form": "linear"}, "mul#log": {"form": "log"}}
    names = {"lambda": "weight", "alpha": "factor", "beta": "power"}
    checked = 0
    for case in arrays["out/regularised_loss"]:
        if case["type"] is None:
            continue
        options = {names[name]: value for name, value in case["params"].items()}
        penalty = ExpectedCost(table, case["ref_value"], **forms[case["type"]], **options)
        share = torch.tensor((case["expected_value"] - 50) / 100, dtype=torch.float64, requires_grad=True)
        loss = penalty.total(
            torch.tensor(case["ce_loss"]).double(), {}, {"cell": torch.stack([1 - share, share])[None]}, MOMENT
        )
        assert loss.item() == pytest.approx(case["loss"], rel=1e-7)  # the loss was given in single precision
        (slope,) = torch.autograd.grad(loss, share)
        assert float(slope) == pytest.approx(100 * case["dloss_dexpected"], rel=1e-7)
        checked += 1
    assert checked == 4


@pytest.mark.parametrize("form", ["log", "linear"])
def test_gradients_are_finite_differences(tmp_path: Path, form: Any) -> None:
    table = Profiler(SHORT, (1, 8, 8), channels=8).table(["flops"])
    penalty = ExpectedCost(written(tmp_path, table), 1e5, "flops", form)
    logits, loss = torch.randn(3, 4).double().requires_grad_(), torch.tensor(1.7).double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda logits, loss: penalty.total(loss, {}, shares_of(SHORT, {"chain": logits}), MOMENT), (logits, loss)
    )


def test_the_defaults_are_those_of_the_paper(tmp_path: Path) -> None:
    table, shares = flat(tmp_path, 20.0, 80.0), {"cell": torch.ones(1, 1, dtype=torch.float64)}
    loss = torch.tensor(2.0, dtype=torch.float64)
    log = ExpectedCost(table, 80.0).total(loss, {}, shares, MOMENT)
    assert float(log) == pytest.approx(0.2 * 2 * (math.log(100) / math.log(80)) ** 0.3, rel=1e-12)
    linear = ExpectedCost(table, 80.0, form="linear")
    assert float(linear.total(loss, {}, shares, MOMENT)) == pytest.approx(2 + 0.1 * 20 / 80, rel=1e-12)
    assert float(linear.of({}, shares, MOMENT)) == pytest.approx(0.1 * 20 / 80, rel=1e-12)


def test_the_table_is_read_once_and_late(tmp_path: Path) -> None:
    """A part can be described and built again where the file is not; a search reads it before it starts."""
    penalty = ExpectedCost(str(tmp_path / "costs.json"), 80.0)
    flat(tmp_path, 20.0, 80.0)
    shares = {"cell": torch.ones(1, 1)}
    before = penalty.expected(shares)
    (tmp_path / "costs.json").unlink()
    assert torch.equal(penalty.expected(shares), before)
    assert penalty == ExpectedCost(str(tmp_path / "costs.json"), 80.0)
    check(penalty.expected({"cell": torch.ones(1, 1).bfloat16()}).float(), torch.tensor(100.0))


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    table = written(tmp_path, Profiler(NASBench201, (1, 8, 8), channels=2, cells=1).table(["flops"]))
    other = SearchSpace("NASBench201", {"cell": complete_cell(1, 3, ("none", "skip_connect"), (3,))}, "nasbench201")
    cheap = tmp_path / "cheap"
    cheap.mkdir()
    small = CostTable(
        "NASBench201",
        {"cell": tuple(edge.operations for edge in NASBench201.cells["cell"].edges)},
        {"cell": {"latency": ((0.0, 0.1, 0.1, 0.1, 0.1),) * 6}},
        {"latency": 0.5},
    )
    written(cheap, small)
    sentences = {
        "Expected `reference` to be above 1 in the form 'log', but got 1.0.": lambda: ExpectedCost(table, 1.0),
        "Expected `reference` to be above 0 in the form 'linear', but got 0.0.": lambda: ExpectedCost(
            table, 0.0, form="linear"
        ),
        "Expected `power` to be zero or more, but got -0.3.": lambda: ExpectedCost(table, 80.0, power=-0.3),
        "Expected `factor` to be zero or more, but got nan.": lambda: ExpectedCost(table, 80.0, factor=math.nan),
        f"Expected `table` to fit the search, but {table} does not. Expected a cost table of DARTS": lambda: (
            ExpectedCost(table, 80.0, "flops").check(DARTS)
        ),
        "Expected a cost table of NASBench201 in its present form": lambda: ExpectedCost(table, 80.0, "flops").check(
            other
        ),
        "Expected a cost table that holds 'latency', but got": lambda: ExpectedCost(table, 80.0).check(NASBench201),
        "Expected none.json to be a cost table that `robustnas profile` wrote": lambda: ExpectedCost(
            "none.json", 80.0
        ).check(NASBench201),
        "Expected every architecture to cost more than 1 in the form 'log', but by ": lambda: ExpectedCost(
            str(cheap / "costs.json"), 80.0
        ).check(NASBench201),
        "Expected `table` to have costs of the shape (6, 4) for 'cell', but ": lambda: ExpectedCost(
            table, 80.0, "flops"
        ).expected({"cell": torch.ones(6, 4)}),
        "Expected `table` to have costs of the shape (14, 8) for 'normal', but ": lambda: ExpectedCost(
            table, 80.0, "flops"
        ).expected({"normal": torch.ones(14, 8)}),
    }
    for sentence, call in sentences.items():
        with pytest.raises(ValueError, match=re.escape(sentence)):
            call()
    ExpectedCost(str(cheap / "costs.json"), 80.0, form="linear").check(NASBench201)
