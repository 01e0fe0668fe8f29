"""Charts over epochs, and the loss around an α, drawn with matplotlib for TensorBoard and the folder of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from robustnas.analysis.registry import Panel
from robustnas.plotting.card import CARD
from robustnas.plotting.charts import COLOURS, Chart, panel_chart, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from robustnas.curvature.landscape import Landscape

Rows = Sequence[Mapping[str, float]]

_LINES = (("-", "o"), ("--", "s"), (":", "D"), ("-.", "^"))  # by number of the style


def panel_charts(rows: Rows, panels: Sequence[Panel], marks: Mapping[str, float] | None = None) -> list[Chart]:
    """The charts of those panels of which rows, one for each ``epoch``, hold something."""
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        for name, value in row.items():
            found.setdefault(name, {})[int(row["epoch"])] = value
    return [chart for panel in panels if (chart := panel_chart(found, panel, marks)).measured]


def curves_figure(charts: Sequence[Chart], columns: int = 2) -> Figure:
    """A figure with some charts over epochs; a vertical bar is the range that a value may have."""
    from matplotlib.figure import Figure

    if not charts:
        raise ValueError("Expected `charts` to hold at least one chart, but got none.")
    columns = min(columns, len(charts))
    lines = math.ceil(len(charts) / columns)
    width, height = (4.6 if columns > 1 else CARD) * columns, 2.5 * lines  # inches
    figure = Figure(figsize=(width, height))
    grid: Any = figure.subplots(lines, columns, squeeze=False, sharex=True)
    between = {"hspace": 0.27, "wspace": 0.2}  # fixed: a layout that is searched for draws all once more
    figure.subplots_adjust(0.65 / width, 0.45 / height, 1 - 0.12 / width, 1 - 0.38 / height, **between)
    for place, axes in enumerate(grid.flat):
        if place < len(charts):
            _draw(axes, charts[place], name_marks=place == 0)
        else:
            axes.set_axis_off()
    for place, axes in list(enumerate(grid.flat))[: len(charts)][-columns:]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel(charts[place].x_title, size=9)
    return figure


def _draw(axes: Axes, chart: Chart, name_marks: bool) -> None:
    for one in chart.measured:
        colour, (line, marker) = COLOURS[chart.colour(one) % len(COLOURS)], _LINES[style(chart.colour(one))]
        x, y = zip(*(point[:2] for point in one.points), strict=True)
        shape: dict[str, Any] = {"color": colour, "label": one.label, "marker": marker}
        if one.single:
            axes.plot(x, y, linestyle="none", markersize=6, **shape)
            axes.margins(y=0.15)  # for the value
            said: dict[str, Any] = {
                "xytext": (-6, 4),
                "textcoords": "offset points",
                "ha": "right",
                "color": colour,
                "size": 9,
            }
            axes.annotate(f"{y[0]:.3g}", (x[0], y[0]), **said)
        else:
            axes.plot(x, y, linestyle=line, linewidth=1.6, markersize=3, **shape)
        ends = [(point.x, *point.interval) for point in one.points if point.interval]
        if ends:  # one line with gaps, which the legend avoids
            across = [place for x, _, _ in ends for place in (x, x, math.nan)]
            upward = [value for _, low, high in ends for value in (low, high, math.nan)]
            axes.plot(across, upward, color=colour, alpha=0.45, linewidth=2.4, label=f"_{one.label}")
    low, high = axes.get_ylim()
    for value in chart.thresholds.values():
        if low <= value <= high:
            axes.axhline(value, color="#a8201a", linestyle=":", linewidth=1)
    for label, epoch in chart.marks.items():
        axes.axvline(epoch, color="#7a7a7a", linestyle="--", linewidth=1)
        if name_marks:
            axes.annotate(label, (epoch, 1.0), xycoords=("data", "axes fraction"), size=8, ha="center", va="bottom")
    if chart.zero_to_one:
        axes.set_ylim(-0.03, 1.03)
    axes.set_title(chart.title, size=10, weight="bold", loc="left", pad=12 if name_marks and chart.marks else 6)
    axes.tick_params(labelsize=8)
    axes.locator_params(axis="x", nbins=5, integer=True)
    axes.locator_params(axis="y", nbins=4)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False)


def landscape_figure(landscape: Landscape, title: str) -> Figure:
    """The plane as a map with lines of equal loss, and the line to the discretisation as a curve, in no window."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.6, 3.7), layout="constrained")
    left, right = figure.subplots(1, 2)
    figure.suptitle(title, size=11, weight="bold", x=0.01, ha="left")
    reach, plane = landscape.reach, landscape.plane
    filled = left.contourf(reach, reach, plane.T, levels=20, cmap="viridis")
    if plane.max() > plane.min():
        left.contour(reach, reach, plane.T, levels=8, colors="white", linewidths=0.5)
    left.plot(0, 0, "+", color="#d55e00", markersize=12, markeredgewidth=2.5)
    left.set_title(f"Loss around α (+), along {landscape.directions}", size=9, loc="left")
    left.set_xlabel("first direction", size=9)
    left.set_ylabel("second direction", size=9)
    left.set_aspect("equal")
    figure.colorbar(filled, ax=left, shrink=0.9).ax.tick_params(labelsize=8)
    right.plot(landscape.share, landscape.line, ".-", color="#0072b2")
    right.set_title("Loss on the way from the mixture to the genotype", size=9, loc="left")
    right.set_xlabel("share of the genotype in the mixture", size=9)
    right.grid(alpha=0.25)
    right.spines[["top", "right"]].set_visible(False)
    for axes in (left, right):
        axes.tick_params(labelsize=8)
    return figure
