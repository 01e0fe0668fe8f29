"""DrNAS is a choice of parts: its stages prune, let α rest, and survive an interruption at any step."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import ModelCheckpoint
from robustnas.variants import DARTS, DrNAS
from runs import differing, fit, state
from torch import Tensor

from robustnas.networks import PartialChannels, WideningChannels
from robustnas.strategies import DirichletKL, DirichletSample, KeepStrongest, RaiseDecay, Softmax
from robustnas.training.checks import without_effect

STAGED = KeepStrongest(((2, 3),), rest=1)


def small(variant: Any = DrNAS, **options: Any) -> Any:
    given = {"space": "NASBench201", "channels": 4, "cells": 1, "image_channels": 1, "arch_lr": 0.05}
    return variant(**{**given, **options})


def test_defaults_are_those_of_the_paper() -> None:
    module = DrNAS(space="NASBench201", cells=1)
    assert (module.relaxation, module.penalty) == (DirichletSample(), DirichletKL(1e-3))
    assert module.arch_weight_decay == 0
    assert (module.lr, module.lr_min, module.weight_decay, module.arch_lr) == (0.025, 0.001, 3e-4, 3e-4)


def test_without_its_parts_it_is_darts_bit_for_bit(tmp_path: Path) -> None:
    short = {"max_epochs": 2, "limit_train_batches": 2}
    neutral = small(relaxation=Softmax(), penalty=DirichletKL(0.0), arch_weight_decay=1e-3)
    first = state(fit(tmp_path / "a", small(DARTS), **short))
    assert differing(first, state(fit(tmp_path / "b", neutral, **short))) == []
    other = state(fit(tmp_path / "c", small(), **short))
    assert not torch.equal(first["alphas.cell"], other["alphas.cell"])


def test_every_step_draws_one_mixture_for_each_kind_and_evaluation_none(tmp_path: Path) -> None:
    module, seen = small(cells=2), list[dict[str, Tensor]]()
    inner = module.supernet.forward

    def forward(images: Any, mixtures: Any, drop_path: float = 0.0) -> Any:
        seen.append({kind: mixture.operations.detach().clone() for kind, mixture in mixtures.items()})
        return inner(images, mixtures, drop_path)

    module.supernet.forward = forward
    fit(tmp_path, module, max_epochs=1, limit_train_batches=2, limit_val_batches=2, num_sanity_val_steps=0)
    arch, weights, *_, first, second = (one["cell"] for one in seen)
    assert len(seen) == 6
    assert not torch.equal(arch, weights)
    assert torch.equal(first, second)
    assert torch.equal(first, module.shares()["cell"])
    same = module.mixtures(module.context("arch"))["cell"].operations
    assert torch.equal(same, module.mixtures(module.context("arch"))["cell"].operations)


class Alphas(Callback):
    """α at the start of each epoch, and how many operations are left."""

    def __init__(self) -> None:
        self.alphas: list[Tensor] = []
        self.left: list[int] = []

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        self.alphas.append(module.alphas["cell"].detach().clone())
        self.left.append(int(module.architecture.active_mask["cell"].sum()))


def test_a_stage_prunes_and_alpha_rests(tmp_path: Path) -> None:
    seen, module = Alphas(), small(pruning=STAGED, arch_start=1)
    fit(tmp_path, module, max_epochs=5, limit_train_batches=2, callbacks=[seen])
    seen.alphas.append(module.alphas["cell"].detach().clone())
    assert [not torch.equal(one, other) for one, other in pairwise(seen.alphas)] == [False, True, False, True, True]
    assert seen.left == [30, 30, 18, 18, 18]
    mixture = module.mixtures(module.context("arch"))["cell"].operations
    assert ((mixture > 0) == module.architecture.active_mask["cell"]).all()
    torch.testing.assert_close(mixture.sum(dim=1), torch.ones(6))
    torch.testing.assert_close(module.shares()["cell"].sum(dim=1), torch.ones(6))


def test_a_search_goes_on_from_any_step_around_a_stage(tmp_path: Path) -> None:
    short = {"max_epochs": 4, "limit_train_batches": 2}
    saver = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    whole = state(fit(tmp_path / "whole", small(pruning=STAGED), callbacks=[saver], **short))
    for step in (3, 4, 5, 7):
        place = tmp_path / f"step={step}.ckpt"
        resumed = fit(tmp_path / f"resumed{step}", small(pruning=STAGED), place, **short)
        assert differing(whole, state(resumed)) == []
    assert DrNAS.load_from_checkpoint(place).pruning == STAGED


def test_a_search_that_ends_before_the_first_stage_says_so() -> None:
    module = small(pruning=KeepStrongest(((25, 4),)))
    assert without_effect(module, 20) == ["Pruning starts at epoch 24 of 20: no operation leaves."]
    assert without_effect(module, 25) == []


@pytest.mark.parametrize("phase", ["arch", "weights"])
def test_samples_follow_from_seed_and_step(phase: Any) -> None:
    first, same, other = (small(seed=seed).mixtures(small(seed=seed).context(phase))["cell"] for seed in (0, 0, 1))
    assert torch.equal(first.operations, same.operations)
    assert not torch.equal(first.operations, other.operations)


WIDENING = WideningChannels(4, ((1, 2), (3, 1)))


def widening(**options: Any) -> Any:
    return small(**{"channels": 8, "connection": WIDENING, **options})


def test_a_stage_widens_the_operations_with_their_momentum(tmp_path: Path) -> None:
    class Watch(Callback):
        """Weights and momentum of one operation, and the rate, at the first step of each epoch and before."""

        def __init__(self) -> None:
            self.seen: list[dict[str, Any]] = []

        def note(self, trainer: Any, module: Any, *_: Any) -> None:
            optimizer = trainer.optimizers[0]
            named = dict(module.supernet.named_parameters())
            buffers = {n: optimizer.state[p]["momentum_buffer"] for n, p in named.items() if p in optimizer.state}
            assert [id(p) for p in optimizer.param_groups[0]["params"]] == [id(p) for p in named.values()]
            found = {key: value.clone() for key, value in module.supernet.edgewise_state_dict().items()}
            moments = {key: value.clone() for key, value in module.supernet.edgewise_state_dict(of=buffers).items()}
            self.seen.append({"weights": found, "moments": moments, "lr": optimizer.param_groups[0]["lr"]})

        on_train_epoch_end = note

        def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 0:
                self.note(trainer, module)

    seen, module = Watch(), widening()
    fit(tmp_path, module, max_epochs=4, limit_train_batches=2, callbacks=[seen])
    assert [cell.through for cell in module.supernet.body.cells.values()] == [8, 16, 32]
    name = "cells.0.edge.0-1.nor_conv_3x3.conv"
    sizes = [one["weights"][name].shape[0] for one in seen.seen]
    assert sizes == [2, 2, 4, 4, 4, 4, 8, 8]
    before, after = seen.seen[1], seen.seen[2]
    assert after["moments"].keys() == before["moments"].keys()
    for key, old in before["weights"].items():
        new = after["weights"][key]
        if old.shape == new.shape:
            assert torch.equal(old, new)
    moment, old = after["moments"][name], before["moments"][name]
    copies = [
        [torch.equal(moment[i, j], old[a, b]) for a in range(2) for b in range(2)] for i in range(4) for j in range(4)
    ]
    assert all(any(one) for one in copies)
    assert torch.equal(moment[:2, :2], old)
    rates = [one["lr"] for one in seen.seen]
    cosine = [0.001 + 0.024 * (1 + math.cos(math.pi * epoch / 4)) / 2 for epoch in range(4)]
    assert rates[::2] == pytest.approx(cosine)  # one cosine over all stages
    assert module.supernet.config.connection == PartialChannels(1)


@pytest.mark.slow
def test_a_widening_search_goes_on_from_any_step_of_any_stage(tmp_path: Path) -> None:
    short = {"max_epochs": 4, "limit_train_batches": 2}
    saver = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    running = fit(tmp_path / "whole", widening(pruning=STAGED), callbacks=[saver], **short)
    whole = state(running)
    for step in (1, 2, 3, 6, 7):
        place = tmp_path / f"step={step}.ckpt"
        resumed = fit(tmp_path / f"resumed{step}", widening(pruning=STAGED), place, **short)
        assert differing(whole, state(resumed)) == []
        loaded = DrNAS.load_from_checkpoint(place)
        assert loaded.supernet.config.connection == (WIDENING if step < 3 else PartialChannels(2 if step < 7 else 1))
        images = torch.randn(3, 1, 8, 8)
        assert loaded.eval()(images).shape == (3, 10)
    ended = running.lightning_module
    running.save_checkpoint(tmp_path / "end.ckpt")
    again = DrNAS.load_from_checkpoint(tmp_path / "end.ckpt")
    assert torch.equal(again.eval()(images), ended.eval()(images))


def test_a_search_returns_to_no_epoch_with_fewer_channels_and_says_what_never_widens() -> None:
    message = r"^Expected `stopping` not to return the search to an earlier epoch beside the connection `Widening"
    with pytest.raises(ValueError, match=message):
        widening(stopping=RaiseDecay())
    assert without_effect(widening(), 3) == ["Channels widen at epoch 3 of 3: they never do."]
    assert without_effect(widening(), 4) == []
