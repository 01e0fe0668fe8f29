"""The curves of a search, drawn so that a collapse is seen: nothing smoothed, nothing cut off."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, float]]


class Panel(NamedTuple):
    """One chart: what stands above it, and the columns of ``metrics.csv`` that it shows, each with its label."""

    title: str
    lines: Mapping[str, str]
    zero_to_one: bool = False


PANELS = (
    Panel("Loss", {"train/loss": "training", "val/loss": "validation"}),
    Panel("Accuracy", {"val/top1": "supernet", "gap/discrete_accuracy": "discretised"}, True),
    Panel(
        "Share of operations",
        {
            "shares/parameter_free": "without parameters",
            "shares/skip_connect": "skip connections",
            "shares/none": "none",
        },
        True,
    ),
    Panel(
        "Edges without parameters",
        {
            "genotype/parameter_free_normal": "normal cell",
            "genotype/parameter_free_reduce": "reduction cell",
            "genotype/parameter_free_cell": "cell",
            "genotype/parameter_free_chain": "chain",
        },
        True,
    ),
    Panel("Decision", {"alpha/entropy": "entropy of α", "alpha/margin": "margin", "genotype/changed": "changed"}, True),
    Panel("Largest Hessian eigenvalue in α", {"curvature/max": "validation loss", "arch/curvature": "stopping rule"}),
    Panel(
        "Agreement of gradients",
        {
            "gradient/match": "training with validation",
            "gradient/alignment_normal": "normal cells",
            "gradient/alignment_reduce": "reduction cells",
            "gradient/alignment_cell": "cells",
        },
    ),
    Panel("Generalisation gap", {"generalisation/loss": "loss"}),
)
HEADLINES = tuple(PANELS[place] for place in (1, 3, 5))  # what a collapse is seen in first
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")


def series(rows: Rows, name: str) -> tuple[list[float], list[float]]:
    """Epochs and values of a column, those that are missing or not finite left out."""
    found = [(row["epoch"], row[name]) for row in rows if name in row and math.isfinite(row[name])]
    return [epoch for epoch, _ in found], [value for _, value in found]


def uncertainty(name: str) -> tuple[str, ...]:
    """Names of the series that say what the values of a series are uncertain by; none for most.

    Args:
        name: Name of the series.

    Returns:
        The series of bounds, and that of the standard error, whether they were measured or not.
    """
    if name == "arch/curvature":
        return "arch/curvature_upper", "arch/curvature_deviation"
    if name == "curvature/min":
        return ("curvature/min_lower",)
    kind = name.removeprefix("curvature/max")
    if kind == name or kind.startswith(("_upper", "_deviation")):
        return ()
    return f"curvature/max_upper{kind}", f"curvature/max_deviation{kind}"


def band(values: Mapping[str, float], name: str) -> tuple[float, float] | None:
    """What a value may be: between its bounds, and one standard error to either side.

    Args:
        values: Numbers of one epoch by name.
        name: Name of the value.

    Returns:
        Low and high, or ``None`` where nothing is known of either.
    """
    known = {one: values[one] for one in uncertainty(name) if math.isfinite(values.get(one, math.nan))}
    if name not in values or not math.isfinite(values[name]) or not known:
        return None
    value, error = values[name], 0.0
    bounds = [value]
    for one, number in known.items():
        if "_deviation" in one:
            error = number
        else:
            bounds.append(number)
    return min(*bounds, value) - error, max(*bounds, value) + error


def measured(rows: Rows, panels: Sequence[Panel] = PANELS) -> list[Panel]:
    """Those charts of which something was measured."""
    return [panel for panel in panels if any(series(rows, name)[0] for name in panel.lines)]


def curves_figure(
    rows: Rows, marks: Mapping[str, int] | None = None, panels: Sequence[Panel] = PANELS, columns: int = 2
) -> Figure:
    """A figure with one chart for each panel of which something was measured.

    Args:
        rows: A mapping from column to number for each epoch, ``epoch`` among them.
        marks: Epochs to mark with a dashed line in every chart, by what is said of them.
        panels: The charts.
        columns: Charts side by side.

    Returns:
        The figure, in no window. A band is what a value may be, see :func:`band`.

    Raises:
        ValueError: If there is nothing to draw.
    """
    from matplotlib.figure import Figure

    shown = measured(rows, panels)
    if not shown:
        raise ValueError(f"Expected `rows` to hold a column of {[panel.title for panel in panels]}, but got none.")
    columns = min(columns, len(shown))
    lines = math.ceil(len(shown) / columns)
    width, height = (4.6 if columns > 1 else 3.6) * columns, 2.5 * lines  # inches
    figure = Figure(figsize=(width, height))
    grid: Any = figure.subplots(lines, columns, squeeze=False, sharex=True)
    between = {"hspace": 0.27, "wspace": 0.2}  # fixed: a layout that is searched for draws all once more
    figure.subplots_adjust(0.65 / width, 0.45 / height, 1 - 0.12 / width, 1 - 0.38 / height, **between)
    for place, axes in enumerate(grid.flat):
        if place < len(shown):
            _draw(axes, rows, shown[place], marks or {}, legend_of_marks=place == 0)
        else:
            axes.set_axis_off()
    for axes in list(grid.flat)[: len(shown)][-columns:]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("epoch", size=9)
    return figure


def _draw(axes: Axes, rows: Rows, panel: Panel, marks: Mapping[str, int], legend_of_marks: bool) -> None:
    for colour, (name, label) in zip(COLOURS, panel.lines.items(), strict=False):
        epochs, values = series(rows, name)
        if epochs:
            axes.plot(epochs, values, ".-", color=colour, label=label, linewidth=1.4, markersize=4)
        bands = [(row["epoch"], between) for row in rows if (between := band(row, name)) is not None]
        if bands:
            lows, highs = zip(*(between for _, between in bands), strict=True)
            axes.fill_between([epoch for epoch, _ in bands], lows, highs, color=colour, alpha=0.2, linewidth=0)
    for epoch in marks.values():
        axes.axvline(epoch, color="#7a7a7a", linestyle="--", linewidth=1)
    if legend_of_marks:
        for said, epoch in marks.items():
            axes.annotate(said, (epoch, 1.0), xycoords=("data", "axes fraction"), size=8, ha="center", va="bottom")
    if panel.zero_to_one:
        axes.set_ylim(-0.03, 1.03)
    axes.set_title(panel.title, size=10, weight="bold", loc="left", pad=12 if legend_of_marks and marks else 6)
    axes.tick_params(labelsize=8)
    axes.locator_params(axis="x", nbins=5, integer=True)
    axes.locator_params(axis="y", nbins=4)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False)
