"""DARTS- is DARTS with an auxiliary skip connection that every loss of the search sees, and that is gone at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from robustnas.variants import DARTS, DARTSMinus
from runs import differing, fit, state

from robustnas.networks import AuxiliarySkip, PartialChannels
from robustnas.strategies import Unrolled

SPACES = {"NASBench201": {"cells": 1}, "S2": {"layers": 3}}


def small(variant: Any = DARTSMinus, space: str = "NASBench201", **options: Any) -> Any:
    settings = {"space": space, "channels": 4, "image_channels": 1, "arch_lr": 0.03, **SPACES[space]}
    return variant(**{**settings, **options})


def test_defaults_are_those_of_the_paper() -> None:
    module = DARTSMinus(layers=3)
    assert module.architecture.connection == AuxiliarySkip(1.0, "linear")
    assert (module.lr, module.lr_min, module.weight_decay, module.arch_lr) == (0.025, 0.001, 3e-4, 3e-4)
    assert (module.arch_betas, module.arch_weight_decay) == ((0.5, 0.999), 1e-3)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(
    "parts",
    [
        pytest.param({}, id="first order"),
        pytest.param({"gradient": Unrolled()}, id="second order", marks=pytest.mark.slow),
    ],
)
def test_at_zero_it_is_darts_bit_for_bit(tmp_path: Path, space: str, parts: Any) -> None:
    short = {"max_epochs": 2, "limit_train_batches": 2}
    neutral = small(space=space, connection=AuxiliarySkip(0.0), **parts)
    first = state(fit(tmp_path / "a", small(DARTS, space, **parts), **short))
    assert differing(first, state(fit(tmp_path / "b", neutral, **short))) == []
    other = state(fit(tmp_path / "c", small(space=space, **parts), **short))
    kind = next(iter(neutral.space.cells))
    assert not torch.equal(other[f"alphas.{kind}"], first[f"alphas.{kind}"])


def test_it_starts_where_darts_starts_and_the_last_epoch_has_none(tmp_path: Path) -> None:
    module = small(space="S2")
    held = dict(module.named_parameters())
    assert all(torch.equal(p, held[name]) for name, p in small(DARTS, "S2").named_parameters())
    begun = {name: p.detach().clone() for name, p in held.items() if ".auxiliary." in name}
    betas: list[float] = []
    inner = module.supernet.forward

    def forward(images: Any, mixtures: Any, drop_path: float = 0.0) -> Any:
        betas.append(mixtures["normal"].auxiliary)
        return inner(images, mixtures, drop_path)

    module.supernet.forward = forward
    fit(tmp_path, module, max_epochs=3, limit_train_batches=1, limit_val_batches=1, num_sanity_val_steps=0)
    assert betas == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.0, 0.0, 0.0]  # a step of α, one of the weights, one of validation
    assert begun
    assert all(not torch.equal(held[name], before) for name, before in begun.items())


def test_a_checkpoint_holds_it_and_partial_channels(tmp_path: Path) -> None:
    connection = AuxiliarySkip(0.7, "cosine", PartialChannels(2))
    running = fit(tmp_path, small(connection=connection), limit_train_batches=1)
    running.save_checkpoint(tmp_path / "search.ckpt")
    again = DARTSMinus.load_from_checkpoint(tmp_path / "search.ckpt")
    assert again.architecture.connection == connection
    assert {cell.connection for cell in again.supernet.body.cells.values()} == {connection}
