"""The curves of a search: what is drawn, what is left out, and the same bytes each time."""

from __future__ import annotations

import math
import subprocess
import sys
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from robustnas.analysis.registry import Panel, panels, uncertainty
from robustnas.plotting.cells import render
from robustnas.plotting.charts import COLOURS, STYLES, interval, style
from robustnas.plotting.curves import curves_figure, panel_charts

PANELS = panels(("normal", "reduce", "cell", "chain"))
EVERYTHING = sorted({name for panel in PANELS for name in panel.lines})


def table(*names: str, epochs: int = 4) -> list[dict[str, float]]:
    return [{"epoch": epoch, **dict.fromkeys(names, 0.1 * epoch + 0.2)} for epoch in range(epochs)]


def figure_of(rows: list[dict[str, float]], marks: dict[str, float] | None = None) -> Any:
    return curves_figure(panel_charts(rows, PANELS, marks))


def titles(figure: Any) -> list[str]:
    return [axes.get_title(loc="left") for axes in drawn(figure)]


def labels(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def drawn(figure: Any) -> list[Any]:
    """The panels of a figure, without the blank place at the end of its grid."""
    return [axes for axes in figure.axes if axes.axison]


def test_everything_measured_is_drawn() -> None:
    figure = figure_of(table(*EVERYTHING))
    assert titles(figure) == [panel.title for panel in PANELS]
    for axes, panel in zip(drawn(figure), PANELS, strict=True):
        assert labels(axes) == list(panel.lines.values())
        assert [tuple(line.get_xdata()) for line in axes.lines] == [(0, 1, 2, 3)] * len(panel.lines)
        assert len({line.get_color() for line in axes.lines}) == len(panel.lines)  # none is hidden by another's colour
    assert max(len(panel.lines) for panel in PANELS) <= len(COLOURS)


def test_panels_and_lines_without_data_are_left_out() -> None:
    figure = figure_of(table("train/loss", "gap/discrete_accuracy", "curvature/max"))
    assert titles(figure) == ["Loss", "Accuracy", "Largest Hessian eigenvalue in α"]
    assert [labels(axes) for axes in drawn(figure)] == [["training"], ["discretised"], ["validation loss"]]
    assert len(figure.axes) == 4  # the last place of the grid is blank
    one = figure_of(table("alpha/margin"))
    assert titles(one) == ["Decision"]
    assert one.get_figwidth() < figure.get_figwidth()


def test_gaps_and_numbers_that_are_none_are_left_out_and_nothing_is_smoothed() -> None:
    values = {0: 1.0, 1: math.nan, 2: 900.0, 3: math.inf, 5: -3.0}
    rows: list[dict[str, float]] = [
        {"epoch": epoch, **({"curvature/max": values[epoch]} if epoch in values else {})} for epoch in range(6)
    ]
    (axes,) = figure_of(rows).axes
    assert axes.lines[0].get_xdata() == pytest.approx([0, 2, 5])
    assert axes.lines[0].get_ydata() == pytest.approx([1.0, 900.0, -3.0])
    low, high = axes.get_ylim()
    assert low < -3
    assert high > 900  # an outlier is what a collapse looks like
    assert panel_charts([{"epoch": 0, "curvature/max": math.nan}], PANELS) == []


def test_shares_are_drawn_from_zero_to_one() -> None:
    shares, loss = figure_of(table("shares/skip_connect", "val/loss", epochs=2)).axes[::-1]
    assert shares.get_ylim() == (-0.03, 1.03)
    assert loss.get_ylim()[1] < 0.5


def test_marks_stand_in_every_chart_and_are_named_once() -> None:
    figure = figure_of(table("train/loss", "alpha/entropy"), {"collapsed": 2, "take this": 1})
    for axes in figure.axes:
        dashed = [line for line in axes.lines if line.get_linestyle() == "--"]
        assert sorted(line.get_xdata()[0] for line in dashed) == [1, 2]
    said = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    assert said == [["collapsed", "take this"], []]


def test_panels_of_ones_own() -> None:
    panel = Panel("Mine", {"mine/number": "a number"})
    figure = curves_figure(panel_charts(table("mine/number", "train/loss"), [panel]))
    assert titles(figure) == ["Mine"]
    assert labels(figure.axes[0]) == ["a number"]


def test_what_is_said_fits_into_the_figure() -> None:
    figure = figure_of(table(*EVERYTHING), {"collapsed": 3})
    FigureCanvasAgg(figure).draw()
    for axes in drawn(figure):
        for text in (axes.title, axes._left_title, axes.xaxis.label, *axes.texts, *axes.get_legend().get_texts()):
            box = text.get_window_extent()
            if text.get_text():
                assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1, text
                assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1, text


def test_a_single_point_is_a_marker_with_its_value() -> None:
    rows = [{**row, **({"gap/discrete_accuracy": 0.2345} if row["epoch"] == 3 else {})} for row in table("val/top1")]
    (axes,) = figure_of(rows).axes
    many, single = axes.lines
    assert (many.get_linestyle(), list(single.get_xdata())) == ("-", [3])
    assert single.get_linestyle() == "None"
    assert single.get_marker() == "o"
    assert [text.get_text() for text in axes.texts] == ["0.234"]
    (alone,) = figure_of([{"epoch": 0, "curvature/max": 12.34}]).axes
    assert [text.get_text() for text in alone.texts] == ["12.3"]


def test_lines_differ_without_their_colours() -> None:
    """Of sixteen lines no two share colour and style, and neighbours in colour have another style."""
    looks = [(number % len(COLOURS), style(number)) for number in range(16)]
    assert len(set(looks)) == 16
    panel = Panel("Many", {f"mine/{number}": f"{number}" for number in range(16)})
    (axes,) = curves_figure(panel_charts(table(*panel.lines), [panel])).axes
    drawn = [(line.get_color(), line.get_linestyle(), line.get_marker()) for line in axes.lines]
    assert len(set(drawn)) == 16
    assert len({(line, marker) for _, line, marker in drawn}) == STYLES


def test_nothing_to_draw_is_an_error() -> None:
    with pytest.raises(ValueError, match="Expected `charts` to hold at least one chart, but got none"):
        curves_figure(panel_charts([{"epoch": 0.0, "unknown": 1.0}], PANELS))


@pytest.mark.parametrize("form", ["png", "svg"])
def test_the_same_rows_give_the_same_bytes(form: str) -> None:
    drawn = [render(figure_of(table("train/loss", "alpha/entropy"), {"here": 1}), form) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert drawn[0] != render(figure_of(table("train/loss", "alpha/entropy"), {"here": 2}), form)
    if form == "svg":
        assert ET.fromstring(drawn[0]).tag.endswith("svg")


def test_matplotlib_is_loaded_where_something_is_drawn() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys, robustnas.plotting.curves; print('matplotlib' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"


def test_an_eigenvalue_is_drawn_with_what_it_may_be() -> None:
    """Up to its bound, and a standard error beyond either end."""
    row = {"curvature/max": 2.0, "curvature/max_upper": 2.5, "curvature/max_deviation": 0.25}

    def between(numbers: dict[str, float], name: str = "curvature/max") -> tuple[float, float] | None:
        return interval({one: {7: value} for one, value in numbers.items()}, name, 7)

    assert between(row) == (1.75, 2.75)
    assert between({**row, "curvature/max_deviation": math.nan}) == (2.0, 2.5)
    assert between({"curvature/max": 2.0}) is None
    assert between({"curvature/min": -1.0, "curvature/min_lower": -1.5}, "curvature/min") == (-1.5, -1.0)
    assert uncertainty("curvature/max_normal") == ("curvature/max_upper_normal", "curvature/max_deviation_normal")
    for name in ("curvature/max_upper", "curvature/max_deviation", "val/loss", "curvature/trace"):
        assert uncertainty(name) == ()
    rows = [{"epoch": epoch, **(row if epoch else {"curvature/max": 2.0})} for epoch in range(3)]
    (axes,) = figure_of(rows).axes
    _, drawn = axes.lines
    assert drawn.get_xdata()[[0, 1, 3, 4]].tolist() == [1, 1, 2, 2]
    assert drawn.get_ydata()[[0, 1, 3, 4]].tolist() == [1.75, 2.75, 1.75, 2.75]
    (axes,) = figure_of([{"epoch": 0, "curvature/max": 2.0}]).axes
    assert len(axes.lines) == 1
