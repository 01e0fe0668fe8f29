"""A search by GDAS moves α along sampled paths, resumes exactly, and survives a network that passes nothing on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from robustnas.variants import DARTS, GDAS
from runs import StopAfter, differing, fit, rows, state
from torch import Tensor

from robustnas.strategies import FirstOrder, GumbelOneHot, Unrolled, UnrolledByDifferences

GHOST = GumbelOneHot(ghost_gradient=True, evaluation="sampled")


def small(**options: Any) -> GDAS:
    settings = {"space": "NASBench201", "cells": 1, "channels": 4, "image_channels": 1}
    return GDAS(**{**settings, **options})


class Seen(Callback):
    """Writes down which operations each pass computed, and α after each step."""

    def __init__(self) -> None:
        self.chosen: list[Tensor] = []
        self.alphas: list[Tensor] = []

    def on_fit_start(self, trainer: Trainer, module: Any) -> None:
        module.supernet.register_forward_pre_hook(lambda _, args: self.chosen.append(args[1]["cell"].active))

    def on_train_batch_end(self, trainer: Trainer, module: Any, *_: Any) -> None:
        self.alphas.append(module.alphas["cell"].detach().clone())


def test_the_settings_are_those_of_the_original() -> None:
    module = small()
    assert module.relaxation == GumbelOneHot(10.0, 0.1, ghost_gradient=False, evaluation="argmax")
    assert (module.step_order, module.nesterov, module.weight_decay) == ("weights_first", True, 5e-4)
    darts = DARTS(space="NASBench201", cells=1)
    for name in ("lr", "lr_min", "momentum", "clip", "arch_lr", "arch_betas", "arch_weight_decay", "gradient"):
        assert getattr(module, name) == getattr(darts, name), name


@pytest.mark.parametrize("relaxation", [GumbelOneHot(), GHOST], ids=["paper", "ghosts"])
def test_each_step_computes_one_path_of_its_own(tmp_path: Path, relaxation: GumbelOneHot) -> None:
    seen = Seen()
    running = fit(tmp_path, small(relaxation=relaxation), callbacks=[seen], limit_val_batches=0)
    assert running.global_step == 5
    assert len(seen.chosen) == 10  # weights, then α
    assert all(torch.equal(chosen.sum(1), torch.ones(6, dtype=torch.long)) for chosen in seen.chosen)
    assert len({tuple(chosen.flatten().tolist()) for chosen in seen.chosen}) == 10
    moved = [not torch.equal(a, b) for a, b in zip(seen.alphas, seen.alphas[1:], strict=False)]
    assert all(moved)


def test_a_resumed_search_is_the_undisturbed_one_bit_for_bit(tmp_path: Path) -> None:
    short: dict[str, Any] = {"max_epochs": 3, "limit_train_batches": 3}
    whole = fit(tmp_path / "whole", small(relaxation=GHOST), **short)
    folder = tmp_path / "killed"
    saver = ModelCheckpoint(folder, "last", enable_version_counter=False, every_n_train_steps=4)
    with pytest.raises(RuntimeError, match="killed"):
        fit(folder, small(relaxation=GHOST), callbacks=[saver, StopAfter(6)], **short)
    resumed = fit(folder, small(relaxation=GHOST), folder / "last.ckpt", **short)
    assert resumed.global_step == whole.global_step == 9
    assert differing(state(resumed), state(whole)) == []
    assert rows(resumed) == rows(whole)
    restored = GDAS.load_from_checkpoint(folder / "last.ckpt")
    assert restored.relaxation == GHOST
    assert restored.step_order == "weights_first"


@pytest.mark.parametrize(
    "gradient", [FirstOrder(), Unrolled(), UnrolledByDifferences()], ids=lambda g: type(g).__name__
)
def test_a_path_of_nothing_but_none_is_survived(tmp_path: Path, gradient: Any) -> None:
    module = small(gradient=gradient, arch_weight_decay=0.0)
    with torch.no_grad():
        module.alphas["cell"].fill_(-100.0)[:, 0] = 0.0
    before = module.alphas["cell"].detach().clone()
    bias = module.supernet.body.classifier.bias.detach().clone()
    fit(tmp_path, module, limit_train_batches=2)
    assert torch.equal(module.alphas["cell"], before)
    assert not torch.equal(module.supernet.body.classifier.bias, bias)
    assert module.genotype().count("none") == {"cell": 6}
