"""What a chart shows, as data: :mod:`robustnas.plotting.curves` draws it with matplotlib, a report as SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from robustnas.analysis.registry import Panel, find, uncertainty

STYLES = 4  # of lines and markers: a colour that comes again has another one, and so has every fifth series
COLOURS = ("#0072b2", "#d55e00", "#00805e", "#c0559b", "#3fa4db", "#b98900", "#777777", "#5b4fa0")

Found = Mapping[str, Mapping[int, float]]


class Point(NamedTuple):
    """A measured value; ``interval`` is the range of values that it may have, ``note`` what a tooltip says."""

    x: float
    y: float
    interval: tuple[float, float] | None = None
    note: str = ""


@dataclass(frozen=True)
class Series:
    """Points with one label; those of one group share a colour and an entry of the legend."""

    label: str
    points: Sequence[Point]
    group: str = ""  # by default the label
    colour: int | None = None  # by default the place of the group among those of the chart
    joined: bool = True

    @property
    def key(self) -> str:
        """Name in the legend."""
        return self.group or self.label

    @property
    def single(self) -> bool:
        """Whether there is one point, which is drawn as a marker with its value."""
        return self.joined and len(self.points) == 1


@dataclass(frozen=True)
class Chart:
    """Series over two axes. Nothing is smoothed, and nothing is cut off."""

    title: str
    series: Sequence[Series]  # one without points keeps its colour and is left out
    x_title: str = "epoch"
    y_title: str = ""
    span: tuple[int, int] | None = None  # of an axis of epochs; by default that of the points
    marks: Mapping[str, float] = field(default_factory=dict)  # label to the place of a vertical line
    thresholds: Mapping[str, float] = field(default_factory=dict)  # horizontal lines, drawn where the axis reaches them
    zero_to_one: bool = False  # whether the vertical axis reaches from 0 to 1
    categories: bool = False  # whether each x has a tick, all at one distance
    dots: bool = True

    @property
    def measured(self) -> list[Series]:
        """The series that have points."""
        return [series for series in self.series if series.points]

    def colour(self, series: Series) -> int:
        """Number of the colour of a series."""
        if series.colour is not None:
            return series.colour
        return list(dict.fromkeys(one.key for one in self.series)).index(series.key)


def series(found: Found, name: str, label: str = "", group: str = "") -> Series:
    """A metric over the epochs, with the range of each value; by default with the label of the registry."""
    metric = find(name)
    values = sorted(found.get(name, {}).items())
    points = [Point(epoch, value, interval(found, name, epoch)) for epoch, value in values if math.isfinite(value)]
    return Series(label or metric.label or metric.title, points, group)


def interval(found: Found, name: str, epoch: int) -> tuple[float, float] | None:
    """The range between the bounds of a value and one standard error beyond; ``None`` where neither is known."""
    value = found[name][epoch]
    measured = {one: found.get(one, {}).get(epoch, math.nan) for one in uncertainty(name)}
    known = {one: number for one, number in measured.items() if math.isfinite(number)}
    if not known:
        return None
    error = next((number for one, number in known.items() if "_deviation" in one), 0.0)
    ends = [value, *(number for one, number in known.items() if "_deviation" not in one)]
    return min(ends) - error, max(ends) + error


def panel_chart(
    found: Found, panel: Panel, marks: Mapping[str, float] | None = None, span: tuple[int, int] | None = None
) -> Chart:
    """The chart of a panel; a metric that has the panel to itself is drawn with its thresholds."""
    drawn = [series(found, name, label) for name, label in panel.lines.items()]
    bounds = [threshold for name in panel.lines for threshold in find(name).thresholds if not threshold.chance]
    lines = {f"threshold {bound.comparison} {bound.value:g}": bound.value for bound in bounds if len(drawn) == 1}
    return Chart(panel.title, drawn, "epoch", "", span, marks or {}, lines, panel.zero_to_one)


def style(number: int) -> int:
    """Number of the style of line and marker of a series, from its number in the chart."""
    return number // STYLES % STYLES


class Axis(NamedTuple):
    """Values with a tick, their labels, and the place of a value between 0 and 1."""

    ticks: Sequence[float]
    labels: Sequence[str]
    place: Callable[[float], float]


def x_axis(chart: Chart) -> Axis:
    """The horizontal axis of a chart: epochs, categories, or numbers."""
    values = [point.x for series in chart.measured for point in series.points]
    if chart.categories:
        known = sorted(set(values))
        places = {value: (k + 0.5) / len(known) for k, value in enumerate(known)}
        return Axis(known, [f"{value:g}" for value in known], places.__getitem__)
    if chart.x_title != "epoch":
        return _numbers(values)
    first, last = chart.span or (min(values), max(values))
    begin, width = (first, last - first) if last > first else (first - 0.5, 1)
    ticks = [tick for tick in nice(first, last, 6) if first <= tick <= last and tick == int(tick)]
    ticks = ticks if last > first else [first]
    return Axis(ticks, [f"{tick:.0f}" for tick in ticks], lambda value: (value - begin) / width)


def y_axis(chart: Chart) -> Axis:
    """The vertical axis of a chart, which holds every interval."""
    points = [point for series in chart.measured for point in series.points]
    values = [point.y for point in points] + [end for point in points for end in point.interval or ()]
    if chart.zero_to_one:
        return linear(min([0.0, *values]), max([1.0, *values]), 5)
    return linear(min(values), max(values), 4) if chart.x_title == "epoch" else _numbers(values)


def linear(low: float, high: float, count: int) -> Axis:
    """An axis of about ``count`` steps with round ticks that enclose ``low`` and ``high``."""
    ticks = nice(low, high, count)
    return Axis(ticks, tick_labels(ticks), lambda value: (value - ticks[0]) / (ticks[-1] - ticks[0]))


def _numbers(values: Sequence[float]) -> Axis:
    """An axis that is logarithmic where its values span two decades."""
    low, high = min(values), max(values)
    if not (low > 0 and high / low >= 100):
        return linear(low, high, 4)
    a, b = math.floor(math.log10(low)), math.ceil(math.log10(high))
    ticks = [10.0**power for power in range(a, b + 1, max(1, (b - a) // 4))]
    return Axis(ticks, [f"{tick:g}" for tick in ticks], lambda value: (math.log10(value) - a) / (b - a))


def nice(low: float, high: float, count: int) -> list[float]:
    """Round numbers from below ``low`` to above ``high``, about ``count`` steps apart."""
    if not high - low > 1e-12 * max(abs(low), abs(high)):
        low, high = (low - abs(low) / 2, low + abs(low) / 2) if low else (0.0, 1.0)
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    start, end = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [k * step for k in range(start, end + 1)]


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """Numbers with as many digits as tell neighbours apart."""
    step, largest = ticks[1] - ticks[0], max(abs(ticks[0]), abs(ticks[-1]))
    if largest < 1e5 and step > 1e-5:
        return [f"{tick + 0.0:.{max(0, -math.floor(math.log10(step) + 1e-9))}f}" for tick in ticks]
    digits = math.floor(math.log10(largest)) - math.floor(math.log10(step) + 1e-9) + 1
    return [f"{0.0 if abs(tick) < step / 2 else tick:.{max(digits, 1)}g}" for tick in ticks]
