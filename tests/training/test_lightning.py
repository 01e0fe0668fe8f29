"""What `robustnas/training/lightning/` reads and sets of Lightning is still there, and still means the same."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer, loggers
from pytorch_lightning.callbacks import RichProgressBar, TQDMProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm
from torch.utils.data import DataLoader
from torchmetrics import SumMetric

from robustnas.training.lightning.contents import PARTS, check_contents
from robustnas.training.lightning.loggers import TensorBoardLogger
from robustnas.training.lightning.loops import (
    Place,
    ends_after,
    epochs_over,
    loop_states,
    mark_updated,
    rewind,
    set_max_epochs,
    steps_over,
    trainer_of,
    training_ends,
)


class Small(LightningModule):
    """Two steps an epoch and a validation; goes back an epoch once, and notes what the counters say."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.automatic_optimization = False
        self.seen: dict[str, list[Any]] = {
            "start": [],
            "ends": [],
            "saved": [],
            "over": [],
            "validation": [],
            "log": [],
        }
        self.again = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.optimizers().step()  # type: ignore[union-attr]
        self.log("number", float(self.global_step))

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.seen["validation"].append(steps_over(self.trainer))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)

    def on_train_epoch_start(self) -> None:
        self.seen["start"].append((self.current_epoch, epochs_over(self.trainer)))

    def on_train_batch_start(self, *_: Any) -> None:
        assert not steps_over(self.trainer)

    def on_train_epoch_end(self) -> None:
        self.seen["ends"].append(training_ends(self.trainer))
        self.seen["over"].append(epochs_over(self.trainer))
        if self.again and epochs_over(self.trainer) == 2:
            self.again = False
            rewind(self.trainer, 1)


class Last(Callback):
    """Asks where checkpoints are saved: after a step, and after the module at the end of an epoch."""

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        pl_module.seen["log"].append("number" in trainer._logger_connector.metrics["log"])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        pl_module.seen["saved"].append(ends_after(trainer))


def trainer(folder: Path, **options: Any) -> Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu", "devices": 1}
    given = {"max_epochs": 3, "num_sanity_val_steps": 0, "log_every_n_steps": 1, "logger": False}
    return Trainer(
        default_root_dir=folder, callbacks=[Last()], enable_checkpointing=False, **{**quiet, **given, **options}
    )


def loader() -> DataLoader[Any]:
    return DataLoader([0.0, 1.0])  # type: ignore[arg-type]


def test_counters_say_where_a_run_stands(tmp_path: Path) -> None:
    module = Small()
    assert trainer_of(module) is None
    running = trainer(tmp_path)
    running.fit(module, loader(), loader())
    assert trainer_of(module) is running
    assert module.seen["start"] == [(0, 0), (1, 1), (2, 2)]
    assert module.seen["over"] == [1, 2, 3]
    assert module.seen["ends"] == [False, False, True]
    assert module.seen["validation"] == [True] * 6


def test_epochs_are_added_and_run_again(tmp_path: Path) -> None:
    module, running = Small(), trainer(tmp_path)
    module.again = True
    set_max_epochs(running, 4)
    running.fit(module, loader(), loader())
    assert running.max_epochs == 4
    assert [epoch for epoch, _ in module.seen["start"]] == [0, 1, 1, 2, 3]
    assert running.global_step == 10


@pytest.mark.parametrize(("options", "epochs"), [({"max_steps": 3}, 2), ({"max_epochs": 1}, 1)])
def test_the_last_epoch_is_known_before_it_is_saved(tmp_path: Path, options: dict[str, Any], epochs: int) -> None:
    module, running = Small(), trainer(tmp_path, **options)
    running.fit(module, loader())
    assert module.seen["ends"] == module.seen["saved"] == [False] * (epochs - 1) + [True]
    assert isinstance(running.fit_loop._can_stop_early, bool)
    assert callable(running.fit_loop.epoch_loop._should_check_val_epoch)


def test_a_checkpoint_has_the_places_that_are_read_and_changed(tmp_path: Path) -> None:
    running, forms = trainer(tmp_path), loop_states(trainer(tmp_path))
    running.fit(Small(), loader(), loader())
    running.save_checkpoint(tmp_path / "a.ckpt")
    held = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert PARTS.keys() <= held.keys()
    check_contents(held, "a.ckpt", forms)
    assert (Place.of(held), str(Place.of(held))) == ((3, 6, False), "epoch 3")
    fit = held["loops"]["fit_loop"]
    assert "_batches_that_stepped" in fit["epoch_loop.state_dict"]
    counts = {"ready", "started", "processed", "completed"}
    for loop in ("epoch_loop.batch_progress", "epoch_loop.val_loop.batch_progress", "epoch_progress"):
        assert counts <= fit[loop]["total"].keys() & fit[loop]["current"].keys()
    assert "is_last_batch" in fit["epoch_loop.val_loop.batch_progress"]


def test_a_metric_that_is_marked_counts_as_updated() -> None:
    metric = SumMetric()
    assert not metric.update_called
    mark_updated(metric)
    assert metric.update_called


def test_loggers_and_progress_bars_have_what_is_used(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    assert isinstance(logger, loggers.TensorBoardLogger)
    module = Small()
    trainer(tmp_path, logger=logger).fit(module, loader())
    assert module.seen["log"] == [True] * 6
    assert callable(logger.experiment._get_file_writer().add_event)
    assert [TQDMProgressBar().is_disabled, RichProgressBar().progress] == [False, None]
    assert callable(Tqdm.write)
    assert threading.excepthook is not None
