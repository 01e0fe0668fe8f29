"""Open a search that has ended, with its data and on its device, to measure its supernet without training."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from robustnas.analysis.history import part
from robustnas.cli import lightning_cli
from robustnas.cli.configuration import data_of
from robustnas.data.roles import check_roles
from robustnas.runtime.safe_files import load_checkpoint
from robustnas.training.description import KEY
from robustnas.training.ended_search import Ended

# Callbacks, loggers and the table of the search are not asked; one process measures.
OPTIONS = (
    "--verbose=false", "--trainer.callbacks=null", "--trainer.logger=false", "--trainer.devices=1",
    "--trainer.num_nodes=1", "--trainer.strategy=auto", "--diagnostics.table=null",
)  # fmt: skip


def open_ended(checkpoint: Path, options: list[str]) -> Ended:
    """The search of a checkpoint, validated once by ``robustnas validate`` with further options."""
    folder, epochs = checkpoint.parent, epochs_of(checkpoint)
    data_of(folder)  # refuses a folder without a configuration
    words = ["-c", str(folder / "config.yaml"), "--ckpt_path", str(checkpoint), "--run-dir", str(folder)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Be aware that when using `ckpt_path`")  # the callbacks of the search
        run: Any = lightning_cli.main(["validate", *words, *OPTIONS, *options])
    if run.trainer.world_size > 1:
        raise ValueError(f"Expected `--trainer.devices` to be 1, but got {run.trainer.world_size}.")
    held = part(load_checkpoint(checkpoint), KEY, "options", "data.roles")
    if held is not None:  # else what the weights were trained on might select
        check_roles(held, run.datamodule.split.hashes())
    run.model.to(run.trainer.strategy.root_device)  # Lightning has moved it back
    return Ended(run.model, epochs - 1)


def epochs_of(checkpoint: Path) -> int:
    """The number of epochs of the search in a checkpoint, the current one included."""
    ready = part(load_checkpoint(checkpoint), "loops", "fit_loop", "epoch_progress", "current", "ready")
    if not isinstance(ready, int):
        raise ValueError(
            f"Expected {checkpoint} to be a checkpoint of a training run, but it holds no progress of the epochs."
        )
    return ready
