"""The cost of the present genotype, against the network that it stands for."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from robustnas.diagnostics import Budget, GenotypeCost
from robustnas.variants import PCDARTS
from runs import fit, rows, search
from torch.utils.flop_counter import FlopCounterMode

from robustnas.cost import Profiler
from robustnas.networks import DiscreteNetwork


def counted(module: Any) -> dict[str, int]:
    """Parameters and multiply-adds of the discrete network of a search."""
    given = module.description["init_args"]
    with torch.device("meta"):
        network = DiscreteNetwork(
            module.space, module.genotype(), given["channels"], given["layers"], given["cells"], given["num_classes"],
            given["image_channels"], given["stem"], convolution="separable",
        ).eval()  # fmt: skip
        with FlopCounterMode(display=False) as counter:
            network(torch.empty(1, 1, 8, 8))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return {"genotype/parameters": parameters, "genotype/flops": counter.get_total_flops() // 2}


@pytest.mark.parametrize(
    "module",
    [
        lambda: search("S2", channels=6, num_classes=10),
        lambda: search("NASBench201"),
        lambda: PCDARTS(space="DARTS", layers=3, channels=4, image_channels=1),
    ],
    ids=["S2", "NASBench201", "partial channels"],
)
def test_the_cost_is_that_of_the_discrete_network(tmp_path: Path, module: Any) -> None:
    module = module()
    for alpha in module.alphas.values():
        alpha.data.normal_()
    running = fit(tmp_path, module, max_epochs=1, limit_train_batches=1, callbacks=[GenotypeCost(budget=None)])
    expected = counted(module)
    assert {name: value for name, value in rows(running)[0].items() if name in expected} == expected


def test_the_table_is_computed_once_and_free_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, table = [], Profiler.table
    monkeypatch.setattr(Profiler, "table", lambda *arguments: (calls.append(1), table(*arguments))[1])
    measure = GenotypeCost(budget=None)
    assert not measure.free
    fit(tmp_path / "first", max_epochs=1, limit_train_batches=1, callbacks=[measure])
    assert measure.free
    measure.budget = Budget(0.0)
    running = fit(tmp_path / "then", max_epochs=3, limit_train_batches=1, callbacks=[measure])
    assert len(calls) == 1
    assert all("genotype/flops" in row for row in rows(running))  # although nothing may be spent


def test_a_cost_that_cannot_be_computed_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: Any) -> None:
        raise NotImplementedError("no such kernel\non meta")

    monkeypatch.setattr(Profiler, "table", fails)
    with caplog.at_level(logging.INFO):
        running = fit(tmp_path, max_epochs=2, limit_train_batches=1, callbacks=[GenotypeCost(budget=None)])
    assert not any("genotype/flops" in row for row in rows(running))
    said = [record.message for record in caplog.records if "cost of genotypes" in record.message]
    assert said == ["The cost of genotypes cannot be computed: no such kernel on meta"]
