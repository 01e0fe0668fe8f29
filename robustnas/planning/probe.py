"""The first steps of a run, with their time and their memory, and what the whole run takes by them."""

from __future__ import annotations

import gc
import logging
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from robustnas.cli.configuration import fit
from robustnas.diagnostics import Diagnostics
from robustnas.planning.given import epochs_of
from robustnas.runtime.launch import count_processes
from robustnas.training.lightning.interruption import end_at_once

STEPS = 3  # of an epoch of a probe
SECONDS = 1.5  # epochs are added until they have taken so long: short steps vary much
EPOCHS = 10  # at most
ALONE = {"devices": 1, "num_nodes": 1, "strategy": "auto"}  # a probe of a run on several processes
SILENT = {"enable_progress_bar": False, "callbacks": None, "fast_dev_run": False, "limit_train_batches": STEPS,
    "limit_val_batches": STEPS}  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """What was measured of a training: seconds, and numbers of steps in an epoch of the whole run.

    Args:
        start: Until the first step is over, data and validation before it included.
        step: Of a training step, with loading and augmenting its batch.
        steps: Training steps of an epoch.
        val_step: Of a batch of validation.
        val_steps: Batches of validation after an epoch; 1 / n of them where it follows every n-th epoch.
        epochs: Epochs of the run.
        more: Epochs that a selection adds.
        epoch_end: At the end of an epoch beside validation and diagnostics: metrics, pictures, checkpoint.
        test_steps: Batches of the test.
        headline: Of the diagnostics that are taken at ``points`` epochs whatever they cost.
        points: Number of these epochs.
        last: Of those that are taken after the last epoch only, whatever they cost.
        share: Share of the time that diagnostics may take; what is always taken counts in it.
        processes: Processes of the run.
    """

    start: float
    step: float
    steps: float
    val_step: float
    val_steps: float
    epochs: float
    more: float = 0.0
    epoch_end: float = 0.0
    test_steps: float = 0.0
    headline: float = 0.0
    points: int = 0
    last: float = 0.0
    share: float = 0.0
    processes: int = 1

    @property
    def epoch(self) -> float:
        """Seconds of an epoch, without diagnostics."""
        return self.steps * self.step + self.val_steps * self.val_step + self.epoch_end

    @property
    def once(self) -> float:
        """Seconds of what happens once, without diagnostics."""
        return self.start + self.test_steps * self.val_step

    def required(self, epochs: float) -> float:
        """Seconds of the diagnostics that a run of some epochs always takes."""
        return self.headline * min(self.points, epochs) + self.last

    def seconds(self, epochs: float | None = None) -> float:
        """Seconds of the whole run, or of one with another number of epochs."""
        epochs = self.epochs if epochs is None else epochs
        own = self.once + (epochs + self.more) * self.epoch
        return own + max(self.required(epochs), self.share * own)

    def epochs_within(self, seconds: float) -> int:
        """The largest number of epochs whose run takes no longer."""
        own = min(seconds - self.required(self.points), seconds / (1 + self.share))
        found = max(0, int((own - self.once) // self.epoch - self.more))
        while found < self.points and self.seconds(found + 1) <= seconds:  # fewer epochs have fewer points
            found += 1
        return found


@dataclass(frozen=True)
class Memory:
    """Most bytes held so far by this process, and by the last probe on a GPU."""

    resident: int
    gpu: int

    @classmethod
    def now(cls) -> Memory:
        """What was held until now."""
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return cls(used, torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0)


def probe(sections: Mapping[str, Any], folder: Path, seed: int = 0) -> Stage:
    """Begin a configuration of ``robustnas fit`` in a folder, on the device that it would use, and measure its start.

    It takes epochs of three steps until :data:`SECONDS` are over, with all that an epoch does, and ends. α moves from
    the first one on. Loggers and callbacks of the configuration are left out: no service sees what is no run.

    Returns:
        What was measured, with the numbers of steps and epochs of the whole run.

    Raises:
        ValueError: If the configuration is refused, or ends without a step.
    """
    trainer = dict(sections["trainer"])
    processes = count_processes(_Given(trainer))
    limits = _Limits.of(trainer)
    epochs = 1 if trainer["fast_dev_run"] else epochs_of(sections)
    short = {**SILENT, **(ALONE if processes > 1 else {}), "max_epochs": max(epochs, EPOCHS + 2)}
    if trainer.get("logger") not in (None, True):
        short["logger"] = False
    model = sections["model"]
    if "arch_start" in model["init_args"]:
        model = {**model, "init_args": {**model["init_args"], "arch_start": 0}}
    stopwatch = _Stopwatch(limits, epochs, processes)
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.reset_peak_memory_stats()
    try:
        with _silence():
            fit({**sections, "model": model, "trainer": {**trainer, **short}}, folder, seed, [stopwatch])
    except _EnoughError as enough:
        measured: Stage = enough.args[0]
        return measured
    finally:
        gc.collect()
    raise ValueError("Expected a run to take steps, but it ended without one.")


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for probes, which is removed."""
    with tempfile.TemporaryDirectory(prefix="robustnas-probe-") as folder:
        yield Path(folder)


@contextmanager
def _silence() -> Iterator[None]:
    """The run itself will warn."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


class _Given:
    """The options of a trainer as attributes."""

    def __init__(self, trainer: Mapping[str, Any]) -> None:
        self.devices, self.accelerator = trainer["devices"], trainer["accelerator"]
        self.num_nodes = trainer["num_nodes"]


@dataclass(frozen=True)
class _Limits:
    """How many batches of its data a run takes: a number, or a share."""

    train: Any
    val: Any
    test: Any
    val_interval: int

    @classmethod
    def of(cls, trainer: Mapping[str, Any]) -> _Limits:
        fast = int(trainer["fast_dev_run"] or 0)
        train, val, test = (fast or trainer[f"limit_{name}_batches"] for name in ("train", "val", "test"))
        return cls(train, val, test, int(trainer["check_val_every_n_epoch"] or 1))


def limited(count: int, limit: float | None) -> int:
    """How many of so many batches are taken, where Lightning is given a limit."""
    if limit is None:
        return count
    return min(count, int(limit)) if isinstance(limit, int) or limit > 1 else int(count * limit)


class _EnoughError(Exception):
    """Enough steps are done; nothing failed. Its argument is what they measured."""


class _Stopwatch(Callback):
    """Times batches and ends of epochs, and ends the run. The first of a kind pays for what is made once."""

    def __init__(self, limits: _Limits, epochs: float, processes: int) -> None:
        self.limits, self.epochs, self.processes = limits, epochs, processes
        self.made = self.since = time.perf_counter()
        self.steps: list[float] = []
        self.validated: list[float] = []
        self.ends: list[float] = []
        self.spent = 0.0  # seconds of diagnostics until the present epoch
        self.apart = 0.0  # seconds of the present end of an epoch that are counted apart

    def _now(self) -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx:
            return  # loading the batch is a part of its step
        now = self._now()
        if not self.steps:
            self.began = now
            end_at_once("measuring the first steps; nothing was written")
        else:
            spent = sum(suite.budget.spent for suite in _suites(trainer))
            self.ends.append(now - self.since - self.apart - spent + self.spent)
        self.spent = sum(suite.budget.spent for suite in _suites(trainer))
        self.apart, self.since = 0.0, now
        if self.ends and (now - self.began >= SECONDS or len(self.ends) >= EPOCHS):
            raise _EnoughError(self._stage(trainer, pl_module))

    def on_train_batch_end(self, *args: Any) -> None:
        now = self._now()
        self.steps.append(now - self.since)
        self.since = now

    def on_validation_batch_start(self, *args: Any) -> None:
        self.validating = self._now()

    def on_validation_batch_end(self, *args: Any) -> None:
        self.validated.append(self._now() - self.validating)
        self.apart += self.validated[-1]

    def _stage(self, trainer: Trainer, module: LightningModule) -> Stage:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        loaders = trainer.train_dataloader
        loaders = list(loaders.values()) if isinstance(loaders, Mapping) else [loaders]
        selection: Any = getattr(module, "selection", None)
        more = selection.epochs(module.space) if selection is not None else 0
        tested = 0
        if selection is None and len(data.split.indices["test"]):
            tested = limited(len(data.test_dataloader()), self.limits.test)
        validated = trainer.val_dataloaders
        validated = validated if isinstance(validated, list) else [validated] if validated is not None else []
        step, val_step = _later_mean(self.steps), _later_mean(self.validated)
        val_steps = limited(sum(map(len, validated)), self.limits.val) / self.limits.val_interval
        return Stage(
            start=self.began - self.made + self.steps[0],
            step=step,
            steps=float(max(1, limited(max(map(len, loaders)), self.limits.train) // self.processes)),
            val_step=val_step or (step / 3 if tested else 0.0),  # without backward pass
            val_steps=val_steps / self.processes,
            epochs=float(self.epochs),
            more=float(more),
            epoch_end=_later_mean(self.ends),
            test_steps=tested / self.processes,
            headline=sum(_required(suite, trainer, step, True) for suite in _suites(trainer)),
            points=max((suite.points for suite in _suites(trainer)), default=0),
            last=sum(_required(suite, trainer, step, False) for suite in _suites(trainer)),
            share=sum(suite.budget.share or 0.0 for suite in _suites(trainer) if suite.measures),
            processes=self.processes,
        )


def _suites(trainer: Trainer) -> list[Diagnostics]:
    searching = hasattr(trainer.lightning_module, "alphas")
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return [one for one in callbacks if searching and isinstance(one, Diagnostics)]


def _required(suite: Diagnostics, trainer: Trainer, step: float, headline: bool) -> float:
    """Seconds of required diagnostics, those of the schedule or the others: as measured, or by their own estimates."""
    measures = [one for one in suite.measures if one.headline is headline and not one.free]
    costs = [suite.budget.costs.get(one.name) or [one.cost_in_steps(trainer) * step] for one in measures]
    return float(sum(cost[-1] for cost in costs))


def _later_mean(seconds: Sequence[float]) -> float:
    counted = seconds[1:] or seconds
    return sum(counted) / max(1, len(counted))
