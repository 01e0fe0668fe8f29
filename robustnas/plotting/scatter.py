"""Charts over any axis, such as cost against accuracy, drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from robustnas.plotting.charts import COLOURS, Chart, Series, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = "osD^"  # by number of the style


def scatter_figure(charts: Sequence[Chart]) -> Figure:
    """A figure with some charts, two beside each other; a vertical bar is the interval of a value."""
    from matplotlib.figure import Figure

    if not charts:
        raise ValueError("Expected `charts` to hold at least one chart, but got none.")
    lines = (len(charts) + 1) // 2
    figure = Figure(figsize=(11, 4.2 * lines), layout="constrained")
    grid: Any = figure.subplots(lines, 2, squeeze=False)
    for place, axes in enumerate(grid.flat):
        if place < len(charts):
            _draw(axes, charts[place])
        else:
            axes.set_axis_off()
    return figure


def _draw(axes: Axes, chart: Chart) -> None:
    for one in chart.measured:
        _series(axes, chart, one)
    axes.set_title(chart.title, size=10, weight="bold", loc="left")
    axes.set_xlabel(chart.x_title, size=9)
    axes.set_ylabel(chart.y_title, size=9)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, frameon=False)


def _series(axes: Axes, chart: Chart, one: Series) -> None:
    number = chart.colour(one)
    colour = COLOURS[number % len(COLOURS)]
    x, y = zip(*(point[:2] for point in one.points), strict=True)
    marker = _MARKERS[style(number)] if chart.dots or not one.joined else ""
    line = "-" if one.joined else ""
    axes.plot(x, y, color=colour, label=one.label, marker=marker, linestyle=line, markersize=5, linewidth=1.4)
    for point in one.points:
        if point.interval:
            axes.vlines(point.x, *point.interval, color=colour, alpha=0.45, linewidth=2.4)
