"""Weights of classes: their formula, the losses they enter, and that they are recorded and resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from runs import digits, fit, search, trainer
from sklearn.utils.class_weight import compute_class_weight
from tables import check_each
from torch import Tensor

from robustnas.data import Batch
from robustnas.runs.record import Run
from robustnas.training import EvaluationModule, ResNet, SearchModule
from robustnas.training.tasks import balanced, loss_of

UNEQUAL = [float(1 + i) for i in range(10)]


def labels(seed: int, count: int = 60, classes: int = 4) -> Tensor:
    draw = np.random.default_rng(seed)
    return torch.from_numpy(draw.choice(classes, count, p=[0.7, 0.2, 0.06, 0.04][:classes]))


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    def check(seed: int) -> None:
        targets = labels(seed)
        there = targets.unique().numpy()
        expected = np.zeros(5)
        expected[there] = compute_class_weight("balanced", classes=there, y=targets.numpy())
        np.testing.assert_allclose(balanced(targets, "classification", 5).numpy(), expected, rtol=1e-6)

    check_each(range(5), check)


def test_balanced_weights_of_labels_let_both_kinds_count_alike() -> None:
    targets = torch.tensor([[1, 1, 0], [0, 1, 0], [0, 1, 0], [0, 1, 0]]).float()
    assert balanced(targets, "multilabel", 3).tolist() == [3.0, 1.0, 1.0]


def test_the_balanced_loss_is_the_mean_over_classes_of_their_mean_losses() -> None:
    def check(seed: int) -> None:
        targets = labels(seed)
        outputs = torch.randn(60, 4, dtype=torch.float64)
        each = [loss_of("classification")(outputs[targets == c], targets[targets == c]) for c in targets.unique()]
        loss = loss_of("classification")(outputs, targets, balanced(targets, "classification", 4).double())
        assert loss.item() == pytest.approx((sum(each) / len(each)).item(), rel=1e-6)

    check_each(range(3), check)


def test_weights_of_labels_multiply_the_positive_terms() -> None:
    outputs, targets = torch.randn(7, 3, dtype=torch.float64), torch.rand(7, 3).round()
    weights = torch.tensor([2.0, 0.5, 1.0])
    chances = 1 / (1 + torch.exp(-outputs))
    expected = -(weights * targets * chances.log() + (1 - targets) * (1 - chances).log()).mean()
    loss = loss_of("multilabel")(outputs, targets, weights)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)


def test_weights_that_do_not_fit_are_refused() -> None:
    def check(options: dict[str, Any], message: str) -> None:
        for build in (search, lambda **given: EvaluationModule(ResNet(4, 1), image_channels=1, **given)):
            with pytest.raises(ValueError, match=message):
                build(**options)

    check_each(
        [
            ({"class_weights": [1.0, 2.0]}, "`class_weights` to be 10 positive numbers, one for each class, but got"),
            ({"class_weights": [0.0] * 10}, "10 positive numbers"),
            ({"class_weights": [float("nan")] * 10}, "10 positive numbers"),
            ({"class_weights": "equal"}, "`class_weights` to be None, 'balanced' or a list, but got 'equal'"),
            (
                {"class_weights": "balanced", "task": "regression"},
                "None for regression, which has no classes, but got bal",
            ),
        ],
        lambda row: check(*row),
    )


def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(torch.randn(9, 1, 8, 8, generator=generator), torch.arange(9), torch.tensor(0))


def test_both_losses_of_a_search_have_the_weights() -> None:
    module = search(class_weights=UNEQUAL)
    weights = dict(module.supernet.named_parameters())
    mixtures = module.mixtures(module.context("arch"))
    outputs = module.supernet(batch().images, mixtures)
    expected = torch.nn.functional.cross_entropy(outputs, batch().targets, torch.tensor(UNEQUAL))
    torch.testing.assert_close(module.loss(batch(), mixtures, weights)[0], expected)
    torch.testing.assert_close(module.arch_loss(batch(), weights), expected)
    assert not torch.isclose(expected, module.task_loss(outputs, batch().targets))


def test_without_weights_nothing_is_kept() -> None:
    assert "class_weights" not in search().state_dict()
    assert search().class_weights is None


def expected_on(roles: tuple[Any, ...]) -> Tensor:
    data = digits()
    counts = data.split.train.targets[data.split.union(*roles)].bincount(minlength=10)
    return counts.sum() / (10 * counts)


def test_balanced_weights_are_counted_on_what_is_trained_recorded_and_loaded(tmp_path: Path) -> None:
    module = search(class_weights="balanced")
    running = fit(tmp_path, module, limit_train_batches=1, callbacks=[ModelCheckpoint(tmp_path, save_last=True)])
    assert module.class_weights is not None
    torch.testing.assert_close(module.class_weights, expected_on(("weights", "arch")))
    assert len(set(module.class_weights.tolist())) > 1
    assert Run(tmp_path).manifest["class_weights"] == module.class_weights.tolist()
    again = SearchModule.load_from_checkpoint(tmp_path / "last.ckpt")
    assert again.class_weights is not None
    assert torch.equal(again.class_weights, module.class_weights)
    assert running.callback_metrics["train/loss"].isfinite()


@pytest.mark.parametrize(("whole", "roles"), [(False, ("weights", "arch")), (True, ("weights", "arch", "selection"))])
def test_an_evaluation_counts_what_it_trains_on_and_measures_without_weights(
    tmp_path: Path, whole: bool, roles: tuple[Any, ...]
) -> None:
    module = EvaluationModule(ResNet(4, 1), image_channels=1, class_weights="balanced", train_on_selection=whole)
    trainer(tmp_path, limit_train_batches=1).fit(module, digits())
    torch.testing.assert_close(module.class_weights, expected_on(roles))
    losses: dict[str, Tensor] = {}
    module.log = lambda name, value, **_: losses.update({name: value})  # type: ignore[method-assign, assignment]
    module.log_dict = lambda *_, **__: None  # type: ignore[method-assign, assignment]
    module.eval()
    module.validation_step(batch(), 0)
    plain = torch.nn.functional.cross_entropy(module(batch().images), batch().targets)
    torch.testing.assert_close(losses["val/loss"], plain)
