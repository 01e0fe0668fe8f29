"""The evaluation trains with the schedule, losses and roles it says, and touches the test set once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import ModelCheckpoint
from runs import differing, digits, fit, rows, search, state, trainer

from robustnas.data import Batch
from robustnas.training import EvaluationModule, Found, ResNet

CELL = "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|none~0|avg_pool_3x3~1|nor_conv_3x3~2|"
DARTS_CELL = ", ".join(f"{source}-{node} skip_connect" for node in range(2, 6) for source in (0, 1))
DARTS_TEXT = f"DARTS normal: {DARTS_CELL.replace('skip_connect', 'sep_conv_3x3')} | reduce: {DARTS_CELL}"


def evaluation(**options: Any) -> EvaluationModule:
    found = options.pop("architecture", Found(CELL, channels=4, cells=1))
    return EvaluationModule(found, image_channels=1, **{"drop_path": 0.0, **options})


def ready(module: EvaluationModule, epoch: int = 0, epochs: int = 10) -> EvaluationModule:
    """A module that thinks it is in an epoch of a run, and logs nowhere."""
    module.log = module.log_dict = lambda *_, **__: None  # type: ignore[method-assign, assignment]
    running: Any = SimpleNamespace(
        current_epoch=epoch, max_epochs=epochs, is_last_batch=False, global_step=0, global_rank=0, barebones=False
    )
    running.strategy = SimpleNamespace(root_device=torch.device("cpu"))
    module._trainer = running
    return module


def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(6, 1, 8, 8, generator=generator)
    return Batch(images, torch.tensor([0, 1, 2, 3, 4, 5]), torch.tensor(0))


def test_the_loss_is_smoothed_and_adds_the_auxiliary_head() -> None:
    head = Found(DARTS_TEXT, channels=4, layers=3, auxiliary=True)
    module = ready(evaluation(architecture=head, auxiliary_weight=0.3, label_smoothing=0.2))
    loss = module.training_step(batch(), 0)
    outputs, auxiliary = module.network.with_auxiliary(batch().images)
    target = torch.full((6, 10), 0.02).scatter_(1, batch().targets[:, None], 0.82)

    def smoothed(logits: torch.Tensor) -> torch.Tensor:
        return -(target * F.log_softmax(logits, dim=1)).sum(dim=1).mean()

    assert auxiliary is not None
    torch.testing.assert_close(loss, smoothed(outputs) + 0.3 * smoothed(auxiliary))


def test_the_loss_has_the_weights_of_classes_also_at_the_auxiliary_head() -> None:
    head = Found(DARTS_TEXT, channels=4, layers=3, auxiliary=True)
    weights = [float(1 + i) for i in range(10)]
    module = ready(evaluation(architecture=head, auxiliary_weight=0.3, class_weights=weights))
    loss = module.training_step(batch(), 0)
    outputs, auxiliary = module.network.with_auxiliary(batch().images)
    assert auxiliary is not None
    expected = [F.cross_entropy(each, batch().targets, torch.tensor(weights)) for each in (outputs, auxiliary)]
    torch.testing.assert_close(loss, expected[0] + 0.3 * expected[1])


@pytest.mark.parametrize(("epoch", "expected"), [(0, 0.0), (5, 0.1), (9, 0.18)])
def test_drop_path_grows_linearly(epoch: int, expected: float) -> None:
    module = ready(evaluation(drop_path=0.2), epoch)
    seen = []
    plain = module.network.with_auxiliary
    module.network.with_auxiliary = lambda images, drop_path: seen.append(drop_path) or plain(images)  # type: ignore
    module.training_step(batch(), 0)
    assert seen == [pytest.approx(expected)]


class Watching(Callback):
    """Notes from which roles batches come, by the size of their loaders."""

    def __init__(self) -> None:
        self.trained: list[int] = []
        self.tested = 0

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Batch, index: int) -> None:
        self.trained.append(len(batch.targets))

    def on_test_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Batch, *_: Any) -> None:
        self.tested += len(batch.targets)


@pytest.mark.parametrize("train_on_selection", [False, True])
def test_roles_are_kept_apart(tmp_path: Path, train_on_selection: bool) -> None:
    data, watching = digits(), Watching()
    module = evaluation(train_on_selection=train_on_selection)
    running = fit(tmp_path, module, data=data, callbacks=[watching])  # type: ignore[arg-type]
    sizes = {role: len(data.role(role)) for role in ("weights", "arch", "selection", "test")}
    per_epoch = sizes["weights"] + sizes["arch"] + train_on_selection * sizes["selection"]
    assert sum(watching.trained) == per_epoch // 16 * 16
    assert watching.tested == 0
    running.test(module, data, verbose=False)
    assert watching.tested == sizes["test"]


def test_resumes_exactly(tmp_path: Path) -> None:
    whole = fit(tmp_path / "whole", evaluation(drop_path=0.3), max_epochs=3)  # type: ignore[arg-type]
    last = ModelCheckpoint(tmp_path / "cut", "last", save_on_train_epoch_end=True, enable_version_counter=False)

    class Stop(Callback):
        def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
            if trainer.current_epoch == 2:
                raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(tmp_path / "cut", evaluation(drop_path=0.3), max_epochs=3, callbacks=[last, Stop()])  # type: ignore[arg-type]
    resumed = fit(tmp_path / "cut", evaluation(drop_path=0.3), tmp_path / "cut" / "last.ckpt", max_epochs=3)  # type: ignore[arg-type]
    assert differing(state(whole), state(resumed)) == []
    assert rows(whole) == rows(resumed)


def test_inherits_the_weights_of_a_search(tmp_path: Path) -> None:
    searched = fit(tmp_path, search(), callbacks=[])
    searched.save_checkpoint(tmp_path / "search.ckpt")
    found = Found(CELL, channels=4, cells=1, inherit_from=str(tmp_path / "search.ckpt"))
    inherited = evaluation(architecture=found).network.edgewise_state_dict()  # type: ignore[union-attr]
    supernet = searched.lightning_module.supernet.edgewise_state_dict()  # type: ignore[union-attr, operator]
    name = "cells.0.edge.0-1.nor_conv_3x3.conv"
    assert torch.equal(inherited[name], supernet[name])
    fresh = evaluation().network.edgewise_state_dict()  # type: ignore[union-attr]
    assert not torch.equal(fresh[name], supernet[name])


def test_a_resnet_is_evaluated_likewise(tmp_path: Path) -> None:
    module = evaluation(architecture=ResNet(channels=4, blocks=1))
    running = trainer(tmp_path)
    running.fit(module, digits())
    assert 0 <= running.test(module, digits(), verbose=False)[0]["test/top1"] <= 1
