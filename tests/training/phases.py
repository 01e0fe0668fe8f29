"""Searches of two steps in a small space, after which a phase of training selects."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from runs import fit

from robustnas.spaces.space import SearchSpace, complete_cell
from robustnas.strategies import LargestDrop, Selection
from robustnas.training.search import SearchModule

OPERATIONS = ("none", "skip_connect", "sep_conv_3x3")
CELL: dict[str, Any] = {"keep": 2, "never_selected": ("none",)}
TINY = SearchSpace(
    "tiny",
    {
        "normal": complete_cell(2, 2, OPERATIONS, (2, 3), **CELL),
        "reduce": complete_cell(2, 2, OPERATIONS, (2, 3), reduction=True, **CELL),
    },
)
BY_LOSS = LargestDrop("loss", finetune=1)


def tiny(selection: Selection = BY_LOSS, **options: Any) -> SearchModule:
    shared: dict[str, Any] = {"channels": 4, "layers": 3, "image_channels": 1, "alpha_init": 1.0}
    return SearchModule(TINY, selection=selection, **{**shared, **options})


def briefly(folder: Path, module: SearchModule, *args: Any, **options: Any) -> Trainer:
    return fit(folder, module, *args, **{"max_epochs": 1, "limit_train_batches": 2, **options})


class Snapshots(Callback):
    """The search at the start of every epoch, before it decides, and the step size of its weights in it."""

    def __init__(self) -> None:
        self.before: dict[int, SearchModule] = {}
        self.lr: dict[int, float] = {}
        self.momentum: dict[int, bool] = {}

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        module: Any = copy.copy(pl_module)
        module._modules = {n: copy.deepcopy(m) for n, m in pl_module._modules.items() if n in ("supernet", "alphas")}
        self.before[trainer.current_epoch] = module

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            self.lr[trainer.current_epoch] = trainer.optimizers[0].param_groups[0]["lr"]
            self.momentum[trainer.current_epoch] = bool(trainer.optimizers[0].state)
