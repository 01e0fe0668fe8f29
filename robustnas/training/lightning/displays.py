"""How a picture, a text or a file goes to a logger: one class for each kind of logger, found by :func:`display_of`.

A logger that is not known here gets the numbers alone. ``display_of.register(MyLogger, MyDisplay)`` adds one.
"""

from __future__ import annotations

import glob
import html
import shutil
from collections.abc import Iterable, Mapping
from functools import singledispatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pytorch_lightning import Trainer, loggers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Page = Mapping[str, Mapping[str, list[Any]]]


class Display:
    """What a logger shows besides numbers; by default nothing. Lightning's logger is ``logger``."""

    pictures = False  # whether it shows any
    wide = True  # whether it shows a picture as large as it is, not on a card
    dpi = 150

    def __init__(self, logger: Any) -> None:
        self.logger = logger

    def settings(self, columns: Mapping[str, Any], compared: Iterable[str]) -> None:
        """Columns of a table of searches, and the metrics that stand beside them."""

    def configuration(self, sections: Mapping[str, Any]) -> None:
        """The whole configuration of the command line, nested."""

    def page(self, charts: Page) -> None:
        """Pages of charts: title to the title and the pattern of series of each chart, as TensorBoard takes them."""

    def picture(self, name: str, figure: Figure, step: int) -> None:
        """A figure of a step."""

    def histogram(self, name: str, values: npt.NDArray[Any], step: int) -> None:
        """The distribution of some numbers at a step."""

    def text(self, name: str, markdown: str, line: str, step: int) -> None:
        """A text in Markdown, and the same in one line."""

    def file(self, path: Path) -> None:
        """A file of the run's folder."""


class TensorBoardDisplay(Display):
    """Everything but files, which lie beside the event files already. Its cards are 350 pixels wide."""

    pictures, wide, dpi = True, False, 100

    def settings(self, columns: Mapping[str, Any], compared: Iterable[str]) -> None:
        from torch.utils.tensorboard.summary import hparams

        for summary in hparams(dict(columns), dict.fromkeys(compared, 0.0)):
            self.logger.experiment.file_writer.add_summary(summary)  # metrics are the scalars of those names

    def page(self, charts: Page) -> None:
        self.logger.experiment.add_custom_scalars(charts)  # replaces an earlier one

    def picture(self, name: str, figure: Figure, step: int) -> None:
        self.logger.experiment.add_image(name, _pixels(figure, self.dpi), step, dataformats="HWC")

    def histogram(self, name: str, values: npt.NDArray[Any], step: int) -> None:
        self.logger.experiment.add_histogram(name, values, step)

    def text(self, name: str, markdown: str, line: str, step: int) -> None:
        self.logger.experiment.add_text(name, markdown, step)


class WandbDisplay(Display):
    """Pictures and histograms beside the charts, the configuration as its own, a line of each text in the summary.

    Files are copied to those of the run, so that a run offline is whole wherever it is uploaded from.
    """

    pictures = True

    def settings(self, columns: Mapping[str, Any], compared: Iterable[str]) -> None:
        self.logger.experiment.config.update(dict(columns), allow_val_change=True)

    def configuration(self, sections: Mapping[str, Any]) -> None:
        self.logger.log_hyperparams(dict(sections))

    def picture(self, name: str, figure: Figure, step: int) -> None:
        self.logger.log_image(name, [_pixels(figure, self.dpi)], step)

    def histogram(self, name: str, values: npt.NDArray[Any], step: int) -> None:
        import wandb

        self.logger.log_metrics({name: wandb.Histogram(values.ravel().tolist())}, step)

    def text(self, name: str, markdown: str, line: str, step: int) -> None:
        import wandb

        shown = f'<pre style="white-space: pre-wrap">{html.escape(markdown)}</pre>'
        self.logger.log_metrics({f"{name}/text": wandb.Html(shown)}, step)
        self.logger.experiment.summary[name] = line

    def file(self, path: Path) -> None:
        run = self.logger.experiment
        folder = Path(run.dir, "robustnas")  # beside the config.yaml of its own
        folder.mkdir(exist_ok=True)
        copied = shutil.copy(path, folder / path.name)  # it would make a link
        run.save(glob.escape(str(copied)), base_path=run.dir, policy="now")


class MLflowDisplay(Display):
    """Pictures with a slider over steps, settings as parameters, a text as the description, files as artefacts."""

    pictures = True

    def settings(self, columns: Mapping[str, Any], compared: Iterable[str]) -> None:
        """Parameters cannot change: what a resumed run changes becomes a tag."""
        client, run = self.logger.experiment, self.logger.run_id
        known = client.get_run(run).data.params
        self.logger.log_hyperparams({name: value for name, value in columns.items() if name not in known})
        for name, value in columns.items():
            if name in known and known[name] != str(value):
                client.set_tag(run, f"changed.{name}", str(value))

    def picture(self, name: str, figure: Figure, step: int) -> None:
        self.logger.experiment.log_image(self.logger.run_id, _pixels(figure, self.dpi), key=name, step=step)

    def text(self, name: str, markdown: str, line: str, step: int) -> None:
        client, run = self.logger.experiment, self.logger.run_id
        client.set_tag(run, "mlflow.note.content", markdown)  # the description of a run, shown as Markdown
        client.set_tag(run, name, line)
        client.log_text(run, markdown, f"{name}.md")

    def file(self, path: Path) -> None:
        self.logger.experiment.log_artifact(self.logger.run_id, str(path))


@singledispatch
def display_of(logger: object) -> Display:
    """The display of a logger, by its class."""
    return Display(logger)


display_of.register(loggers.TensorBoardLogger, TensorBoardDisplay)
display_of.register(loggers.WandbLogger, WandbDisplay)
display_of.register(loggers.MLFlowLogger, MLflowDisplay)


def displays(trainer: Trainer) -> list[Display]:
    """The displays of all loggers on the first process, which alone shows something."""
    return [display_of(logger) for logger in trainer.loggers] if trainer.is_global_zero else []


def _pixels(figure: Figure, dpi: int) -> npt.NDArray[np.uint8]:
    """A figure as an image, ``[height, width, 3]``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(dpi)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
