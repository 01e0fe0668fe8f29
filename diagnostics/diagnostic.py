"""What all diagnostics are: measures of a search, taken at the ends of epochs, that look and never touch."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from robustnas.diagnostics.budget import Budget
from robustnas.diagnostics.schedule import POINTS, is_scheduled, part_done, planned_epochs

from robustnas.data import Probe
from robustnas.runtime.precision import full_precision
from robustnas.training.lightning.progress import say
from robustnas.training.search import SearchModule


class Diagnostic(Callback, ABC):
    """A measure of a search.

    It is taken at the end of an epoch, on the first process, from the state that the epoch ended with, and leaves
    everything as it was. What it returns is logged under its names, lands in ``metrics.csv`` and in TensorBoard. By
    itself it is a callback like any other; :class:`~robustnas.diagnostics.Diagnostics` gives many one budget.

    The last epoch is always measured, and with ``headline`` so are the epochs of
    :func:`~robustnas.diagnostics.schedule.is_scheduled`, eight by default; ``interval`` and ``budget`` decide about
    the other epochs.

    Args:
        interval: Epochs between two measures, at least 1.
        budget: Largest share of the run's time that it may take, which stretches the interval; ``None`` for no limit.

    Raises:
        ValueError: If an argument is out of range.
    """

    headline: bool = False  # whether it is taken at the epochs of the schedule whatever it costs
    free: bool = False  # whether it costs so little that no budget applies: it computes nothing with the network
    steps: float = 1.0  # what it costs, about, in steps of the search: the estimate before it is taken first
    on: str = "what the search has computed"  # in words, for the manifest of the run

    def __init__(self, interval: int = 1, budget: float | None = 0.03) -> None:
        if interval < 1:
            raise ValueError(f"Expected `interval` to be at least 1, but got {interval}.")
        self.interval = interval
        self.budget = Budget(budget)
        self.points = POINTS
        self._probe: Probe | None = None
        self._not_finite: set[str] = set()

    @property
    def name(self) -> str:
        """Name under which its cost is logged."""
        return type(self).__name__

    def describe(self) -> dict[str, Any]:
        """Its choices, for the manifest of the run."""
        chosen = {
            name: value for name, value in vars(self).items() if name[0] != "_" and name not in ("free", "points")
        }
        plain = {name: value for name, value in chosen.items() if isinstance(value, (bool, int, float, str))}
        return {"measure": self.name, "on": self.on, **plain}

    @abstractmethod
    def measure(self, search: SearchModule, probe: Probe) -> dict[str, float]:
        """Numbers by the name under which they are logged: of a search in training mode, on samples of a probe."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.budget.start()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.callback_metrics  # noqa: B018 - all processes together bring what is logged up to date
        if isinstance(pl_module, SearchModule) and trainer.is_global_zero:
            for name, value in self.take(trainer, pl_module).items():
                self.log_value(pl_module, name, value)

    def log_value(self, search: SearchModule, name: str, value: float) -> None:
        """Log a number: for ``metrics.csv``, and for the logger of the run."""
        log(search, name, value)

    def take(self, trainer: Trainer, search: SearchModule) -> dict[str, float]:
        """Measure if it is required, or it is time to and the budget affords it; empty if nothing was measured."""
        epoch, required = trainer.current_epoch, self.required(trainer, search)
        if epoch % self.interval and not required:
            return {}
        self.expect(trainer)
        always = required or self.costs_nothing(search)
        if not (always or self.budget.affords(self.name, part_done(trainer, search))):
            return {}
        if self._probe is None:
            data: Any = trainer.datamodule  # type: ignore[attr-defined]
            self._probe = Probe(data, search.device, next(search.supernet.parameters()).dtype)
        with self.budget.timed(self.name, always), preserve_state(search), full_precision(search.device.type):
            found = self.measure(search, self._probe)
        bad = {name: value for name, value in found.items() if not math.isfinite(value)}
        for name in sorted(bad.keys() - self._not_finite):
            say(trainer, f"{name} after epoch {epoch} is {bad[name]}, and left out; so it will be whenever it is.")
        self._not_finite |= bad.keys()
        return {name: value for name, value in found.items() if name not in bad}

    def required(self, trainer: Trainer, search: SearchModule) -> bool:
        """Whether it is measured at the present epoch whatever it costs."""
        if part_done(trainer, search) == 1:
            return True
        return self.headline and is_scheduled(trainer.current_epoch, planned_epochs(trainer, search), self.points)

    def expect(self, trainer: Trainer) -> None:
        """Estimate what it will cost, from the time of the steps so far."""
        if not self.free:
            seconds = (self.budget.elapsed - self.budget.spent) / max(trainer.global_step, 1)
            self.budget.expect(self.name, self.cost_in_steps(trainer) * seconds, self.points if self.headline else 1)

    def costs_nothing(self, search: SearchModule) -> bool:
        """Whether no budget applies at the present epoch."""
        return self.free

    def cost_in_steps(self, trainer: Trainer) -> float:
        """What it costs, about, in steps of the search."""
        return self.steps

    def state_dict(self) -> dict[str, Any]:
        return {"budget": self.budget.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.budget.load_state_dict(state_dict["budget"])


class BatchDiagnostic(Diagnostic):
    """A diagnostic that measures on some batches.

    Args:
        batches: How many, at least 1, of each role that it measures on.
        **shared: Arguments of :class:`~robustnas.diagnostics.Diagnostic`.
    """

    def __init__(self, batches: int = 1, **shared: Any) -> None:
        super().__init__(**shared)
        if batches < 1:
            raise ValueError(f"Expected `batches` to be at least 1, but got {batches}.")
        self.batches = batches


def log(search: SearchModule, name: str, value: float, logger: bool | None = None) -> None:
    """Log a number of the first process at the end of the epoch."""
    # `sync_dist` does nothing here but keep Lightning from advising it for each number
    how: dict[str, Any] = {"on_step": False, "on_epoch": True, "batch_size": 1, "sync_dist": True}
    search.log(name, value, logger=logger, rank_zero_only=True, **how)


@contextmanager
def preserve_state(search: SearchModule) -> Iterator[None]:
    """Put back all that a measure could have changed: modes of modules, buffers, gradients, and the random state.

    Parameters are not copied: a measure that changes one is a bug that the tests look for.
    """
    modes = [(module, module.training) for module in search.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in search.supernet.buffers()]
    slopes = [(parameter, parameter.grad) for parameter in search.parameters()]
    try:
        with torch.random.fork_rng([search.device] if search.device.type == "cuda" else []):
            yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, slope in slopes:
            parameter.grad = slope
        with torch.no_grad():
            for buffer, kept in buffers:
                buffer.copy_(kept)
