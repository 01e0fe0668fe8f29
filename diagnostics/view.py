"""What TensorBoard and the folder of a run show of a search besides curves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from robustnas.diagnostics.diagnostic import Diagnostic

from robustnas.curves import PANELS, curves_figure
from robustnas.data import Probe
from robustnas.drawing import alpha_figure, genotype_figure, render
from robustnas.record import write_bytes
from robustnas.training.recorder import RunRecorder
from robustnas.training.search import SearchModule

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FINAL = {  # what the HParams page compares: its name there, and where it is logged
    "hp/validation_accuracy": "val/top1",
    "hp/discrete_accuracy": "gap/discrete_accuracy",
    "hp/parameter_free": "shares/parameter_free",
    "hp/curvature": "curvature/max",
    "hp/entropy": "alpha/entropy",
}


class TensorBoardView(Diagnostic):
    """Pictures, histograms and a page of charts for TensorBoard, and the headline curves as PNG and SVG.

    - the page *Custom scalars*, "Is it collapsing?": the charts of :data:`~robustnas.curves.PANELS`;
    - *Images*: shares of operations as heat maps, and the cells of the present genotype;
    - *Histograms*: shares of operations;
    - *HParams*: the parts of the search beside its final figures;
    - ``curves.png`` and ``curves.svg`` in the folder of the run, at the end: TensorBoard smooths curves and hides
      outliers by default, which are what a collapse looks like.

    Args:
        every: Epochs between two sets of pictures. The last epoch has one too.
        budget: As for every diagnostic.
    """

    def __init__(self, every: int = 5, budget: float | None = 0.03) -> None:
        super().__init__(every, budget)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lay out the page of charts, and name what is compared between runs."""
        super().on_fit_start(trainer, pl_module)
        if (writer := tensorboard(trainer)) is None or not isinstance(pl_module, SearchModule):
            return
        charts = {panel.title: ["Multiline", [f"^{name}$" for name in panel.lines]] for panel in PANELS}
        writer.add_custom_scalars({"Is it collapsing?": charts})
        logger: Any = trainer.logger
        logger.log_hyperparams(flat(pl_module.description), dict.fromkeys(FINAL, float("nan")))

    def measure(self, search: SearchModule, probe: Probe) -> dict[str, float]:
        if (writer := tensorboard(search.trainer)) is None:
            return {}
        step = search.trainer.global_step
        for kind, share in search.shares().items():
            cell = search.space.cells[kind]
            title = f"{kind} cell, epoch {search.current_epoch}"
            writer.add_image(f"shares/{kind}", _pixels(alpha_figure(share.tolist(), cell, title)), step)
            writer.add_histogram(f"shares/{kind}", share.detach(), step)
        writer.add_image("genotype", _pixels(genotype_figure(search.genotype(), search.space)), step)
        return {}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the headline curves, and the final figures."""
        folder = Path(trainer.log_dir or trainer.default_root_dir)  # asked by all processes, which wait in it
        if not (isinstance(pl_module, SearchModule) and trainer.is_global_zero):
            return
        rows = next((callback.rows for callback in trainer.callbacks if isinstance(callback, RunRecorder)), [])  # type: ignore[attr-defined]
        if not rows:
            return
        with self.budget.timed(self.name):
            figure = curves_figure(rows)
            write_bytes(folder / "curves.png", render(figure, "png"))
            write_bytes(folder / "curves.svg", render(figure, "svg"))
            if (writer := tensorboard(trainer)) is not None:
                writer.add_image("curves", _pixels(figure), trainer.global_step)
                final = {name: _last(rows, source) for name, source in FINAL.items()}
                trainer.logger.log_metrics({name: value for name, value in final.items() if value is not None})  # type: ignore[union-attr]


def flat(description: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Arguments of a module by dotted name, a part by the name of its class.

    Args:
        description: ``class_path`` and ``init_args``, nested as parts are.
        prefix: What every name begins with.

    Returns:
        Numbers, texts and truth values.
    """
    found: dict[str, Any] = {prefix or "method": str(description["class_path"]).rpartition(".")[2]}
    for name, value in description.get("init_args", {}).items():
        path = f"{prefix}.{name}" if prefix else name
        if isinstance(value, Mapping) and "class_path" in value:
            found |= flat(value, path)
        elif isinstance(value, (bool, int, float, str)):
            found[path] = value
        elif value is not None:
            found[path] = str(value)
    return found


def tensorboard(trainer: Trainer) -> Any:
    """TensorBoard's writer, or ``None`` where the run logs elsewhere."""
    logger = next((logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)), None)
    return None if logger is None else logger.experiment


def _pixels(figure: Figure) -> torch.Tensor:
    """A figure as an image, ``[3, height, width]`` in bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(150)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    width, height = canvas.get_width_height()
    rgba = torch.frombuffer(bytearray(canvas.buffer_rgba()), dtype=torch.uint8).reshape(height, width, 4)
    return rgba[..., :3].permute(2, 0, 1)


def _last(rows: list[dict[str, float]], name: str) -> float | None:
    return next((row[name] for row in reversed(rows) if name in row), None)
