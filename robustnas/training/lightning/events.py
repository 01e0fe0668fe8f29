"""Curves for TensorBoard, complete up to the last checkpoint."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only


class Events(TensorBoardLogger):
    """Event files, to which records are only ever added; ``config.yaml`` holds what their ``hparams.yaml`` would."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._logged: dict[str, int] = {}  # what :func:`settle` logged before a checkpoint, Lightning logs after it

    @property
    def log_dir(self) -> str:
        """The folder as it is named; Lightning's own would take ``$HOME`` in it for something else."""
        return str(Path(self.root_dir, str(self.version)))

    def save(self) -> None:
        self.experiment.flush()

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log what is not logged at this step already."""
        if step is not None:
            metrics = {name: value for name, value in metrics.items() if self._logged.get(name) != step}
            self._logged.update(dict.fromkeys(metrics, step))
        super().log_metrics(dict(metrics), step)

    @rank_zero_only
    def go_on(self, step: int) -> None:
        """Mark as invalid what a run has logged from a step on, so that TensorBoard shows every point once."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        writer: Any = self.experiment._get_file_writer()
        writer.add_event(Event(step=step, file_version="brain.Event:2"))
        writer.add_event(Event(step=step, session_log=SessionLog(status=SessionLog.START)))


@contextlib.contextmanager
def failed_writes_once() -> Iterator[None]:
    """Let a write that fails in TensorBoard's own thread be said by the run alone, which raises it too."""
    before = threading.excepthook

    def said(failure: threading.ExceptHookArgs) -> None:
        of_writer = type(failure.thread).__module__.startswith("tensorboard.")
        if not (of_writer and issubclass(failure.exc_type, OSError)):
            before(failure)

    threading.excepthook = said
    try:
        yield
    finally:
        threading.excepthook = before


def settle(trainer: Any, epoch: bool) -> dict[str, float]:
    """Log all figures up to now and force them to disk; all processes together."""
    loggers = [logger for logger in trainer.loggers if isinstance(logger, Events)]
    if not loggers:
        return {}
    numbers: dict[str, float] = {}
    if epoch or trainer.should_stop or trainer.global_step % trainer.log_every_n_steps == 0:
        metrics = trainer._logger_connector.metrics["log"]  # summed over processes: all must ask
        numbers = {name: float(value) for name, value in metrics.items()} | {"epoch": float(trainer.current_epoch)}
    for logger in loggers if numbers else ():
        logger.log_metrics(numbers, max(trainer.global_step - 1, 0))
    flush(trainer)
    return numbers


def flush(trainer: Any) -> None:
    """Force to disk what was logged."""
    for logger in trainer.loggers if trainer.is_global_zero else ():
        if isinstance(logger, Events):
            logger.save()
