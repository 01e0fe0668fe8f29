"""Where in an epoch a checkpoint stands, so that a run goes on from any of them exactly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.distributed as dist
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor
from torchmetrics import Metric


def steps_over(trainer: Trainer) -> bool:
    """Whether the last step of an epoch is taken, but the epoch is not over: its validation is yet to come."""
    loop: Any = trainer.fit_loop
    epoch, batch = loop.epoch_progress.current, loop.epoch_loop.batch_progress
    taken = batch.is_last_batch and batch.current.processed == batch.current.ready
    return bool(taken and epoch.processed < epoch.started)


def settle_position(trainer: Trainer, checkpoint: Mapping[str, Any]) -> bool:
    """Make a checkpoint from after the last step of an epoch one that goes on with the validation.

    Lightning goes on from there with the next epoch, without the validation, the end of this epoch and the beginning
    of that. Where no validation follows, the checkpoint becomes one of the end of the epoch: then the row of this
    epoch is missing in ``metrics.csv``, since what callbacks do at its end is not done again.

    Args:
        trainer: The trainer.
        checkpoint: What it is about to write, which is changed.

    Returns:
        Whether the validation follows.
    """
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
    else:
        for count in (held["epoch_progress"]["total"], held["epoch_progress"]["current"]):
            count["processed"] += 1
    return follows


def of_each_process(module: LightningModule) -> list[dict[str, Tensor]]:
    """What differs between processes in the middle of an epoch: running statistics, and what metrics have counted.

    Args:
        module: The search or evaluation; all processes must ask.

    Returns:
        Tensors by name for each process; nothing where there is one.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
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
