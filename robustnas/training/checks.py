"""What is refused before training starts, and what stops it."""

from __future__ import annotations

import math
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from robustnas.data import ImageData


class NotFiniteError(ValueError):
    """A loss became infinite or undefined."""


class Finite:
    """Stops a run at a loss that is not finite, naming the step.

    Reading a number from a GPU makes it wait, so there the first bad step is remembered on the device and read every
    50 steps and at the last batch of an epoch, before a checkpoint is written.
    """

    def __init__(self) -> None:
        self._bad: Tensor | None = None

    def check(self, name: str, loss: Tensor, step: int, epoch: int, last: bool) -> None:
        """Look at a loss.

        Args:
            name: Which loss, for the error.
            loss: A scalar.
            step: Number of the step.
            epoch: Number of the epoch.
            last: Whether the epoch ends with this step.

        Raises:
            NotFiniteError: If a loss was not finite at this step, or at one not looked at before.
        """
        if self._bad is None:
            self._bad = torch.full((), math.inf, device=loss.device)
        now = torch.where(loss.isfinite(), math.inf, torch.full_like(self._bad, float(step)))
        self._bad = torch.minimum(self._bad, now)
        if (last or loss.is_cpu or step % 50 == 0) and math.isfinite(first := self._bad.item()):
            raise NotFiniteError(
                f"Expected a finite {name} loss, but got one that is not at step {int(first)} (epoch {epoch}). "
                f"The checkpoint of the epoch before, if there is one, is still good; lower learning rates may help."
            )


def check_positive(**values: float) -> None:
    """Refuse numbers that are not positive.

    Args:
        **values: Numbers by the name of their argument.

    Raises:
        ValueError: If one is zero, negative or not finite.
    """
    for name, value in values.items():
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"Expected `{name}` to be positive, but got {value}.")


def check_not_negative(**values: float) -> None:
    """Refuse numbers below zero.

    Args:
        **values: Numbers by the name of their argument.

    Raises:
        ValueError: If one is negative or not finite.
    """
    for name, value in values.items():
        if not (value >= 0 and math.isfinite(value)):
            raise ValueError(f"Expected `{name}` to be zero or more, but got {value}.")


def check_below_one(**values: float) -> None:
    """Refuse numbers that are no share of one.

    Args:
        **values: Numbers by the name of their argument.

    Raises:
        ValueError: If one is negative, or one or more.
    """
    for name, value in values.items():
        if not 0 <= value < 1:
            raise ValueError(f"Expected `{name}` to be zero or more and below one, but got {value}.")


def check_precision(precision: str | int | None) -> None:
    """Refuse precisions in which a search fails.

    Args:
        precision: The trainer's, as it was asked for: on a CPU the trainer silently turns float16 into bfloat16.

    Raises:
        ValueError: If α would be stepped in 16 bits, or its gradient pass through float16.
    """
    if str(precision) not in ("None", "32", "32-true", "64", "64-true", "bf16", "bf16-mixed"):
        raise ValueError(
            f"Expected `precision` to be 32-true, 64-true or bf16-mixed, but got {precision}: gradients of α "
            "underflow in float16, where loss scaling does not reach them, and its steps vanish in bfloat16."
        )


def check_momentum(momentum: float, nesterov: bool) -> None:
    """Refuse momenta that stochastic gradient descent cannot have.

    Args:
        momentum: Momentum.
        nesterov: Whether it is Nesterov's.

    Raises:
        ValueError: If it is negative, one or more, or zero where Nesterov's looks ahead by it.
    """
    check_below_one(momentum=momentum)
    if nesterov and momentum == 0:
        raise ValueError("Expected `momentum` to be positive with `nesterov`, but got 0.")


def check_trainer(trainer: Trainer) -> None:
    """Refuse options of the trainer with which nothing would be trained.

    Args:
        trainer: The trainer.

    Raises:
        ValueError: If an epoch would have no batches, or validation is to come every zero epochs or batches.
    """
    if trainer.limit_train_batches == 0:
        raise ValueError("Expected `limit_train_batches` to leave at least one batch, but got 0.")
    for name in ("check_val_every_n_epoch", "val_check_interval"):
        every = getattr(trainer, name)
        if isinstance(every, int | float) and every <= 0:
            raise ValueError(f"Expected `{name}` to be positive, but got {every}.")


def check_fit(module: LightningModule, trainer: Trainer, stage: str) -> None:
    """Refuse a run that cannot work, before it starts.

    Args:
        module: A search or an evaluation, with its arguments in ``description``.
        trainer: The trainer, with its data module, if there is one.
        stage: ``fit``, ``validate``, ``test`` or ``predict``.

    Raises:
        ValueError: If there are no epochs, if precision is too low for α, or if the data do not fit the network or the
            penalty the space.
    """
    if stage == "fit" and (trainer.max_epochs is None or trainer.max_epochs < 1):
        raise ValueError(f"Expected `max_epochs` to be at least 1, but got {trainer.max_epochs}.")
    check_precision(trainer.precision)
    if stage == "fit" and (penalty := getattr(module, "penalty", None)) is not None:
        penalty.check(module.space)
    data: Any = getattr(trainer, "datamodule", None)
    if not isinstance(data, ImageData):
        return
    arguments: dict[str, Any] = module.description["init_args"]  # type: ignore[index, assignment]
    found = {"num_classes": data.num_classes, "image_channels": data.image_shape[0], "task": data.task}
    for argument, value in found.items():
        if arguments[argument] != value:
            raise ValueError(f"Expected `{argument}` to be {value!r}, as in the data, but got {arguments[argument]!r}.")
    check_images: Any = module.check_images
    check_images(torch.empty(1, *data.image_shape, device="meta"))
