"""What every variant must do; a new one is tested by being exported."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from tables import with_slow
from torch import Tensor

from robustnas import variants
from robustnas.strategies import (
    AdversarialPerturbation,
    BestOfSampled,
    CurvatureRise,
    GradientAgreement,
    LargestDrop,
    Strongest,
)
from robustnas.training.search import SearchModule

sys.path.insert(0, str(Path(__file__).parent / "training"))

from runs import differing, fit, rows, state

VARIANTS = sorted(variants.__all__)
SHORTER: dict[str, dict[str, Any]] = {
    "RobustDARTS": {"stopping": CurvatureRise(samples=4)},
    "DARTSPT": {"selection": LargestDrop(finetune=1)},
    "OLES": {"weight_hook": GradientAgreement(0.7, interval=2)},
    "SmoothDARTS": {"perturbation": AdversarialPerturbation(steps=2)},
    "FairDARTS": {"selection": Strongest(), "alpha_init": 1e-3},  # of a space that keeps every edge
    "RandomSharing": {"selection": BestOfSampled(samples=3), "arch_start": 1_000_000},
}
BATCHES = {"ProxylessNAS": 5}  # one path a step: fewer do not reach every weight
UNIFORM = {"GAEA"}  # α starts the same whatever the seed
RESTING = {"RandomSharing"}  # baselines that train a supernet without α


def small(name: str, seed: int = 0) -> Any:
    shared: dict[str, Any] = {"channels": 4, "cells": 1, "image_channels": 1, "arch_start": 0, "seed": seed}
    return getattr(variants, name)(space="NASBench201", **{**shared, **SHORTER.get(name, {})})


def moved(module: SearchModule, before: dict[str, Tensor]) -> tuple[list[str], list[str]]:
    """Names of the parameters of the architecture, and of the weights, that are not what they were."""
    arch = {id(parameter) for parameter in module.arch_parameters}
    names = [(id(p) in arch, name) for name, p in module.named_parameters() if not torch.equal(p, before[name])]
    return [name for of_arch, name in names if of_arch], [name for of_arch, name in names if not of_arch]


# Searches of these are resumed by tests of their own, or keep nothing that one of DARTS does not.
ELSEWHERE = ("BetaDARTS", "DARTSPT", "DA2S", "FairDARTS", "RobustDARTS", "SmoothDARTS", "SparsemaxDARTS")


@pytest.mark.parametrize("name", with_slow(VARIANTS, ELSEWHERE))
def test_a_variant_searches_and_resumes(tmp_path: Path, name: str) -> None:
    module = small(name)
    assert isinstance(module, SearchModule)
    before = {key: parameter.detach().clone() for key, parameter in module.named_parameters()}
    saver = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=2, save_top_k=-1)
    batches = BATCHES.get(name, 3)
    short = {"max_epochs": 2, "limit_train_batches": batches, "limit_val_batches": 1}
    whole = fit(tmp_path / "whole", module, callbacks=[saver], **short)
    end = state(whole)

    arch, weights = moved(module, before)
    assert len(arch) == (0 if name in RESTING else len(module.arch_parameters))
    assert len(module.arch_parameters) >= 1
    assert len(weights) == len(list(module.supernet.parameters()))
    assert all(tensor.isfinite().all() for key, tensor in end.items() if tensor.is_floating_point()), name
    held = [[p for group in one.param_groups for p in group["params"]] for one in whole.optimizers]
    wanted = [list(module.supernet.parameters()), module.arch_parameters]
    assert [[id(p) for p in found] for found in held] == [[id(p) for p in right] for right in wanted]
    module.genotype().validate(module.space)

    assert whole.global_step == batches * (2 + module.selection.epochs(module.space))
    torch.manual_seed(1)  # the state of the process does not matter
    resumed = fit(tmp_path / "resumed", small(name), tmp_path / "step=2.ckpt", **short)  # inside the first epoch
    assert differing(state(resumed), end) == []
    assert resumed.lightning_module.genotype() == module.genotype()

    same, other = (dict(small(name, seed=seed).named_parameters()) for seed in (0, 1))
    assert all(torch.equal(same[key], parameter) for key, parameter in before.items())
    assert torch.equal(other["alphas.cell"], before["alphas.cell"]) == (name in UNIFORM)
    assert not torch.equal(other["supernet.body.classifier.weight"], before["supernet.body.classifier.weight"])


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_a_function_of_its_seed(tmp_path: Path, name: str) -> None:
    first = fit(tmp_path / "first", small(name), max_epochs=2)
    torch.manual_seed(1)
    again = fit(tmp_path / "again", small(name), max_epochs=2)
    assert differing(state(again), state(first)) == []
    assert rows(again) == rows(first)


def test_there_are_variants() -> None:
    assert {"DARTS", "SmoothDARTS"} <= set(VARIANTS)
    assert all(issubclass(getattr(variants, name), SearchModule) for name in VARIANTS)
