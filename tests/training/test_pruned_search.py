"""Searches from which operations leave: they are not computed, and the supernet ends as the discrete network."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from robustnas.variants import DARTS
from runs import StopAfter, differing, fit, rows, search, state
from torch import Tensor

from robustnas.networks import DiscreteNetwork, Mixture, PartialChannels
from robustnas.networks.cell import Cell
from robustnas.strategies import (
    AdversarialPerturbation,
    EntropyPenalty,
    GumbelOneHot,
    ShareThreshold,
    Softmax,
    Sparsemax,
    StepContext,
    Unrolled,
)
from robustnas.training.description import load
from robustnas.training.search import SearchModule

TO_ONE = ShareThreshold(0.0, 1.0)
SEARCHES: dict[str, dict[str, Any]] = {
    "Softmax": {"relaxation": Softmax()},
    "Sparsemax": {"relaxation": Sparsemax()},
    "GumbelOneHot": {"relaxation": GumbelOneHot()},
    "GumbelOneHot of NAS-Bench-201": {"relaxation": GumbelOneHot(ghost_gradient=True, evaluation="sampled")},
    "PartialChannels": {"connection": PartialChannels(2), "edge_weights": True},
    "AdversarialPerturbation": {"perturbation": AdversarialPerturbation(steps=2)},
    "second order, a penalty, drop path": {"gradient": Unrolled(), "penalty": EntropyPenalty(), "drop_path": 0.2},
}


def pruned(space: str = "NASBench201", **options: Any) -> DARTS:
    return search(space, **{"pruning": TO_ONE, "alpha_init": 0.3, "arch_lr": 0.03, **options})


class Kept(Callback):
    """What is kept during each epoch."""

    def __init__(self) -> None:
        self.kept: list[dict[str, Tensor]] = []

    def on_train_epoch_start(self, trainer: Trainer, module: Any) -> None:
        self.kept.append({kind: held.clone() for kind, held in module.architecture.active_mask.items()})


@pytest.mark.parametrize("name", SEARCHES)
def test_every_edge_ends_with_one_operation_whatever_the_other_parts(tmp_path: Path, name: str) -> None:
    kept, module = Kept(), pruned(**SEARCHES[name])
    seen: list[tuple[dict[str, Mixture], dict[str, Tensor]]] = []
    module.supernet.register_forward_pre_hook(lambda m, args: seen.append((args[1], module.architecture.active_mask)))
    running = fit(tmp_path, module, max_epochs=4, limit_train_batches=2, callbacks=[kept])
    assert module.architecture.active_mask["cell"].sum(dim=-1).tolist() == [1] * 6
    counts = [int(held["cell"].sum()) for held in kept.kept]
    assert counts[0] == 30
    assert counts == sorted(counts, reverse=True)
    assert [row["arch/operations"] for row in rows(running)] == [*counts[1:], 6]
    for mixtures, held in seen:
        mixture = mixtures["cell"]
        assert bool((mixture.operations[~held["cell"]] == 0).all())
        if not held["cell"].all():
            assert not (mixture.active & ~held["cell"]).any()
    assert all(parameter.isfinite().all() for parameter in module.parameters())
    for choice, row in zip(module.genotype().cells["cell"], module.architecture.active_mask["cell"], strict=True):
        edge = next(e for e in module.space.cells["cell"].edges if (e.source, e.node) == choice[:2])
        assert edge.operations[int(row.nonzero())] == choice.operation


@pytest.mark.parametrize("relaxation", [Softmax(), Sparsemax(), GumbelOneHot()], ids=lambda r: type(r).__name__)
def test_at_the_end_the_supernet_is_the_discrete_network(tmp_path: Path, relaxation: Any) -> None:
    module = pruned(relaxation=relaxation, cells=2)
    fit(tmp_path, module, max_epochs=3, limit_train_batches=2)
    network = DiscreteNetwork(module.space, module.genotype(), channels=4, cells=2, image_channels=1)
    network.load_edgewise_state_dict(module.supernet.edgewise_state_dict(), strict=False)
    images = torch.randn(16, 1, 8, 8)
    for of_both in (network, module):
        of_both.eval()
    with torch.no_grad():
        torch.testing.assert_close(network(images), module(images), rtol=1e-4, atol=1e-5)
        for phase in ("weights", "arch"):  # at all moments, in training too
            mixtures = module.mixtures(module.context(phase))
            weights = mixtures["cell"].operations
            assert torch.equal(weights, module.architecture.active_mask["cell"].to(weights.dtype))
            torch.testing.assert_close(
                network.train()(images), module.supernet.train()(images, mixtures), rtol=1e-4, atol=1e-5
            )


def test_before_the_end_it_is_not(tmp_path: Path) -> None:
    module = pruned(pruning=ShareThreshold(0.0, 0.19))
    fit(tmp_path, module, max_epochs=2)
    assert 6 < module.architecture.active_mask["cell"].sum() < 30
    network = DiscreteNetwork(module.space, module.genotype(), channels=4, cells=1, image_channels=1)
    network.load_edgewise_state_dict(module.supernet.edgewise_state_dict(), strict=False)
    images = torch.randn(16, 1, 8, 8)
    with torch.no_grad():
        assert not torch.allclose(network.eval()(images), module.eval()(images), rtol=1e-2)


@pytest.mark.parametrize("space", ["NASBench201", "S2", "DARTS"])
def test_operations_that_left_are_not_computed(tmp_path: Path, space: str) -> None:
    module = pruned(space, channels=2)
    fit(tmp_path, module, max_epochs=2, limit_train_batches=2, limit_val_batches=0)
    computed = dict.fromkeys(module.space.cells, 0)
    cells = [(name, cell) for name, cell in module.supernet.named_modules() if isinstance(cell, Cell)]
    kinds = {id(of): kind for kind, of in module.space.cells.items()}

    def count(operation: Any, arguments: tuple[Any, ...], kind: str) -> None:
        computed[kind] += len(arguments[1])  # the edges on which it is computed

    for _, cell in cells:
        for leaving in cell.bundles:
            leaving.operation.register_forward_pre_hook(partial(count, kind=kinds[id(cell.space)]))
    module(torch.randn(2, 1, 8, 8))
    for kind, of in module.space.cells.items():
        kept = module.architecture.active_mask[kind]
        names = [edge.operations[int(row.nonzero())] for edge, row in zip(of.edges, kept, strict=True)]
        assert kept.sum() == len(names)
        assert computed[kind] == sum(name != "none" for name in names) * sum(cell.space is of for _, cell in cells)
    module.genotype().validate(module.space)


def test_gdas_never_draws_what_left_and_draws_all_that_stay() -> None:
    module = pruned(relaxation=GumbelOneHot(evaluation="sampled"))
    module.architecture.active_mask["cell"] = torch.rand(6, 5, generator=torch.Generator().manual_seed(0)) < 0.5
    module.architecture.active_mask["cell"][:, 2] = True
    module.architecture.active_mask["cell"][5] = False  # an edge from which all left
    drawn = torch.zeros(6, 5)
    for step in range(300):
        for phase in ("arch", "weights", "evaluation"):
            context = StepContext(phase, 0, 2, torch.Generator().manual_seed(step))
            mixture = module.mixtures(context)["cell"]
            drawn += mixture.active
            assert torch.equal(mixture.active, mixture.operations != 0)
    assert torch.equal(drawn > 0, module.architecture.active_mask["cell"])


def test_an_edge_from_which_all_left_adds_nothing_and_has_no_gradient() -> None:
    """Nor does the ghost gradient of GDAS."""
    module = pruned(relaxation=GumbelOneHot(ghost_gradient=True), edge_weights=True)
    module.architecture.active_mask["cell"][3] = False
    mixtures = module.mixtures(module.context("arch"))
    assert mixtures["cell"].offsets is not None
    images = torch.randn(4, 1, 8, 8)
    (slope,) = torch.autograd.grad(module.supernet(images, mixtures).square().sum(), [module.alphas["cell"]])
    assert slope[3].abs().sum() == 0
    assert slope[[0, 1, 2, 4, 5]].abs().sum() > 0
    assert slope.isfinite().all()


def test_nothing_leaves_before_alpha_moves(tmp_path: Path) -> None:
    kept, module = Kept(), pruned(arch_start=2, pruning=ShareThreshold(1.0, 1.0))
    running = fit(tmp_path, module, max_epochs=4, limit_train_batches=2, callbacks=[kept])
    assert [int(held["cell"].sum()) for held in kept.kept] == [30, 30, 30, 6]
    assert [row["arch/operations"] for row in rows(running)] == [30, 30, 6, 6]


def test_a_threshold_of_zero_changes_nothing(tmp_path: Path) -> None:
    short = {"max_epochs": 2, "limit_train_batches": 2}
    plain = fit(tmp_path / "a", search("S2", channels=2), **short)
    none = fit(tmp_path / "b", search("S2", channels=2, pruning=ShareThreshold(0.0, 0.0)), **short)
    assert differing(state(plain), state(none)) == []
    assert "arch/operations" not in rows(plain)[0]
    assert rows(none)[0]["arch/operations"] == 56


def test_alpha_of_what_left_no_longer_feels_the_loss(tmp_path: Path) -> None:
    module = pruned("S2", channels=2, arch_weight_decay=0.0, arch_betas=(0.0, 0.9), pruning=ShareThreshold(0.6, 0.6))
    fit(tmp_path, module, max_epochs=1, limit_train_batches=2, limit_val_batches=0)
    assert 28 <= sum(int(kept.sum()) for kept in module.architecture.active_mask.values()) < 56
    before = {kind: a.detach().clone() for kind, a in module.alphas.items()}
    kept = {kind: held.clone() for kind, held in module.architecture.active_mask.items()}
    context = module.context("arch")
    loss = module.supernet(torch.randn(4, 1, 8, 8), module.mixtures(context)).square().mean()
    slopes = dict(zip(before, torch.autograd.grad(loss, list(module.alphas.values())), strict=True))
    for kind, slope in slopes.items():
        assert bool((slope[~kept[kind]] == 0).all())
        both = kept[kind].sum(dim=-1) == 2
        assert bool((slope[both] != 0).any()) == bool(both.any())


@pytest.mark.parametrize(
    "when",
    [
        pytest.param({"save_on_train_epoch_end": True}, marks=pytest.mark.slow, id="epoch"),
        pytest.param({"every_n_train_steps": 4}, id="step"),
    ],
)
def test_a_resumed_search_is_the_undisturbed_one_bit_for_bit(tmp_path: Path, when: dict[str, Any]) -> None:
    def made() -> DARTS:
        return pruned(relaxation=GumbelOneHot(), pruning=ShareThreshold(0.0, 0.6), drop_path=0.3)

    whole = fit(tmp_path / "whole", made(), max_epochs=4)
    saver = ModelCheckpoint(tmp_path / "cut", "last", enable_version_counter=False, **when)
    with pytest.raises(RuntimeError, match="killed"):
        fit(tmp_path / "cut", made(), max_epochs=4, callbacks=[saver, StopAfter(14)])
    cut = load(tmp_path / "cut/last.ckpt", SearchModule)
    assert 6 < cut.architecture.active_mask["cell"].sum() < 30  # in the midst of it
    resumed = fit(tmp_path / "cut", made(), tmp_path / "cut/last.ckpt", max_epochs=4)
    assert differing(state(resumed), state(whole)) == []
    assert rows(resumed) == rows(whole)
    kept: Any = [running.lightning_module.architecture.active_mask["cell"] for running in (whole, resumed)]
    assert torch.equal(*kept)
    assert kept[0].sum() == 6
