"""Curves of a search that runs in a notebook."""

from __future__ import annotations

import importlib
import time
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_only

from robustnas.analysis.registry import panels
from robustnas.plotting.cells import render
from robustnas.plotting.curves import curves_figure, panel_charts
from robustnas.training.recorder import RunRecorder
from robustnas.training.search import SearchModule

TITLES = ("Loss", "Accuracy", "Decision", "Share of operations", "Edges without parameters")


class LivePlot(Callback):
    """Draws loss, accuracy, entropy of α and operations without parameters after each epoch, in the cell of a notebook.

    Without IPython it says so once, and draws nothing.

    Args:
        seconds: Least time between two drawings, at least 0; the one at the end comes always.

    Raises:
        ValueError: If ``seconds`` is negative.
    """

    def __init__(self, seconds: float = 1.0) -> None:
        if not seconds >= 0:
            raise ValueError(f"Expected `seconds` to be at least 0, but got {seconds}.")
        self.seconds = seconds
        self._ipython: Any = None
        self._handle: Any = None
        self._drawn = 0.0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._handle, self._drawn = None, 0.0
        try:
            self._ipython = importlib.import_module("IPython.display")
        except ImportError:
            rank_zero_only(print)("LivePlot draws nothing, since there is no IPython: pip install ipython.")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the epochs before this one, whose figures are complete now."""
        if self._handle is None or time.monotonic() - self._drawn >= self.seconds:
            self._draw(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._draw(trainer, pl_module)

    def _draw(self, trainer: Trainer, search: LightningModule) -> None:
        recorders = [callback for callback in trainer.callbacks if isinstance(callback, RunRecorder)]  # type: ignore[attr-defined]
        rows = recorders[0].rows if recorders else []
        if self._ipython is None or not rows or not trainer.is_global_zero or not isinstance(search, SearchModule):
            return
        charts = panel_charts(rows, [panel for panel in panels(search.space.cells) if panel.title in TITLES])
        picture = self._ipython.SVG(render(curves_figure(charts), "svg").decode())
        if self._handle is None:
            self._handle = self._ipython.display(picture, display_id=True)
        else:
            self._handle.update(picture)
        self._drawn = time.monotonic()
