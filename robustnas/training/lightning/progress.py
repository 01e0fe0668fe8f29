"""What is seen of a long measurement: a line beside Lightning's progress bar, or a sentence in its place."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm

_LOG = logging.getLogger("pytorch_lightning.robustnas")  # Lightning's handler and level, but a name of its own


@contextmanager
def progress(trainer: Trainer, says: str, total: int) -> Iterator[Callable[[], object]]:
    """Show how far a measurement has come, where the trainer shows a progress bar, on one process."""
    bar: Any = trainer.progress_bar_callback
    if bar is None or bar.is_disabled or not trainer.is_global_zero:
        yield lambda: None
    elif isinstance(bar, RichProgressBar) and bar.progress is not None:
        lines = bar.progress
        task = lines.add_task(says, total=total)
        try:
            yield lambda: lines.update(task, advance=1)
        finally:
            lines.update(task, visible=False)  # Lightning counts on the tasks staying in their places
    else:
        with Tqdm(desc=says, total=total, leave=False) as line:
            yield line.update


def say(trainer: Trainer, sentence: str) -> None:
    """Say a sentence once: above the progress bar, or in Lightning's log where there is none."""
    bar: Any = trainer.progress_bar_callback
    if not trainer.is_global_zero:
        return
    if bar is None or bar.is_disabled:
        _LOG.info(sentence)
    elif isinstance(bar, RichProgressBar) and bar.progress is not None:
        bar.progress.console.print(sentence, markup=False, highlight=False)
    else:
        Tqdm.write(sentence)
