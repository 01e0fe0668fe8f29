"""What is predicted: the loss of each kind of target, and how well it is predicted."""

from __future__ import annotations

from typing import Literal, Protocol, get_args

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import MeanSquaredError, Metric, MetricCollection, R2Score
from torchmetrics.classification import MulticlassAccuracy, MultilabelAccuracy, MultilabelAveragePrecision

Task = Literal["classification", "multilabel", "regression"]


def check_task(task: str, num_classes: int) -> None:
    """Refuse a task that is unknown, or whose number of outputs makes no sense."""
    if task not in get_args(Task):
        raise ValueError(f"Expected `task` to be one of {list(get_args(Task))}, but got {task!r}.")
    least = 2 if task == "classification" else 1
    if num_classes < least:
        raise ValueError(f"Expected `num_classes` to be at least {least} for {task}, but got {num_classes}.")


class Loss(Protocol):
    """A loss of outputs and targets, with weights of classes where there are some."""

    def __call__(self, outputs: Tensor, targets: Tensor, class_weights: Tensor | None = None) -> Tensor: ...


def loss_of(task: Task, label_smoothing: float = 0.0) -> Loss:
    """The loss of a task, averaged over samples and outputs, and computed in float32 or better."""

    def loss(outputs: Tensor, targets: Tensor, class_weights: Tensor | None = None) -> Tensor:
        outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
        weights = None if class_weights is None else class_weights.to(outputs)
        if task == "classification":
            return F.cross_entropy(outputs, targets, weights, label_smoothing=label_smoothing)
        if task == "multilabel":
            return F.binary_cross_entropy_with_logits(outputs, targets.to(outputs.dtype), pos_weight=weights)
        return F.mse_loss(outputs, targets.to(outputs.dtype).view_as(outputs))

    return loss


class SampleMean(Metric):
    """Mean over samples and processes of a loss that comes batch by batch; checkpoints hold what it has seen."""

    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("total", "count"):
            self.add_state(name, torch.zeros(()), dist_reduce_fx="sum", persistent=True)

    def update(self, loss: Tensor, size: int) -> None:
        """Count the mean loss of ``size`` samples."""
        self.total += size * loss.detach()
        self.count += size

    def compute(self) -> Tensor:
        return self.total / self.count


def metrics_of(task: Task, num_classes: int, prefix: str, persistent: bool = False) -> MetricCollection:
    """Metrics of a task: top-1 and top-5 accuracy; accuracy of labels and mean average precision; squared error, R²."""
    metrics: dict[str, Metric | MetricCollection]
    if task == "classification":
        metrics = {"top1": MulticlassAccuracy(num_classes, average="micro")}
        if num_classes > 5:
            metrics["top5"] = MulticlassAccuracy(num_classes, top_k=5, average="micro")
    elif task == "multilabel":
        metrics = {"accuracy": MultilabelAccuracy(num_classes), "map": MultilabelAveragePrecision(num_classes)}
    else:
        metrics = {"mse": MeanSquaredError(num_outputs=1), "r2": R2Score()}
    collection = MetricCollection(metrics, prefix=prefix)
    collection.persistent(persistent)
    return collection


def update(metrics: MetricCollection, task: Task, outputs: Tensor, targets: Tensor) -> None:
    """Count a batch."""
    outputs = outputs.detach().float()
    if task == "multilabel":
        metrics.update(outputs.sigmoid(), (targets > 0.5).int())
    elif task == "regression":
        metrics.update(outputs.reshape(len(outputs), -1).squeeze(-1), targets.reshape(len(targets), -1).squeeze(-1))
    else:
        metrics.update(outputs, targets)
