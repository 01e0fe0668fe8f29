"""Runs of three steps an epoch that are interrupted, to go on with other options."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import runs
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from runs import StopAfter

from robustnas.training import EvaluationModule, ResNet

STEPS = 3  # of an epoch, in a search and in an evaluation
LATER = 6  # epochs of the longer run
fit = partial(runs.fit, limit_train_batches=STEPS)


def cosine(epoch: int, epochs: int, lr: float = 0.025, lr_min: float = 0.001) -> float:
    return lr_min + (lr - lr_min) * (1 + math.cos(math.pi * epoch / epochs)) / 2


def evaluation(**options: Any) -> EvaluationModule:
    return EvaluationModule(**{"architecture": ResNet(4, 1), "image_channels": 1, **options})


def begun(folder: Path, module: Any, epoch: int = 2, epochs: int = 3, inside: int = 0, data: Any = None) -> Path:
    """A checkpoint of a run of ``epochs`` epochs at the start of ``epoch``, or so many steps ``inside`` it."""
    step = epoch * STEPS + inside
    every = {"every_n_train_steps": step} if inside else {"every_n_epochs": epoch}
    saver = ModelCheckpoint(folder, "begun", save_on_train_epoch_end=not inside, **every)
    with pytest.raises(RuntimeError, match="killed"):
        fit(folder, module, max_epochs=epochs, callbacks=[saver, StopAfter(step + 1)], data=data)
    return folder / "begun.ckpt"


class Seen(Callback):
    """What a run uses: the learning rate of each epoch, and what ``read`` says of its module."""

    def __init__(self, read: Callable[[Any], float] = lambda module: 0.0) -> None:
        self.read, self.rates, self.values = read, dict[int, float](), dict[int, float]()

    def on_train_batch_start(self, trainer: Trainer, module: Any, *_: Any) -> None:
        self.rates[trainer.current_epoch] = trainer.optimizers[0].param_groups[0]["lr"]
        self.values[trainer.current_epoch] = self.read(module)
