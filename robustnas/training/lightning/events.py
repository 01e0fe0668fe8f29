"""What loggers get, complete up to the last checkpoint."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from robustnas.training.lightning.loggers import RunLogger


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
    loggers = [logger for logger in trainer.loggers if isinstance(logger, RunLogger)]
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
        if isinstance(logger, RunLogger):
            logger.save()
