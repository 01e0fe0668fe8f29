"""OLES: the operations that freeze are those of the original, and what is frozen rests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from golden import check, golden, part
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.utilities import CombinedLoader
from robustnas.variants import DARTS, OLES
from runs import differing, fit, state
from tables import with_slow
from torch import Tensor
from torch.utils.data import DataLoader

from robustnas.analysis.metrics import FROZEN
from robustnas.data import Batch
from robustnas.networks import PartialChannels
from robustnas.strategies import GradientAgreement, RandomPerturbation
from robustnas.training.hooks.rollback import restore, state_of


class Notes(Callback):
    """Writes down what the original's values are given for, after each step."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def on_train_batch_end(self, trainer: Trainer, module: Any, *_: Any) -> None:
        hook = module.hooks["gradient_agreement"]
        self.rows.append(
            {
                "frozen": hook.frozen.clone(),
                "total": hook.total.clone(),
                "train": trainer.callback_metrics["train/loss_step"].clone(),
                "alphas": {kind: alpha.detach().clone() for kind, alpha in module.alphas.items()},
            }
        )


@pytest.fixture(scope="module", params=[23, pytest.param(44, marks=pytest.mark.slow)])
def replayed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, list[dict[str, Any]], dict[str, Any], dict]:
    """A search on the batches of the case, from its weights and α: over its first decision, or over both."""
    arrays, meta = golden("oles")
    module = OLES(channels=meta["C"], layers=meta["layers"], lr_min=0.025).double()
    module.supernet.load_edgewise_state_dict(part(arrays, "w/"))
    for kind, alpha in module.alphas.items():
        alpha.data.copy_(arrays[f"alpha/{kind}"])
    streams = {"weights": ("", "train"), "arch": ("val_", "val")}
    batches: dict[str, Any] = {
        name: DataLoader(
            [
                Batch(arrays[f"x_{pool}pool"][rows], arrays[f"y_{pool}pool"][rows], torch.tensor(0))
                for rows in arrays[f"{indices}_indices"][: request.param]
            ],
            batch_size=None,
        )
        for name, (pool, indices) in streams.items()
    }
    notes = Notes()
    trainer = Trainer(
        accelerator="cpu", precision="64-true", max_epochs=1, callbacks=[notes], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=tmp_path_factory.mktemp("oles"),
    )  # fmt: skip
    trainer.fit(module, CombinedLoader(batches, "max_size_cycle"))
    return module, notes.rows, arrays, meta


def in_order_of_the_case(module: Any, arrays: dict[str, Any]) -> list[int]:
    """Number in the hook of each operation of the case."""
    names = []
    for place in module.hooks["gradient_agreement"].places:
        cell = module.space.cells[module.supernet.body.kinds[place.cell]]
        edge = cell.edges[place.row]
        names.append(f"cells.{place.cell}.edge.{edge.name}.{edge.operations[place.column]}")
    return [names.index(name) for name in arrays["operations"]]


def test_similarities_and_decisions_are_those_of_the_original(replayed: Any) -> None:
    module, rows, arrays, meta = replayed
    order, similarity = in_order_of_the_case(module, arrays), arrays["out/similarity"]
    assert sorted(order) == list(range(168))
    assert len(rows) in (23, 44)
    frozen = torch.zeros(168, dtype=torch.bool)
    before = torch.zeros(168, dtype=torch.float64)
    for i, row in enumerate(rows):
        total = row["total"][order].double()
        known = (similarity[i] != -9) & ~frozen  # the original stops measuring what is frozen
        if i not in (21, 42):
            check((total - before)[known], similarity[i][known], **meta["tolerances"]["steps"])
        frozen = arrays["out/frozen"][i].bool()
        assert torch.equal(row["frozen"][order], frozen), i
        before = total
    assert frozen.sum() == {23: 38, 44: 54}[len(rows)]


def test_the_steps_are_those_of_the_original(replayed: Any) -> None:
    module, rows, arrays, meta = replayed
    close = meta["tolerances"]["steps"]
    for i in [i for i in (0, 1, 22, 43) if i < len(rows)]:
        check(rows[i]["train"], arrays[f"out/{i}/train_loss"], **close)
        for kind, alpha in rows[i]["alphas"].items():
            check(alpha, arrays[f"out/{i}/alpha/{kind}"], **close)
    if len(rows) < 44:
        return
    final = module.supernet.edgewise_state_dict(of=dict(module.supernet.named_parameters()))
    for name, weight in part(arrays, "out/final/w/").items():
        check(final[name], weight, **close)
    norms = torch.stack([final[name].norm() for name in arrays["out/final/weight_names"]])
    check(norms, arrays["out/final/weight_norms"], **close)


SMALL: dict[str, Any] = {"space": "NASBench201", "cells": 1, "channels": 4, "image_channels": 1, "arch_lr": 0.03}


@dataclass(frozen=True)
class Every(GradientAgreement):
    """Freezes every operation, or every second or third one, at the first decision."""

    every: int = 1

    def disagree(self, total: Tensor, count: Tensor) -> Tensor:
        return torch.arange(len(total)) % self.every == 0


PARTS: dict[str, dict[str, Any]] = {
    "DARTS": {},
    "PC-DARTS": {"step_order": "weights_first", "edge_weights": True, "connection": PartialChannels(2)},
    "SDARTS-RS": {"perturbation": RandomPerturbation(), "drop_path": 0.2},
}
NEUTRAL = [(name, rule) for name in PARTS for rule in ("released", "clean")]


@pytest.mark.parametrize(
    "case", with_slow(NEUTRAL, set(NEUTRAL) - {("DARTS", "released"), ("PC-DARTS", "clean")}), ids="-".join
)
def test_a_threshold_of_minus_one_is_darts_bit_for_bit(tmp_path: Path, case: tuple[str, Any]) -> None:
    name, rule = case
    parts = PARTS[name]
    agreement = GradientAgreement(-1.0, interval=1, rule=rule)
    searches = [DARTS(**SMALL, **parts), OLES(agreement, **SMALL, **parts)]
    plain, neutral = (fit(tmp_path / type(m).__name__, m, max_epochs=2, limit_train_batches=4) for m in searches)
    assert differing(state(plain), state(neutral)) == []
    assert not searches[1].hooks["gradient_agreement"].frozen.any()  # type: ignore[attr-defined]


class Snapshots(Callback):
    """Weights, momentum and α after each step, and the number of frozen operations."""

    def __init__(self) -> None:
        self.states: list[dict[str, Any]] = []
        self.frozen: list[int] = []
        self.clipped: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, module: Any, *_: Any) -> None:
        self.states.append(state(trainer))
        self.frozen.append(int(module.hooks["gradient_agreement"].frozen.sum()))
        slopes = [p.grad for p in module.supernet.parameters() if p.grad is not None]
        self.clipped.append(float(torch.nn.utils.get_total_norm(slopes)))


@pytest.mark.parametrize("rule", ["released", "clean"])
def test_frozen_weights_rest_bit_for_bit_while_the_rest_and_alpha_move(tmp_path: Path, rule: Any) -> None:
    snapshots = Snapshots()
    module = OLES(Every(interval=1, rule=rule), **SMALL)
    running = fit(tmp_path, module, max_epochs=2, limit_train_batches=4, callbacks=[snapshots])
    assert snapshots.frozen == ([0, 0] if rule == "released" else []) + [36] * (6 if rule == "released" else 8)
    early, late = snapshots.states[-2], snapshots.states[-1]
    moved = [name for name in early if "running" not in name and not torch.equal(early[name], late[name])]
    assert not [name for name in moved if ".edge." in name]
    assert {"alphas.cell", "supernet.body.stem.conv.weight", "supernet.body.classifier.weight"} <= set(moved)
    names = [name for name, _ in module.supernet.named_parameters()]
    momenta = {f"optimiser 0 {k} momentum_buffer" for k, name in enumerate(names) if ".edge." not in name}
    assert {name for name in moved if "momentum" in name} == momenta
    assert running.callback_metrics[FROZEN.name] == 36
    assert module.hooks["gradient_agreement"].watched() == []  # so that the step of α costs no more than in DARTS


def test_some_operations_freeze_and_others_learn(tmp_path: Path) -> None:
    """With slices of stacked weights at rest, gradients of frozen weights do not count in the clipping."""
    snapshots, module = Snapshots(), OLES(Every(interval=1, every=3), clip=1e-3, **SMALL)
    fit(tmp_path, module, max_epochs=2, limit_train_batches=4, callbacks=[snapshots])
    hook: Any = module.hooks["gradient_agreement"]
    assert hook.frozen.sum() == 12
    before, after = (one for one in snapshots.states[-2:])
    edgewise = [
        module.supernet.edgewise_state_dict(
            of={n.removeprefix("supernet."): v for n, v in one.items() if n.startswith("supernet.")}
        )
        for one in (before, after)
    ]
    for place, frozen in zip(hook.places, hook.frozen.tolist(), strict=True):
        edge = module.space.cells["cell"].edges[place.row]
        name = f"{('0', '2', '4')[place.cell]}.edge.{edge.name}.{edge.operations[place.column]}.conv"
        assert torch.equal(*(one[f"cells.{name}"] for one in edgewise)) == frozen, name
    assert snapshots.clipped == pytest.approx([1e-3] * 8, rel=1e-3)  # with the frozen ones it would be shorter


def test_identical_batches_agree(tmp_path: Path) -> None:
    class Same(OLES):
        def training_step(self, batch: Any, batch_idx: int) -> None:
            super().training_step({"arch": batch["weights"], "weights": batch["weights"]}, batch_idx)

    module = Same(GradientAgreement(0.99, interval=1, rule="clean"), **{**SMALL, "arch_lr": 1e-6})
    fit(tmp_path, module, max_epochs=1, limit_train_batches=4)
    assert not module.hooks["gradient_agreement"].frozen.any()  # type: ignore[attr-defined]


def test_no_value_is_added_where_alpha_rests(tmp_path: Path) -> None:
    module = OLES(GradientAgreement(0.4, interval=9), **SMALL, arch_every=2)
    fit(tmp_path, module, max_epochs=1, limit_train_batches=4)
    assert module.hooks["gradient_agreement"].values == 2  # type: ignore[attr-defined]
    module = OLES(GradientAgreement(0.4, interval=9), **SMALL, arch_start=1)
    fit(tmp_path, module, max_epochs=2, limit_train_batches=2)
    assert module.hooks["gradient_agreement"].values == 2  # type: ignore[attr-defined]


def test_what_is_frozen_goes_back_with_the_weights(tmp_path: Path) -> None:
    module = OLES(Every(interval=1), **SMALL)
    running = fit(tmp_path, module, max_epochs=1, limit_train_batches=2)
    held, hook = state_of(module), module.hooks["gradient_agreement"]
    assert (hook.values, int(hook.frozen.sum())) == (1, 0)  # type: ignore[attr-defined]
    before = state(running)
    running = fit(tmp_path, module, max_epochs=1, limit_train_batches=4)
    assert int(hook.frozen.sum()) == 36  # type: ignore[attr-defined]
    restore(module, held)
    assert (hook.values, int(hook.frozen.sum()), list(hook.resting())) == (1, 0, [])  # type: ignore[attr-defined]
    assert torch.equal(module.alphas["cell"], before["alphas.cell"])
