"""PC-DARTS is a choice of parts: partial channels, edge weights that are searched and counted, a late start of α."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from golden import check, golden, listing, tolerance
from pytorch_lightning import Trainer
from robustnas.variants import PCDARTS
from runs import fit
from torch import nn

from robustnas.networks import Full, PartialChannels
from robustnas.spaces import DARTS, find_space
from robustnas.strategies import StepContext


def small(**options: Any) -> PCDARTS:
    return PCDARTS(**{"space": "DARTS", "layers": 3, "channels": 4, "image_channels": 1, **options})


def test_defaults_are_those_of_the_paper() -> None:
    module = PCDARTS(layers=3)
    assert (module.arch_lr, module.lr, module.lr_min, module.arch_start) == (6e-4, 0.1, 0.0, 15)
    assert (module.weight_decay, module.momentum, module.clip) == (3e-4, 0.9, 5.0)
    assert (module.arch_betas, module.arch_weight_decay) == ((0.5, 0.999), 1e-3)
    assert {cell.connection for cell in module.supernet.body.cells} == {PartialChannels(4)}
    assert {kind: beta.shape for kind, beta in module.betas.items()} == {"normal": (14,), "reduce": (14,)}


def test_genotypes_and_logits_are_those_of_the_original() -> None:
    arrays, meta = golden("pc_darts_forward")
    module = PCDARTS(layers=meta["layers"], channels=meta["C"]).double()
    expected = arrays["out/genotypes"]
    assert len(expected) == 30
    for i, wanted in enumerate(expected):
        for kind in DARTS.cells:
            module.alphas[kind].data.copy_(arrays[f"alpha/genotype_{kind}"][i])
            module.betas[kind].data.copy_(arrays[f"alpha/genotype_beta_{kind}"][i])
        assert listing(module.genotype()) == wanted, i
    for kind in DARTS.cells:
        module.alphas[kind].data.copy_(arrays[f"alpha/{kind}"])
        module.betas[kind].data.copy_(arrays[f"alpha/beta_{kind}"])
    module.supernet.load_edgewise_state_dict({name[2:]: w for name, w in arrays.items() if name.startswith("w/")})
    mixtures = module.mixtures(StepContext("arch", 0, 1, torch.Generator()))
    logits = module.supernet(arrays["x_train"], mixtures)
    check(logits, arrays["out/logits"], **tolerance(meta, "out/logits"))
    loss = nn.functional.cross_entropy(logits, arrays["y_train"])
    gradients = torch.autograd.grad(loss, module.arch_parameters)
    for name, gradient in zip(("normal", "reduce", "beta_normal", "beta_reduce"), gradients, strict=True):
        check(gradient, arrays[f"out/grad_alpha/{name}"], **tolerance(meta, "gradients"))


@pytest.mark.parametrize("space", ["S2", "NASBench201"])
def test_alpha_and_beta_rest_and_then_move(tmp_path: Path, space: str) -> None:
    depth = {"layers": 3} if space == "S2" else {"layers": None, "cells": 1}
    module = small(space=space, arch_start=1, **depth)
    before = [parameter.detach().clone() for parameter in module.arch_parameters]
    fit(tmp_path, module, limit_train_batches=2)
    assert all(torch.equal(a, b) for a, b in zip(before, module.arch_parameters, strict=True))
    running: Trainer = fit(tmp_path, module, limit_train_batches=2, max_epochs=2)
    assert running.global_step == 4
    kinds = len(find_space(space).cells)
    assert len(before) == 2 * kinds
    for old, new in zip(before, module.arch_parameters, strict=True):
        assert 0 < (new - old).abs().max() < 2.1 * 6e-4  # two steps of Adam, in the second epoch alone
    module.genotype().validate(module.space)


def test_a_checkpoint_says_which_channels_take_part(tmp_path: Path) -> None:
    running = fit(tmp_path, small(connection=PartialChannels(2)), limit_train_batches=1)
    running.save_checkpoint(tmp_path / "search.ckpt")
    again = PCDARTS.load_from_checkpoint(tmp_path / "search.ckpt")
    assert {cell.connection for cell in again.supernet.body.cells} == {PartialChannels(2)}
    assert torch.equal(again.betas["normal"], running.lightning_module.betas["normal"])


def test_all_channels_can_take_part() -> None:
    module = small(connection=Full(), edge_weights=False)
    assert module.supernet.body.cells[0].through == 4
    assert len(module.betas) == 0
