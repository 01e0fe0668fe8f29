"""What a GPU must show: every variant searches, numbers are those of the CPU, checkpoints go both ways."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from robustnas.variants import DARTS
from runs import fit, state
from tables import check_each
from torch import Tensor

from robustnas import variants
from robustnas.networks import Mixture, Supernet
from robustnas.runtime.precision import full_precision
from robustnas.spaces.find import KNOWN
from robustnas.strategies import BestOfSampled, LargestDrop
from robustnas.training import EvaluationModule, Found

DEVICE, ACCELERATOR = "cuda", "gpu"
pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA device: torch.cuda.is_available() is false"
)

DEPTHS: dict[str, dict[str, int]] = {
    "darts": {"layers": 3}, "darts_normal": {"layers": 1}, "nasbench201": {"cells": 1}, "mobile": {},
}  # fmt: skip
SHORTER: dict[str, dict[str, Any]] = {
    "DARTSPT": {"selection": LargestDrop(finetune=1)},
    "PCDARTS": {"space": "S2", "layers": 3, "cells": None},
    "RandomSharing": {"selection": BestOfSampled(samples=3), "arch_start": 1_000_000},
}


@pytest.fixture(autouse=True)
def in_full() -> Iterator[None]:
    """Without TF32."""
    with full_precision(DEVICE):
        yield


def small(name: str) -> Any:
    given = {"space": "NASBench201", "cells": 1, "channels": 4, "image_channels": 1, "arch_start": 0}
    return getattr(variants, name)(**{**given, **SHORTER.get(name, {})})


def test_an_epoch_of_every_variant(tmp_path: Path) -> None:
    def check(name: str) -> None:
        module = small(name)
        before = {key: parameter.detach().clone() for key, parameter in module.named_parameters()}
        running = fit(tmp_path / name, module, accelerator=ACCELERATOR, devices=1, limit_val_batches=1)
        assert running.strategy.root_device.type == DEVICE
        after = dict(module.named_parameters())
        assert all(parameter.isfinite().all() for parameter in after.values())
        moved = {key.split(".")[0] for key, parameter in after.items() if not torch.equal(parameter.cpu(), before[key])}
        assert {"alphas", "supernet"} - moved == ({"alphas"} if name == "RandomSharing" else set())
        module.genotype().validate(module.space)

    check_each(sorted(variants.__all__), check)


def results(network: Supernet, images: Tensor, weights: dict[str, Tensor]) -> list[Tensor]:
    """Logits, and gradients of the mixtures and of the weights, on the CPU."""
    given = {kind: values.to(images.device).requires_grad_() for kind, values in weights.items()}
    logits = network(images, {kind: Mixture(values) for kind, values in given.items()})
    wanted = [*given.values(), *network.parameters()]
    return [one.detach().cpu() for one in (logits, *torch.autograd.grad(logits.square().sum(), wanted))]


def test_values_and_gradients_are_those_of_the_cpu() -> None:
    def check(name: str, training: bool) -> None:
        space = KNOWN[name]
        network = Supernet(space, channels=8, num_classes=4, **DEPTHS[space.skeleton]).double().train(training)
        images = torch.rand(4, 3, 16, 16, dtype=torch.float64)
        weights = {kind: torch.rand(cell.shape, dtype=torch.float64) for kind, cell in space.cells.items()}
        expected = results(network, images, weights)
        found = results(network.to(DEVICE), images.to(DEVICE), weights)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8)

    names = [name for name in KNOWN if name != "S4"]  # which draws noise, and that differs between devices
    check_each(itertools.product(names, (True, False)), lambda row: check(*row))


def test_single_precision_stays_near_the_cpu() -> None:
    network, space = Supernet("DARTS", channels=8, layers=3), KNOWN["DARTS"]
    images = torch.rand(16, 3, 16, 16)
    mixtures = {kind: torch.full(cell.shape, 1 / cell.shape[1]) for kind, cell in space.cells.items()}
    with torch.no_grad():
        expected = network(images, {kind: Mixture(values) for kind, values in mixtures.items()})
        there = {kind: Mixture(values.to(DEVICE)) for kind, values in mixtures.items()}
        found = network.to(DEVICE)(images.to(DEVICE), there)
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-3)


def test_a_checkpoint_goes_back_and_forth(tmp_path: Path) -> None:
    options: dict[str, Any] = {"limit_val_batches": 1, "limit_train_batches": 2, "max_epochs": 2}
    there = {**options, "accelerator": ACCELERATOR, "devices": 1}
    saver = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    whole = fit(tmp_path / "whole", small("PCDARTS"), callbacks=[saver], **there)
    middle, end = tmp_path / "step=3.ckpt", {name: value.cpu() for name, value in state(whole).items()}
    saved = torch.load(middle, weights_only=True, map_location="cpu")["state_dict"]
    for name, value in variants.PCDARTS.load_from_checkpoint(middle).state_dict().items():
        assert torch.equal(value.cpu(), saved[name]), name
    for folder, where in (("there", there), ("here", options)):
        resumed = fit(tmp_path / folder, small("PCDARTS"), middle, **where)
        assert resumed.global_step == whole.global_step
        for name, value in state(resumed).items():
            torch.testing.assert_close(value.cpu(), end[name], rtol=1e-3, atol=1e-4, msg=name)


def test_what_is_found_is_trained(tmp_path: Path) -> None:
    genotype = DARTS(space="S2", channels=4, layers=3, image_channels=1).genotype()
    module = EvaluationModule(
        Found(str(genotype), channels=4, layers=3, auxiliary=True), image_channels=1, drop_path=0.2
    )
    running = fit(tmp_path, module, accelerator=ACCELERATOR, devices=1, limit_train_batches=2, limit_val_batches=1)  # type: ignore[arg-type]
    assert all(parameter.isfinite().all() for parameter in module.parameters())
    assert running.strategy.root_device.type == DEVICE
