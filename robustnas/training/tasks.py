"""What is predicted: the loss of each kind of target, weights of classes in it, and how well it is predicted."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, Protocol, get_args

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import MeanSquaredError, Metric, MetricCollection, R2Score
from torchmetrics.classification import MulticlassAccuracy, MultilabelAccuracy, MultilabelAveragePrecision

from robustnas.data import ImageData, Role

Task = Literal["classification", "multilabel", "regression"]
ClassWeights = Literal["balanced"] | list[float] | None


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


def probabilities_of(task: Task, outputs: Tensor) -> Tensor:
    """Probabilities of classes or of labels, in float32 or better; predicted values are left as they are."""
    outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
    if task == "regression":
        return outputs
    return outputs.softmax(dim=1) if task == "classification" else outputs.sigmoid()


def initial(weights: ClassWeights, task: Task, num_classes: int) -> Tensor | None:
    """Weights of classes as far as they are known without data; refused where they do not fit the task."""
    if weights is None:
        return None
    if task == "regression":
        raise ValueError(
            f"Expected `class_weights` to be None for regression, which has no classes, but got {weights}."
        )
    if weights == "balanced":
        return torch.ones(num_classes)
    if isinstance(weights, str):
        raise ValueError(f"Expected `class_weights` to be None, 'balanced' or a list, but got {weights!r}.")
    if len(weights) != num_classes or not all(math.isfinite(weight) and weight > 0 for weight in weights):
        raise ValueError(
            f"Expected `class_weights` to be {num_classes} positive numbers, one for each class, but got {weights}."
        )
    return torch.tensor(weights, dtype=torch.float32)


def balanced(targets: Tensor, task: Task, num_classes: int) -> Tensor:
    r"""Return weights that let every class, or positive and negative samples of every label, count alike.

    With :math:`n` samples, :math:`n_c` of them of class :math:`c`, and :math:`K` classes that have samples,

    .. math:: w_c = \frac{n}{K n_c}

    as in scikit-learn, so that the mean weight of a sample is 1; a class without a sample has weight 0. For labels,
    with :math:`n_c` positive samples of label :math:`c`, the weight of the positive ones is
    :math:`w_c = (n - n_c) / n_c`; a label whose samples are all positive or all negative has weight 1.

    ``targets`` are those of the samples that are trained on, classes ``[samples]`` or labels ``[samples, labels]``.
    """
    samples = len(targets)
    if task == "classification":
        counts = targets.bincount(minlength=num_classes).double()
        return torch.where(counts > 0, samples / ((counts > 0).sum() * counts), 0.0).float()
    counts = (targets > 0.5).sum(0).double()
    return torch.where((counts > 0) & (counts < samples), (samples - counts) / counts, 1.0).float()


def balanced_on(data: object, roles: Iterable[Role]) -> Tensor:
    """Balanced weights for the samples of some roles."""
    if not isinstance(data, ImageData):
        raise ValueError(
            f"Expected `datamodule` to be an ImageData, whose classes `class_weights` counts, but got "
            f"{type(data).__name__}."
        )
    return balanced(data.split.train.targets[data.split.union(*roles)], data.task, data.num_classes)
