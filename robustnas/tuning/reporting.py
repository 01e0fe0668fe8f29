"""The callback by which a trial reports its metric after each epoch, and is stopped early."""

from __future__ import annotations

import math
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor


class Reporting(Callback):
    """Reports a metric of each epoch to a trial of Optuna, and stops the run where its pruner says so."""

    def __init__(self, trial: Any, metric: str) -> None:
        self.trial, self.metric = trial, metric
        self.value: float | None = None  # the latest
        self.epochs, self.pruned = 0, False
        self._seen: Tensor | None = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember the value of an earlier epoch, which stays where nothing is measured."""
        self._seen = trainer.callback_metrics.get(self.metric)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.epochs = trainer.current_epoch + 1
        found = trainer.callback_metrics.get(self.metric)
        if found is None or found is self._seen or self.pruned:
            return
        self.value = float(found)
        if not math.isfinite(self.value):
            raise ValueError(
                f"Expected `{self.metric}` to be finite, but got {self.value} in epoch {trainer.current_epoch}."
            )
        self.trial.report(self.value, self.epochs)
        if self.epochs < (trainer.max_epochs or 0) and self.trial.should_prune():
            self.pruned = trainer.should_stop = True
