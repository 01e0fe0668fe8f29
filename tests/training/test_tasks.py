"""Losses and metrics of the three tasks are their formulas."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
from golden import check
from runs import fit, search
from tables import check_each
from torch import Tensor

from robustnas.data import Images
from robustnas.data.module import ImageData
from robustnas.training.tasks import SampleMean, check_task, loss_of, metrics_of, update


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_classification_is_cross_entropy(smoothing: float) -> None:
    outputs = torch.randn(6, 4, dtype=torch.float64)
    targets = torch.tensor([0, 3, 1, 1, 2, 0])
    total = 0.0
    for row, target in zip(outputs.tolist(), targets.tolist(), strict=True):
        log_sum = math.log(sum(map(math.exp, row)))
        for k, value in enumerate(row):
            total -= ((1 - smoothing) * (k == target) + smoothing / 4) * (value - log_sum)
    assert loss_of("classification", smoothing)(outputs, targets).item() == pytest.approx(total / 6, rel=1e-12)


def test_multilabel_is_binary_cross_entropy_of_each_label() -> None:
    outputs = torch.randn(5, 3, dtype=torch.float64)
    targets = torch.rand(5, 3).round()
    chances = 1 / (1 + torch.exp(-outputs))
    expected = -(targets * chances.log() + (1 - targets) * (1 - chances).log()).mean()
    check(loss_of("multilabel")(outputs, targets), expected)


def test_regression_is_the_squared_error() -> None:
    def correct(shape: tuple[int, ...]) -> None:
        outputs = torch.randn(5, shape[1] if len(shape) > 1 else 1, dtype=torch.float64)
        targets = torch.randn(shape)
        expected = sum(
            (a - b) ** 2 for a, b in zip(outputs.flatten().tolist(), targets.flatten().tolist(), strict=True)
        )
        assert loss_of("regression")(outputs, targets).item() == pytest.approx(expected / outputs.numel(), rel=1e-12)

    check_each([(5,), (5, 1), (5, 3)], correct)


@pytest.mark.parametrize(
    ("task", "given", "computed"),
    [
        ("classification", torch.bfloat16, torch.float32),
        ("multilabel", torch.bfloat16, torch.float32),
        ("regression", torch.bfloat16, torch.float32),
        ("classification", torch.float32, torch.float32),
        ("multilabel", torch.float64, torch.float64),
    ],
)
def test_losses_are_computed_in_float32_or_better(task: Any, given: torch.dtype, computed: torch.dtype) -> None:
    outputs = torch.randn(4, 3).to(given)
    targets = torch.tensor([0, 1, 2, 0]) if task == "classification" else torch.rand(4, 3).round()
    loss = loss_of(task)(outputs, targets)
    assert loss.dtype == computed
    assert torch.equal(loss, loss_of(task)(outputs.to(computed), targets))


def measured(task: Any, classes: int, batches: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
    metrics = metrics_of(task, classes, "val/")
    for outputs, targets in batches:
        update(metrics, task, outputs, targets)
    return {name: float(value) for name, value in metrics.compute().items()}


def test_accuracy_counts_samples_not_batches() -> None:
    outputs, targets = torch.randn(30, 8), torch.randint(0, 8, (30,))
    order = outputs.argsort(dim=1, descending=True)
    top1 = sum(int(row[0] == target) for row, target in zip(order, targets, strict=True)) / 30
    top5 = sum(int(target in row[:5]) for row, target in zip(order, targets, strict=True)) / 30
    found = measured("classification", 8, [(outputs[:7], targets[:7]), (outputs[7:], targets[7:])])
    assert found == {"val/top1": pytest.approx(top1), "val/top5": pytest.approx(top5)}
    assert 0 < top1 < top5 < 1


@pytest.mark.parametrize(("classes", "names"), [(5, {"val/top1"}), (6, {"val/top1", "val/top5"})])
def test_top5_comes_with_the_sixth_class(classes: int, names: set[str]) -> None:
    assert set(measured("classification", classes, [(torch.randn(3, classes), torch.tensor([0, 1, 2]))])) == names


def test_multilabel_metrics_are_their_formulas() -> None:
    outputs, targets = torch.randn(12, 2), torch.rand(12, 2).round()
    targets[0], targets[1] = 1.0, 0.0
    accuracies, precisions = [], []
    for label in range(2):
        scored = sorted(zip(outputs[:, label].tolist(), targets[:, label].tolist(), strict=True), reverse=True)
        accuracies.append(sum((score > 0) == (true == 1) for score, true in scored) / 12)
        hits = [i for i, (_, true) in enumerate(scored, 1) if true == 1]
        precisions.append(sum(k / i for k, i in enumerate(hits, 1)) / len(hits))
    found = measured("multilabel", 2, [(outputs[:5], targets[:5]), (outputs[5:], targets[5:])])
    expected = {"val/accuracy": pytest.approx(sum(accuracies) / 2), "val/map": pytest.approx(sum(precisions) / 2)}
    assert found == expected


@pytest.mark.parametrize("shape", [(10,), (10, 1)])
def test_regression_metrics_are_their_formulas(shape: tuple[int, ...]) -> None:
    outputs, targets = torch.randn(10, 1), torch.randn(shape)
    a, b = outputs.flatten().double(), targets.flatten().double()
    mse = float((a - b).square().mean())
    r2 = 1 - float((a - b).square().sum() / (b - b.mean()).square().sum())
    found = measured("regression", 1, [(outputs[:4], targets[:4]), (outputs[4:], targets[4:])])
    assert found == {"val/mse": pytest.approx(mse, rel=1e-5), "val/r2": pytest.approx(r2, rel=1e-4)}


def test_regression_metrics_take_several_values() -> None:
    outputs, targets = torch.randn(10, 3), torch.randn(10, 3)
    found = measured("regression", 3, [(outputs[:4], targets[:4]), (outputs[4:], targets[4:])])
    r2 = 1 - (outputs - targets).square().sum(0) / (targets - targets.mean(0)).square().sum(0)
    assert found["val/mse"] == pytest.approx(float((outputs - targets).square().mean()), rel=1e-5)
    assert found["val/r2"] == pytest.approx(float(r2.mean()), rel=1e-4)


def test_metrics_are_part_of_a_checkpoint_if_asked() -> None:
    batches = [(torch.randn(9, 7), torch.randint(0, 7, (9,))) for _ in range(2)]
    whole = metrics_of("classification", 7, "train/", persistent=True)
    first = metrics_of("classification", 7, "train/", persistent=True)
    for outputs, targets in batches:
        update(whole, "classification", outputs, targets)
    update(first, "classification", *batches[0])
    second = metrics_of("classification", 7, "train/", persistent=True)
    second.load_state_dict(first.state_dict())
    update(second, "classification", *batches[1])
    assert second.compute() == whole.compute()
    assert metrics_of("classification", 7, "val/").state_dict() == {}


def test_a_mean_over_samples_weighs_batches_by_their_size() -> None:
    mean = SampleMean()
    mean.update(torch.tensor(2.0, requires_grad=True), 3)
    mean.update(torch.tensor(4.0), 1)
    assert mean.compute().item() == 2.5
    assert not mean.compute().requires_grad
    again = SampleMean()
    again.load_state_dict(mean.state_dict())
    again.update(torch.tensor(10.0), 1)
    assert again.compute().item() == 4.0
    again.reset()
    again.update(torch.tensor(1.0), 1)
    assert again.compute().item() == 1.0


def test_tasks_that_make_no_sense_are_refused() -> None:
    def correct(task: str, classes: int, sentence: str) -> None:
        with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
            check_task(task, classes)

    check_each(
        [
            (
                "ranking",
                3,
                "Expected `task` to be one of ['classification', 'multilabel', 'regression'], but got 'ranking'.",
            ),
            ("classification", 1, "Expected `num_classes` to be at least 2 for classification, but got 1."),
            ("regression", 0, "Expected `num_classes` to be at least 1 for regression, but got 0."),
            ("multilabel", 0, "Expected `num_classes` to be at least 1 for multilabel, but got 0."),
        ],
        lambda row: correct(*row),
    )


class Drawn(ImageData):
    """Images whose brightness tells the targets."""

    def __init__(self, task: Any, **shared: Any) -> None:
        super().__init__(**{"batch_size": 8, "augmentation": None, **shared})
        self.wanted = task

    def load(self) -> tuple[Images, None]:
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (80, 1, 8, 8), dtype=torch.uint8, generator=generator)
        light = pixels.float().mean(dim=(1, 2, 3)) / 255
        if self.wanted == "regression":
            return Images(pixels, light, "regression", ("light",)), None
        return Images(pixels, torch.stack([light > 0.5, light < 0.4], 1).float(), "multilabel", ("light", "dark")), None


@pytest.mark.parametrize(
    ("task", "classes", "names"),
    [("regression", 1, {"mse", "r2"}), ("multilabel", 2, {"accuracy", "map"})],
)
def test_a_search_runs_for_other_tasks_than_classification(tmp_path, task: Any, classes: int, names: set[str]) -> None:
    module = search(task=task, num_classes=classes)
    running = fit(tmp_path, module, data=Drawn(task), max_epochs=2)
    for stage in ("train", "val"):
        assert {f"{stage}/{name}" for name in names} <= set(running.callback_metrics)
    assert running.callback_metrics["train/loss"].isfinite()
    module.genotype().validate(module.space)
