"""Weights of classes in the loss, for data in which some classes are rare."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

from robustnas.data import ImageData, Role
from robustnas.training.tasks import Task

ClassWeights = Literal["balanced"] | list[float] | None


def check_class_weights(weights: ClassWeights, task: Task, num_classes: int) -> None:
    """Refuse weights that do not fit the task."""
    if weights is None:
        return
    if task == "regression":
        raise ValueError(
            f"Expected `class_weights` to be None for regression, which has no classes, but got {weights}."
        )
    if isinstance(weights, str):
        if weights != "balanced":
            raise ValueError(f"Expected `class_weights` to be None, 'balanced' or a list, but got {weights!r}.")
        return
    if len(weights) != num_classes or not all(math.isfinite(weight) and weight > 0 for weight in weights):
        raise ValueError(
            f"Expected `class_weights` to be {num_classes} positive numbers, one for each class, but got {weights}."
        )


def initial(weights: ClassWeights, num_classes: int) -> Tensor | None:
    """Weights as far as they are known without data."""
    if weights is None:
        return None
    return torch.ones(num_classes) if isinstance(weights, str) else torch.tensor(weights, dtype=torch.float32)


def balanced(targets: Tensor, task: Task, num_classes: int) -> Tensor:
    r"""Return weights that let every class, or positive and negative samples of every label, count alike.

    With :math:`n` samples, :math:`n_c` of them of class :math:`c`, and :math:`K` classes that have samples,

    .. math:: w_c = \frac{n}{K n_c}

    as in scikit-learn, so that the mean weight of a sample is 1; a class without a sample has weight 0. For labels,
    with :math:`n_c` positive samples of label :math:`c`, the weight of the positive ones is
    :math:`w_c = (n - n_c) / n_c`; a label whose samples are all positive or all negative has weight 1.

    Args:
        targets: Targets of the samples that are trained on, classes ``[samples]`` or labels ``[samples, labels]``.
        task: ``classification`` or ``multilabel``.
        num_classes: Classes or labels.
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
