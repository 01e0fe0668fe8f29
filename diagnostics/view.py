"""What loggers and the folder of a run show of a search besides curves."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from robustnas.diagnostics.diagnostic import Diagnostic

from robustnas.analysis import metrics
from robustnas.analysis.registry import Panel, panels, uncertainty
from robustnas.data import Probe
from robustnas.plotting.card import genotype_card
from robustnas.plotting.cells import alpha_figure, genotype_figure, render
from robustnas.plotting.curves import curves_figure, panel_charts
from robustnas.runs.record import write_bytes
from robustnas.training.description import plain
from robustnas.training.lightning.displays import Display, displays
from robustnas.training.recorder import RunRecorder, run_folder
from robustnas.training.search import SearchModule

# Compared between searches, and where a collapse shows first.
COMPARED = (
    metrics.VAL_TOP1, metrics.DISCRETE_ACCURACY, metrics.PARAMETER_FREE_SHARE, metrics.ENTROPY, metrics.CURVATURE,
)  # fmt: skip
HEADLINES = {one.panel for one in (metrics.DISCRETE_ACCURACY, metrics.PARAMETER_FREE_EDGES, metrics.CURVATURE)}
ALWAYS = ("space", "channels", "lr", "arch_lr", "arch_weight_decay", "seed")
NEVER = ("num_classes", "image_channels", "task", "convolution", "channels_last", "checkpointing")


class LoggerView(Diagnostic):
    """Pictures, histograms and a page of charts for the loggers that show them, and the headline curves as PNG and SVG.

    - a page of charts, "Is it collapsing?": those of :func:`~robustnas.analysis.registry.panels`. TensorBoard has it
      under *Custom scalars*;
    - images: shares of operations as heat maps, the cells of the present genotype, and at the end the charts of
      :data:`HEADLINES`;
    - histograms: shares of operations;
    - settings: what the search is made of, see :func:`columns`, beside the last values of :data:`COMPARED`;
    - ``curves.png`` and ``curves.svg`` in the folder of the run, at the end: TensorBoard smooths curves and hides
      outliers by default, which are what a collapse looks like. They are written whatever the logger is.

    Args:
        interval: Epochs between two sets of pictures. The last epoch has one too.
        **shared: Arguments of :class:`~robustnas.diagnostics.Diagnostic`.
    """

    def __init__(self, interval: int = 5, **shared: Any) -> None:
        super().__init__(interval, **shared)

    def expect(self, trainer: Trainer) -> None:
        self.budget.expect(self.name, 0.25 * sum(display.pictures for display in displays(trainer)))

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_fit_start(trainer, pl_module)
        if not isinstance(pl_module, SearchModule):
            return
        self.budget.ending = 0.5  # for the curves
        for display in displays(trainer):
            display.page(layout(panels(pl_module.space.cells)))
            display.settings(columns(pl_module.description), [metric.name for metric in COMPARED])

    def measure(self, search: SearchModule, probe: Probe) -> dict[str, float]:
        for display in displays(search.trainer):
            if display.pictures:
                _show(display, search, last_step(search.trainer))
        return {}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        folder = run_folder(trainer)  # processes wait for each other here
        recorders = [callback for callback in trainer.callbacks if isinstance(callback, RunRecorder)]  # type: ignore[attr-defined]
        rows = next((recorder.rows for recorder in recorders), [])
        if not (isinstance(pl_module, SearchModule) and trainer.is_global_zero and rows):
            return
        with self.budget.timed("curves"):
            measured = {name for row in rows for name in row}
            shown = [panel for panel in panels(pl_module.space.cells) if measured & panel.lines.keys()]
            charts = panel_charts(rows, shown)
            figure = curves_figure(charts)
            write_bytes(folder / "curves.png", render(figure, "png", 120))
            write_bytes(folder / "curves.svg", render(figure, "svg"))
            headlines = [chart for chart in charts if chart.title in HEADLINES] or charts
            for display in displays(trainer):
                display.page(layout(shown))  # replaces that of the start: no chart stays empty
                if display.pictures:
                    drawn = curves_figure(charts) if display.wide else curves_figure(headlines, columns=1)
                    display.picture("curves", drawn, last_step(trainer))
        self.budget.ending = 0.0


def _show(display: Display, search: SearchModule, step: int) -> None:
    """The mixtures and the genotype of a search that is at the end of an epoch."""
    for kind, share in search.shares().items():
        title = f"{kind if kind in ('cell', 'chain') else f'{kind} cell'}, epoch {search.current_epoch}"
        display.picture(f"heatmap/{kind}", alpha_figure(share.tolist(), search.space.cells[kind], title), step)
        display.histogram(metrics.SHARES.of(kind), share.detach().cpu().numpy(), step)
    draw = genotype_figure if display.wide else genotype_card
    display.picture("genotype", draw(search.genotype(), search.space), step)


def layout(shown: Sequence[Panel]) -> dict[str, dict[str, list[Any]]]:
    """The page of charts, as TensorBoard takes it."""
    return {
        "Is it collapsing?": {
            panel.title: ["Multiline", [f"^{one}$" for name in panel.lines for one in (name, *uncertainty(name))]]
            for panel in shown
        }
    }


def columns(description: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of a table of searches: the method, what always has a column, and what differs from the defaults."""
    defaults = inspect.signature(SearchModule).parameters
    arguments = description.get("init_args", {})
    usual = {name: plain(defaults[name].default) for name in arguments if name in defaults}
    shown = {
        n: v for n, v in arguments.items() if n in ALWAYS or (n not in NEVER and (n not in usual or v != usual[n]))
    }
    found = flat({**description, "init_args": shown})
    return {"Method": found.pop("method"), **found}  # the page sorts by name, capitals first


def flat(description: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Arguments of a module by dotted name, a part by the name of its class."""
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


def last_step(trainer: Trainer) -> int:
    """The step under which the figures of an epoch that ends are logged, which count from 0."""
    return max(trainer.global_step - 1, 0)
