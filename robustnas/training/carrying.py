"""Optimiser states and schedules of a checkpoint, carried over to other options."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pytorch_lightning import LightningModule
from torch.optim.lr_scheduler import CosineAnnealingLR

from robustnas.training.description import KEY

COSINE = ("lr", "lr_min", "max_epochs")


def carry(
    module: LightningModule,
    checkpoint: dict[str, Any],
    changed: Collection[str],
    optimizer_options: Mapping[str, tuple[int, str]],
) -> None:
    """Give the optimisers and the schedule of a checkpoint the options of the module that have changed."""
    named = {name: place for name, place in optimizer_options.items() if name in changed}
    cosine = [name for name in COSINE if name in changed]
    if not (named or cosine):
        return
    made: Any = module.configure_optimizers()
    optimizers, schedules = made
    if cosine and [type(schedule) for schedule in schedules] != [CosineAnnealingLR]:
        raise ValueError(
            f"Expected `{cosine[0]}` to be that of the checkpoint, since the schedule of {type(module).__name__} is "
            f"its own, but got another one."
        )
    for states, held in _states(checkpoint):
        for optimizer, key in named.values():
            fresh = optimizers[optimizer].state_dict()["param_groups"]
            for group, new in zip(states[optimizer]["param_groups"], fresh, strict=True):
                if key in new:  # other optimisers of α have no such option
                    group[key] = new[key]
        if cosine:
            _set_rate(states[0]["param_groups"], held[0], schedules[0])


def _states(checkpoint: dict[str, Any]) -> Iterator[tuple[list[dict[str, Any]], list[dict[str, Any]]]]:
    """States of the optimisers and of the schedule: the present ones, and those that a search may be sent back to."""
    yield checkpoint["optimizer_states"], checkpoint["lr_schedulers"]
    for state in (checkpoint[KEY].get("early_stopping") or {}).get("states", {}).values():
        yield state["optimizers"], state["schedulers"]


def _set_rate(groups: list[dict[str, Any]], held: dict[str, Any], schedule: CosineAnnealingLR) -> None:
    start, end = schedule.base_lrs[0], schedule.eta_min
    rate = end + (start - end) * (1 + math.cos(math.pi * held["last_epoch"] / schedule.T_max)) / 2
    held.update(T_max=schedule.T_max, eta_min=end, base_lrs=[start], _last_lr=[rate])
    for group in groups:
        group.update(lr=rate, initial_lr=start)
