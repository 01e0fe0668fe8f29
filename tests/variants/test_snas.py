"""A search by SNAS steps α and the weights once a batch at one soft sample, and its settings are the paper's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback
from robustnas.variants import DARTS, SNAS
from runs import fit
from torch import Tensor

from robustnas.spaces import DARTSAllEdges
from robustnas.strategies import Concrete, FirstOrder, LargestDrop, SingleLevel, Strongest


def small(**options: Any) -> SNAS:
    return SNAS(**{"space": "NASBench201", "cells": 1, "channels": 4, "image_channels": 1, **options})


class Samples(Callback):
    """Keeps the weights of operations of every pass in training, and in validation."""

    def __init__(self) -> None:
        self.trained: list[Tensor] = []
        self.validated: list[Tensor] = []

    def on_fit_start(self, trainer: Any, module: Any) -> None:
        def keep(network: Any, given: Any) -> None:
            held = self.trained if network.training else self.validated
            held.append(given[1]["cell"].operations.detach().clone())

        module.supernet.register_forward_pre_hook(keep)


def test_the_settings_are_those_of_the_paper() -> None:
    module = small()
    assert module.relaxation == Concrete(1.0, 0.03, evaluation="sampled")
    assert module.gradient == SingleLevel()
    assert module.selection == Strongest()
    darts = DARTS(space="NASBench201", cells=1)
    for name in ("lr", "lr_min", "momentum", "weight_decay", "clip", "arch_lr", "arch_betas", "arch_weight_decay"):
        assert getattr(module, name) == getattr(darts, name), name
    deviation = SNAS(space=DARTSAllEdges, channels=2, layers=3).alphas["normal"].std()
    assert 0.008 < float(deviation) < 0.012


def test_every_step_is_one_pass_at_a_sample_of_its_own_that_grows_cold(tmp_path: Path) -> None:
    samples = Samples()
    running = fit(tmp_path, small(), callbacks=[samples], max_epochs=4, limit_train_batches=5, limit_val_batches=2)
    assert running.global_step == len(samples.trained) == 20
    assert len({tuple(sample.flatten().tolist()) for sample in samples.trained}) == 20
    largest = [float(sample.amax(1).mean()) for sample in samples.trained]
    assert max(largest[:5]) < 0.75
    assert min(largest[-5:]) > 0.85
    for epoch in range(4):  # a validation has one sample
        one, other = samples.validated[2 * epoch : 2 * epoch + 2]
        assert torch.equal(one, other)


def test_the_mean_of_the_initial_alpha_has_no_effect() -> None:
    one, other = small(), small()
    with torch.no_grad():
        other.alphas["cell"] += 1
    context = one.context("arch")
    first, second = one.mixtures(context)["cell"], other.mixtures(one.context("arch"))["cell"]
    torch.testing.assert_close(first.operations, second.operations, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(one.shares()["cell"], other.shares()["cell"])


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"gradient": FirstOrder()}, {"selection": LargestDrop("loss", finetune=0)}])
def test_samples_serve_two_levels_and_other_selections_too(tmp_path: Path, options: Any) -> None:
    module = small(**options)
    fit(tmp_path, module, limit_train_batches=2)
    module.genotype().validate(module.space)


def test_every_edge_keeps_an_operation_or_is_absent(tmp_path: Path) -> None:
    module = SNAS(space="DARTSAllEdges", channels=2, layers=3, image_channels=1)
    with torch.no_grad():
        module.alphas["normal"][:5, 0] += 5  # none
    fit(tmp_path, module, limit_train_batches=1)
    genotype = module.genotype().validate(DARTSAllEdges)
    assert {kind: len(choices) for kind, choices in genotype.cells.items()} == {"normal": 14, "reduce": 14}
    assert [choice.operation for choice in genotype.cells["normal"][:5]] == ["none"] * 5
