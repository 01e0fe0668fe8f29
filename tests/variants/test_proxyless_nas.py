"""A search by ProxylessNAS trains one path, lets all else rest, and moves α where it looked and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from golden import check
from pytorch_lightning import Callback, Trainer
from robustnas.variants import DARTS, ProxylessNAS
from runs import differing, fit, state
from torch import Tensor

from robustnas.networks import Mixture
from robustnas.spaces import find_space
from robustnas.strategies import BinaryGates, FirstOrder, Unrolled, UnrolledByDifferences
from robustnas.strategies.binary_gates import Mode
from robustnas.training.architecture_parameters import candidate_mask, zero_mask

MODES: tuple[Mode, ...] = ("two", "full", "full_v2")


def small(space: str = "NASBench201", **options: Any) -> ProxylessNAS:
    depth = {"cells": 1} if space == "NASBench201" else {"layers": 3}
    return ProxylessNAS(**{"space": space, "channels": 4, "image_channels": 1, "arch_start": 0, **depth, **options})


class Seen(Callback):
    """Writes down the mixtures of all passes, and α, weights and momentum after each step."""

    def __init__(self) -> None:
        self.mixtures: list[dict[str, Mixture]] = []
        self.alphas: list[dict[str, Tensor]] = []
        self.weights: list[dict[str, Tensor]] = []
        self.momenta: list[dict[str, Tensor]] = []

    def on_fit_start(self, trainer: Trainer, module: Any) -> None:
        module.supernet.register_forward_pre_hook(lambda _, args: self.mixtures.append(args[1]))

    def on_train_start(self, trainer: Trainer, module: Any) -> None:
        self.write(trainer, module)

    def on_train_batch_end(self, trainer: Trainer, module: Any, *_: Any) -> None:
        self.write(trainer, module)

    def write(self, trainer: Trainer, module: Any) -> None:
        self.alphas.append({kind: a.detach().clone() for kind, a in module.alphas.items()})
        named = dict(module.supernet.named_parameters())
        held = trainer.optimizers[0].state
        momenta = {n: held[p]["momentum_buffer"] if p in held else torch.zeros_like(p) for n, p in named.items()}
        for of, into in ((named, self.weights), (momenta, self.momenta)):
            into.append({n: x.clone() for n, x in module.supernet.edgewise_state_dict(of=of).items()})


def test_the_settings_are_those_of_the_original() -> None:
    module = ProxylessNAS(space="NASBench201", cells=1)
    assert module.relaxation == BinaryGates("two", skip_update_at_zero=True)
    assert (module.arch_lr, module.arch_betas, module.arch_weight_decay) == (1e-3, (0.0, 0.999), 0.0)
    assert (module.arch_start, module.arch_every, module.step_order) == (40, 5, "weights_first")
    assert (module.lr, module.lr_min, module.momentum, module.nesterov) == (0.025, 0.0, 0.9, True)
    assert (module.weight_decay, module.clip) == (4e-5, 0.0)
    darts = DARTS(space="NASBench201", cells=1)
    for name in ("gradient", "selection", "perturbation", "penalty", "pruning", "drop_path"):
        assert getattr(module, name) == getattr(darts, name), name


def test_the_images_of_alpha_are_not_augmented() -> None:
    for name in ("digits", "cifar10", "cifar10_nasbench201"):
        path = Path(__file__).parents[2] / "configs" / f"{name}_proxyless_nas.yaml"
        assert yaml.safe_load(path.read_text())["data"]["init_args"]["augment_arch"] is False, name


@pytest.mark.parametrize("mode", MODES)
def test_alpha_steps_after_every_fifth_step_of_one_path(tmp_path: Path, mode: Mode) -> None:
    seen, module = Seen(), small(relaxation=BinaryGates(mode))
    fit(tmp_path, module, callbacks=[seen], limit_val_batches=0, max_epochs=2)
    looking = [k for k, one in enumerate(seen.mixtures) if one["cell"].operations.requires_grad]
    assert looking == [5, 11]  # five steps of the weights, one of α
    assert len(seen.mixtures) == 12
    moved = [not torch.equal(a["cell"], b["cell"]) for a, b in zip(seen.alphas, seen.alphas[1:], strict=False)]
    assert moved == [False, False, False, False, True] * 2
    paths = [one["cell"] for k, one in enumerate(seen.mixtures) if k not in looking]
    assert all(torch.equal(path.active.sum(1), torch.ones(6, dtype=torch.long)) for path in paths)
    assert all(path.probed is None for path in paths)
    assert len({tuple(path.active.flatten().tolist()) for path in paths}) == 10


@pytest.mark.parametrize(
    ("mode", "space"),
    [
        ("two", "NASBench201"), pytest.param("full", "DARTS", marks=pytest.mark.slow), ("full_v2", "S1"),
        ("full", "S2"), ("two", "S3"), ("full_v2", "S4"),
    ],
)  # fmt: skip
def test_alpha_moves_where_it_was_looked_at(tmp_path: Path, mode: Mode, space: str) -> None:
    seen, module = Seen(), small(space, relaxation=BinaryGates(mode), arch_every=1, arch_lr=0.05)
    fit(tmp_path, module, callbacks=[seen], limit_val_batches=0, limit_train_batches=3)
    cells, nothing = find_space(space), zero_mask(find_space(space))
    looking = [one for one in seen.mixtures if next(iter(one.values())).operations.requires_grad]
    assert len(looking) == 3
    total = 0
    for mixtures, before, after in zip(looking, seen.alphas, seen.alphas[1:], strict=False):
        for kind, kept in candidate_mask(cells).items():
            mixture = mixtures[kind]
            looked_at = mixture.active if mixture.probed is None else mixture.active | mixture.probed
            opened = mixture.operations.detach() != 0
            idle = (opened & nothing[kind]).any(1) | (kept.sum(1) == 1)
            assert torch.equal(looked_at.sum(1)[~idle], kept.sum(1)[~idle].clamp(max=2 if mode == "two" else 99))
            assert not (looked_at & ~kept).any()
            still = ~looked_at | idle[:, None]
            assert torch.equal(after[kind][still], before[kind][still])
            total += int((after[kind] != before[kind]).sum())
            if mode == "two":
                then, now = (x[kind].masked_fill(~kept, -torch.inf).softmax(1) for x in (before, after))
                check(now[~looked_at], then[~looked_at], rtol=1e-5, atol=1e-7)
    assert total > 3


def test_what_was_not_on_the_path_rests_with_its_momentum(tmp_path: Path) -> None:
    seen, module = Seen(), small("DARTS", weight_decay=0.01)
    fit(tmp_path, module, callbacks=[seen], limit_val_batches=0, limit_train_batches=4)
    rested = moved = 0
    kinds, cells = module.supernet.body.kinds, module.space.cells
    for step in range(4):
        for name in seen.weights[0]:
            parts = name.split(".")
            if parts[0] != "cells" or parts[2] != "edge":
                continue
            kind = kinds[int(parts[1])]
            row = cells[kind].row(*map(int, parts[3].split("-")))
            on_path = bool(seen.mixtures[step][kind].active[row, cells[kind].edges[row].operations.index(parts[4])])
            same = [torch.equal(held[step + 1][name], held[step][name]) for held in (seen.weights, seen.momenta)]
            assert same == [not on_path] * 2, (step, name)
            rested, moved = rested + (not on_path), moved + on_path
    assert moved > 50
    assert rested > 3 * moved


@pytest.mark.parametrize(
    ("gradient", "space"),
    [(FirstOrder(), "DARTS"), (Unrolled(), "NASBench201"), (UnrolledByDifferences(), "NASBench201")],
    ids=lambda part: part if isinstance(part, str) else type(part).__name__,
)
def test_what_is_held_in_memory_does_not_change_the_search(tmp_path: Path, gradient: Any, space: str) -> None:
    found = []
    for mode in ("full", "full_v2"):
        module = small(space, relaxation=BinaryGates(mode), gradient=gradient, arch_every=1)
        found.append(
            state(fit(tmp_path / mode, module, precision="64-true", limit_train_batches=2, limit_val_batches=0))
        )
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-6, atol=1e-8, msg=name)


@pytest.mark.slow
def test_checkpointed_cells_search_the_same(tmp_path: Path) -> None:
    found = [
        state(
            fit(
                tmp_path / str(again),
                small("DARTS", relaxation=BinaryGates("full_v2"), arch_every=2, checkpointing=again),
            )
        )
        for again in (False, True)
    ]
    assert [name for name in differing(*found) if not torch.allclose(found[0][name], found[1][name], atol=1e-5)] == []


@pytest.mark.parametrize(
    ("mode", "gradient"),
    [*((mode, FirstOrder()) for mode in MODES), ("full_v2", Unrolled()), ("full_v2", UnrolledByDifferences())],
    ids=lambda part: part if isinstance(part, str) else type(part).__name__,
)
def test_a_path_of_nothing_but_none_is_survived(tmp_path: Path, mode: Mode, gradient: Any) -> None:
    module = small(relaxation=BinaryGates(mode), gradient=gradient, arch_every=1)
    with torch.no_grad():
        module.alphas["cell"].fill_(-100.0)[:, 0] = 0.0
    before = module.alphas["cell"].detach().clone()
    bias = module.supernet.body.classifier.bias.detach().clone()
    fit(tmp_path, module, limit_train_batches=2)
    assert torch.equal(module.alphas["cell"], before)
    assert not torch.equal(module.supernet.body.classifier.bias, bias)
    assert module.genotype().count("none") == {"cell": 6}
