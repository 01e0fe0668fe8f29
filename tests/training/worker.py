"""A search on two processes; each leaves its state: ``worker.py FOLDER GRADIENT EPOCHS MODE [CHECKPOINT]``.

The second process starts with other weights and another α. The mode is ``flat``, or, to be stopped for it, ``apart``
without the first broadcast or ``alone`` without averages; ``select`` is ``flat`` with
a selection that decides in epochs of its own, ``watched`` with all diagnostics, and ``nan`` one in whose second process
the loss is not a number from the third step on.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from robustnas.diagnostics import Diagnostics, ImplicitShare, default_diagnostics
from runs import digits, fit, rows, search, state

from robustnas import strategies
from robustnas.training import search as searching
from robustnas.training.lightning.flat_strategy import FlatStrategy
from robustnas.training.search import SearchModule


class Apart(FlatStrategy):
    def configure_ddp(self) -> None:
        pass


torch.set_num_threads(1)
folder, gradient, epochs, mode, *checkpoint = sys.argv[1:]
parts = {"selection": strategies.LargestDrop("loss", finetune=1)} if mode == "select" else {}
module = search("NASBench201", channels=2, gradient=getattr(strategies, gradient)(), drop_path=0.2, **parts)
if os.environ.get("LOCAL_RANK") == "1":
    for parameter in module.parameters():
        parameter.data += 0.1
if mode == "alone":
    searching.average = list
if mode == "nan" and os.environ.get("LOCAL_RANK") == "1":
    loss_of = SearchModule.loss_of

    def undefined(self: SearchModule, *args: Any) -> Any:
        return loss_of(self, *args) * (float("nan") if self.global_step == 2 else 1.0)

    SearchModule.loss_of = undefined  # type: ignore[method-assign]
watching = []
if mode == "watched":
    own = ImplicitShare(always=True, differences=True)
    watching = [Diagnostics([own, *(one for one in default_diagnostics() if one.name != own.name)], budget=None)]
running = fit(
    Path(folder),
    module,
    Path(checkpoint[0]) if checkpoint else None,
    data=digits(batch_size=8, fractions=(0.04, 0.03, 0.03)),
    devices=2,
    strategy=Apart() if mode == "apart" else "flat",
    max_epochs=int(epochs),
    callbacks=[ModelCheckpoint(folder, "{step}", every_n_train_steps=2, save_top_k=-1), *watching],
)
decided = getattr(module.hooks.get("perturbation_selection"), "entries", [])
torch.save(
    {"state": state(running), "rows": rows(running), "decided": decided}, Path(folder) / f"rank{running.global_rank}.pt"
)
