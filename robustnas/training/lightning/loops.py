"""Counters of epochs and steps, which Lightning keeps private; `tests/training/test_lightning.py` notices changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch.distributed as dist
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.utilities import CombinedLoader
from torch import Tensor
from torchmetrics import Metric

from robustnas.training.processes import several


def trainer_of(module: LightningModule) -> Trainer | None:
    """The trainer of a module, if it has one: Lightning's own attribute raises where there is none."""
    return module._trainer


def mark_updated(metric: Metric) -> None:
    """Have a metric that was restored from a checkpoint count as updated: otherwise its value is taken for missing."""
    metric._update_count = 1


def epochs_over(trainer: Trainer) -> int:
    """How many epochs have run to their end, the validation included."""
    loop: Any = trainer.fit_loop
    return int(loop.epoch_progress.current.processed)


def training_ends(trainer: Trainer) -> bool:
    """Whether the epoch that ends is the last one; asked in ``on_train_epoch_end`` of the module."""
    out_of_steps = 0 < trainer.max_steps <= trainer.global_step
    return trainer.should_stop or out_of_steps or trainer.current_epoch + 1 == trainer.max_epochs


def ends_after(trainer: Trainer) -> bool:
    """Whether training is over once the epoch that has ended is saved; asked by the last callback of an epoch."""
    loop: Any = trainer.fit_loop
    epochs, steps = loop.max_epochs or -1, trainer.max_steps
    return bool(
        -1 < epochs <= loop.epoch_progress.current.processed
        or -1 < steps <= trainer.global_step
        or (trainer.should_stop and loop._can_stop_early)
    )


def loop_states(trainer: Trainer) -> dict[str, Any]:
    """States of the loops before they begin, in the form that a checkpoint holds them."""
    loops: Any = {"fit_loop": trainer.fit_loop, "validate_loop": trainer.validate_loop, "test_loop": trainer.test_loop}
    return {name: loop.state_dict() for name, loop in loops.items()}


class Place(NamedTuple):
    """Where a checkpoint stands: epochs that are over, steps that are taken, and whether it is inside an epoch."""

    epochs: int
    steps: int
    inside: bool

    @classmethod
    def of(cls, checkpoint: Mapping[str, Any]) -> Place:
        """Where a checkpoint stands; it must be complete."""
        progress = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]
        over = int(progress["processed"])
        return cls(over, int(checkpoint["global_step"]), int(progress["started"]) > over)

    def __str__(self) -> str:
        return f"step {self.steps}, inside epoch {self.epochs}," if self.inside else f"epoch {self.epochs}"


def set_max_epochs(trainer: Trainer, epochs: int | None) -> None:
    """Change the number of epochs of a trainer that exists: ``Trainer.max_epochs`` can only be read."""
    trainer.fit_loop.max_epochs = epochs


def steps_over(trainer: Trainer) -> bool:
    """Whether the last step of an epoch is taken, but the epoch is not over: its validation is yet to come."""
    loop: Any = trainer.fit_loop
    epoch, batch = loop.epoch_progress.current, loop.epoch_loop.batch_progress
    taken = batch.is_last_batch and batch.current.processed == batch.current.ready
    return bool(taken and epoch.processed < epoch.started)


def settle_position(trainer: Trainer, checkpoint: Mapping[str, Any]) -> bool:
    """Make a checkpoint from after the last step of an epoch go on with the validation; return whether one follows."""
    if not steps_over(trainer):
        return False
    loop: Any = trainer.fit_loop
    held, follows = checkpoint["loops"]["fit_loop"], bool(loop.epoch_loop._should_check_val_epoch())
    steps = held["epoch_loop.batch_progress"]
    for count in (steps["total"], steps["current"]):
        count["completed"] = count["processed"]
    held["epoch_loop.state_dict"]["_batches_that_stepped"] = trainer.global_step - 1 if follows else trainer.global_step
    if follows:
        validation = held["epoch_loop.val_loop.batch_progress"]  # as if it had been interrupted in its first batch
        validation["total"].update(ready=1, started=1, processed=0, completed=0)
        validation["current"].update(ready=0, started=0, processed=0, completed=0)
        validation["is_last_batch"] = False
    else:  # the end of the epoch: callbacks are not called again, so that its row is missing in metrics.csv
        for count in (held["epoch_progress"]["total"], held["epoch_progress"]["current"]):
            count["processed"] += 1
    return follows


def rewind(trainer: Trainer, epochs: int) -> None:
    """Set the number of the epoch back, between epochs; that of the steps, which random numbers follow, goes on."""
    progress: Any = trainer.fit_loop.epoch_progress.current
    for count in ("ready", "started", "processed", "completed"):
        setattr(progress, count, getattr(progress, count) - epochs)
    for loader in CombinedLoader(trainer.train_dataloader).flattened:
        set_epoch = getattr(getattr(loader, "sampler", None), "set_epoch", None)
        if callable(set_epoch):  # told another number than the next, they start that one anew
            set_epoch(progress.processed - 1)


def of_each_process(module: LightningModule) -> list[dict[str, Tensor]]:
    """What differs between processes in the middle of an epoch: running statistics, and what metrics have counted."""
    if not several():
        return []
    own = {name: buffer for name, buffer in module.named_buffers() if buffer.is_floating_point()}
    for path, metric in module.named_modules():
        if isinstance(metric, Metric):
            own |= metric.state_dict(prefix=f"{path}.")
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, {name: _on_cpu(value) for name, value in own.items()})
    return gathered


def _on_cpu(value: Any) -> Any:
    return [_on_cpu(one) for one in value] if isinstance(value, list) else value.detach().cpu().clone()
