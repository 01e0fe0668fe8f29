"""A search by FairDARTS moves every operation by itself, and ends with a genotype of as many edges as it found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from robustnas.variants import FairDARTS
from runs import fit

from robustnas.analysis.history import History
from robustnas.analysis.judging import judge_run
from robustnas.networks.mixture import one_hots
from robustnas.reports.page import report
from robustnas.runs.record import Run
from robustnas.spaces import DARTSFewerEdges, Genotype
from robustnas.strategies import Sigmoid, Strongest, Threshold, ZeroOne
from robustnas.training.architecture import Found

EMPTY = "DARTSFewerEdges normal: - | reduce: -"


def small(**options: Any) -> FairDARTS:
    return FairDARTS(**{"space": "DARTSFewerEdges", "layers": 3, "channels": 2, "image_channels": 1, **options})


def test_the_settings_are_those_of_the_original() -> None:
    module = small()
    assert module.relaxation == Sigmoid()
    assert module.penalty == ZeroOne(10.0, "l2")
    assert module.selection == Threshold(0.85, "sparse")
    assert (module.arch_lr, module.arch_betas, module.arch_weight_decay) == (3e-3, (0.9, 0.999), 1e-3)
    assert (module.lr, module.lr_min) == (0.005, 0.001)
    assert all(bool((alpha == 0).all()) for alpha in module.alphas.values())
    assert all(bool((share == 0.5).all()) for share in module.shares().values())


def test_a_search_leaves_a_record_whose_cells_may_be_empty(tmp_path: Path) -> None:
    module = small(arch_lr=0.05)
    fit(tmp_path, module, drawings=True, max_epochs=2, limit_train_batches=1, limit_val_batches=1)
    run = Run(tmp_path)
    assert str(module.genotype()) == str(run.genotype()) == EMPTY
    assert (tmp_path / "genotype.svg").is_file()
    history = History.of_run(tmp_path)
    assert history.independent
    for kind, share in module.shares().items():
        assert np.allclose(history.shares(1)[kind], share.detach().numpy(), atol=1e-6)
        assert not np.allclose(history.shares(1)[kind].sum(axis=1), 1)
    verdict = judge_run(tmp_path)
    assert "disconnected" in {evidence.threshold.name for evidence in verdict.evidence}
    assert "Genotype after each epoch" in report([tmp_path])
    with pytest.raises(ValueError, match=r"^Expected `genotype` to lead from an input to .* normal cell has 0 edges, "):
        Found(str(tmp_path), channels=2, layers=3).build(10, 1)


def test_a_search_finds_as_many_edges_as_reach_the_threshold(tmp_path: Path) -> None:
    module = small(arch_lr=0.05, selection=Threshold(0.51))
    fit(tmp_path, module, max_epochs=2, limit_train_batches=2, limit_val_batches=1)
    genotype = module.genotype().validate(DARTSFewerEdges)
    shares = module.shares()
    for kind, choices in genotype.cells.items():
        cell = DARTSFewerEdges.cells[kind]
        for choice in choices:
            row = cell.row(choice.source, choice.node)
            assert shares[kind][row, cell.edges[row].operations.index(choice.operation)] >= 0.51
    assert 0 < sum(map(len, genotype.cells.values())) <= 16
    supernet = module.supernet.eval()
    assert supernet(torch.randn(2, 1, 8, 8), one_hots(module.space, genotype, torch.zeros(1))).isfinite().all()


def test_operations_gain_without_others_loss(tmp_path: Path) -> None:
    module = small(space="NASBench201", layers=None, cells=1, selection=Strongest())
    fit(tmp_path, module, limit_train_batches=3, limit_val_batches=0)
    sums = module.shares()["cell"].sum(dim=1)
    assert (sums - 2.5).abs().max() > 1e-3
    module.genotype().validate(module.space)


def test_a_genotype_with_a_path_in_each_cell_is_built() -> None:
    cells = "0-2 sep_conv_3x3"
    network = Found(f"DARTSFewerEdges normal: {cells} | reduce: {cells}", channels=2, layers=3).build(10, 1)
    assert network(torch.randn(2, 1, 8, 8)).shape == (2, 10)
    lost = Genotype.from_text(f"DARTSFewerEdges normal: {cells} | reduce: 2-3 skip_connect")
    with pytest.raises(ValueError, match=r"the reduce cell has 1 edges, none of which does, and its network would"):
        Found(str(lost), channels=2, layers=3).build(10, 1)
