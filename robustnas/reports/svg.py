"""Charts, dots with intervals, bars and ranks as SVG. The stylesheet has their colours, also for a dark background."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from robustnas.plotting.cell_layout import label_of, shorten
from robustnas.plotting.cells import MixtureTable, mixture_table
from robustnas.plotting.charts import COLOURS, Chart, Series, linear, style, x_axis, y_axis
from robustnas.reports.rendering import duration, figure, n
from robustnas.spaces import CellSpace
from robustnas.statistics import Interval, Ranking

WIDTH, HEIGHT, TOP, BOTTOM, RIGHT = 360, 205, 16, 36, 10
LEVELS = 16  # shades of a heat map
BROAD, STEP = 760, 24  # width of a picture of a study, and height of its rows
STAGES = {"search": 0, "selection": 5, "evaluation": 4}  # with their colours


class Path(NamedTuple):
    """A path with its classes of the stylesheet, and what a tooltip says of it."""

    d: str
    css: str
    note: str = ""
    opacity: float = 1.0


class Text(NamedTuple):
    """A text at a place, turned by some degrees."""

    text: object
    x: float
    y: float
    css: str = ""
    anchor: str = "start"
    turn: int = 0


class Drawing(NamedTuple):
    """A picture of shapes, with a description for those who do not see it and a legend of labels and classes."""

    title: str
    size: tuple[float, float]
    spoken: str
    shapes: Sequence[Path | Text]
    legend: Sequence[tuple[str, str]] = ()


def draw(*charts: Chart) -> list[Drawing]:
    """The charts of which something was measured, as pictures."""
    return [_draw(chart) for chart in charts if chart.measured]


def colour(number: int) -> str:
    """Classes of a colour, and of the style of lines and markers where it is not the first."""
    return f"c{number % len(COLOURS)}" + (f" s{style(number)}" if style(number) else "")


def _draw(chart: Chart) -> Drawing:
    across, upward = x_axis(chart), y_axis(chart)
    left, bottom = 10 + 6.4 * max(map(len, upward.labels)) + (16 if chart.y_title else 0), HEIGHT - BOTTOM

    def x(value: float) -> float:
        return left + (WIDTH - RIGHT - left) * across.place(value)

    def y(value: float) -> float:
        return bottom - (bottom - TOP) * upward.place(value)

    shapes: list[Path | Text] = [
        Path("".join(f"M{n(left)} {n(y(tick))}H{WIDTH - RIGHT}" for tick in upward.ticks), "grid"),
        *(Text(label, left - 5, y(tick) + 3.5, anchor="end") for tick, label in zip(*upward[:2], strict=True)),
        *(_below(label, x(tick), bottom, WIDTH) for tick, label in zip(*across[:2], strict=True)),
        Text(chart.x_title, (left + WIDTH - RIGHT) / 2, HEIGHT - 6, "said", "middle"),
    ]
    if chart.y_title:
        shapes.append(Text(chart.y_title, 9, (bottom + TOP) / 2, "said", "middle", -90))
    for label, value in chart.thresholds.items():
        if upward.ticks[0] <= value <= upward.ticks[-1]:
            shapes += [
                Path(f"M{n(left)} {n(y(value))}H{WIDTH - RIGHT}", "threshold", label),
                Text(label, WIDTH - RIGHT, y(value) - 3, "said", "end"),
            ]
    first, last = chart.span or (-math.inf, math.inf)
    for k, (label, place) in enumerate((label, at) for label, at in chart.marks.items() if first <= at <= last):
        turned = x(place) > WIDTH / 2
        shapes += [
            Path(f"M{n(x(place))} {TOP - 4}V{bottom}", "mark"),
            Text(label, x(place) + (-3 if turned else 3), TOP - 6 + 11 * k, "said", "end" if turned else "start"),
        ]
    for series in chart.measured:
        shapes += _series(chart, series, [(x(point.x), y(point.y)) for point in series.points], y)
    keys = {
        one.key: colour(chart.colour(one)) + (" point" if one.single or not one.joined else "")
        for one in chart.measured
    }
    named = len(chart.series) > 1 or chart.x_title != "epoch"
    return Drawing(chart.title, (WIDTH, HEIGHT), _spoken(chart), shapes, list(keys.items()) if named else ())


def _below(label: str, x: float, bottom: float, width: float) -> Text:
    """The label of a tick of the x axis, moved to the left where it would leave the picture."""
    return Text(label, min(x, width - 3.2 * len(label)), bottom + 13, anchor="middle")


def _series(
    chart: Chart, series: Series, at: Sequence[tuple[float, float]], y: Callable[[float], float]
) -> list[Path | Text]:
    """Intervals, the line and the markers of a series; markers with a note have a tooltip each."""
    number, points = chart.colour(series), series.points
    css, ends = colour(number), [
        (n(x), n(y(p.interval[0])), n(y(p.interval[1]))) for (x, _), p in zip(at, points, strict=True) if p.interval
    ]  # fmt: skip
    shapes: list[Path | Text] = []
    if ends:
        shapes.append(Path("".join(f"M{x} {low}V{high}" for x, low, high in ends), f"whiskers {css}"))
    if series.single:
        ((a, b),) = at
        turned = a > WIDTH / 3
        value = Text(
            figure(points[0].y), a + (-6 if turned else 6), b - 5, f"value {css}", "end" if turned else "start"
        )
        return [*shapes, Path(_marker(a, b, number), f"dots big {css}", points[0].note), value]
    if series.joined:
        shapes.append(Path("M" + "L".join(f"{n(a)} {n(b)}" for a, b in at), f"line {css}"))
    if series.joined and (not chart.dots or len(points) > 80):
        return shapes
    dots = [(_marker(a, b, number), point.note) for (a, b), point in zip(at, points, strict=True)]
    if any(note for _, note in dots):
        return shapes + [Path(d, f"dots big {css}", note) for d, note in dots]
    return [*shapes, Path("".join(d for d, _ in dots), f"dots {css}")]


def _marker(x: float, y: float, number: int) -> str:
    """A point, which the stylesheet makes a circle or a square, or the outline of a diamond or a triangle."""
    if (form := style(number)) < 2:
        return f"M{n(x)} {n(y)}h0"
    return f"M{n(x)} {n(y - 2.5)}" + ("l2.5 2.5l-2.5 2.5l-2.5 -2.5z" if form == 2 else "l2.5 4.5h-5z")


def _spoken(chart: Chart) -> str:
    """What a chart shows, in words: from where to where each series goes, or the ranges of scattered points."""
    shown = chart.measured
    if chart.x_title == "epoch":
        ends = [(series.label, series.points[0], series.points[-1]) for series in shown]
        parts = [
            f"{label} {figure(b.y)} in epoch {b.x:g}" if a == b else
            f"{label} from {figure(a.y)} in epoch {a.x:g} to {figure(b.y)} in epoch {b.x:g}"
            for label, a, b in ends
        ]  # fmt: skip
        return f"{chart.title}: {'; '.join(parts)}"
    points = [point for series in shown for point in series.points]
    ranges = [
        f"{name} from {figure(min(values))} to {figure(max(values))}"
        for name, values in ((chart.x_title, [p.x for p in points]), (chart.y_title, [p.y for p in points]))
    ]
    return f"{chart.title}: {len(points)} points, {', '.join(ranges)}"


def heat_maps(frames: Mapping[int, npt.NDArray[Any]], cell: CellSpace, kind: str) -> tuple[str, list[Drawing]]:
    """A caption, and for each epoch a heat map of weights ``[edges, operations]``, on one scale."""
    tables = {epoch: mixture_table(weights, cell) for epoch, weights in frames.items()}
    top = max((float(np.nanmax(table.shares)) for table in tables.values()), default=1.0) or 1.0
    said = (
        f"{kind}: softmax of α. A column is an edge, a row an operation; white is 0, the darkest {top:.2f}. A dot "
        "marks the largest weight of an edge that can be selected. Grey: not a candidate on this edge."
    )
    return said, [_heat_map(f"{kind}, epoch {epoch}", table, cell, top) for epoch, table in tables.items()]


def _heat_map(title: str, table: MixtureTable, cell: CellSpace, top: float) -> Drawing:
    labels = [shorten(label_of(name), 14) for name in table.operations]
    edges, size, left = len(cell.edges), 11, 8 + 5.7 * max(map(len, labels))
    width, bottom, turned = max(size, 150 // edges), 16 + size * len(labels), edges > 7
    shades: dict[float, list[str]] = {}
    for row, column in zip(*np.nonzero(~np.isnan(table.shares)), strict=True):
        level = round(LEVELS * min(max(float(table.shares[row, column]) / top, 0.0), 1.0)) / LEVELS
        box = f"M{n(left + width * column)} {16 + size * row}h{width - 1}v{size - 1}h{1 - width}z"
        shades.setdefault(level, []).append(box)
    dots = (
        f"M{n(left + width * (column + 0.5) - 0.5)} {n(15.5 + size * (row + 0.5))}h0" for column, row in table.largest
    )
    shapes: list[Path | Text] = [
        Text(title.partition(", ")[2], left, 11, "epoch"),
        Path(f"M{n(left)} 16h{width * edges}V{bottom}h{-width * edges}z", "absent"),
        Path("".join(box for boxes in shades.values() for box in boxes), "paper"),
        *(Path("".join(boxes), "shade", opacity=level) for level, boxes in sorted(shades.items()) if level),
        Path("".join(dots), "best"),
        *(Text(label, left - 4, 24.5 + size * row, anchor="end") for row, label in enumerate(labels)),
    ]
    for column, edge in enumerate(cell.edges):
        at = left + width * (column + 0.5)
        shapes.append(
            Text(edge.name, at - 2.5, bottom + 4, "edge", turn=90)
            if turned
            else Text(edge.name, at, bottom + 10, "edge", "middle")
        )
    best = ", ".join(f"{cell.edges[column].name} {table.operations[row]}" for column, row in table.largest)
    return Drawing("", (left + width * edges + 4, bottom + (26 if turned else 14)), f"{title}. Largest: {best}", shapes)


class Row(NamedTuple):
    """A row of a dot plot: an entry with its scores by seed."""

    label: str
    number: int
    values: Mapping[int, float]
    mean: float
    interval: Interval | None


def dot_plot(title: str, axis_title: str, rows: Sequence[Row]) -> Drawing:
    """Scores as dots, with mean and interval, which is cut off where it would squeeze the dots."""
    values = [value for row in rows for value in (*row.values.values(), row.mean)]
    margin = (max(values) - min(values) or 1.0) / 2
    ends = [end for row in rows if row.interval for end in (row.interval.low, row.interval.high)]
    low = min([*values, *(max(end, min(values) - margin) for end in ends)])
    high = max([*values, *(min(end, max(values) + margin) for end in ends)])
    axis, left, bottom = linear(low, high, 6), _left([row.label for row in rows]), 10 + STEP * len(rows)

    def x(value: float) -> float:
        return left + (BROAD - 20 - left) * min(max(axis.place(value), 0.0), 1.0)

    shapes: list[Path | Text] = [Path("".join(f"M{n(x(tick))} 6V{bottom}" for tick in axis.ticks), "grid")]
    shapes += [_below(label, x(tick), bottom, BROAD) for tick, label in zip(*axis[:2], strict=True)]
    shapes.append(Text(axis_title, (left + BROAD - 20) / 2, bottom + 28, "said", "middle"))
    for k, row in enumerate(rows):
        y, css = 10 + STEP * (k + 0.5), colour(row.number)
        shapes.append(Text(shorten(row.label, 30), left - 8, y + 3.5, "name", "end"))
        if row.interval is not None:
            shapes.append(Path(f"M{n(x(row.interval.low))} {n(y)}H{n(x(row.interval.high))}", f"whiskers {css}"))
        shapes += [
            Path(_marker(x(value), y, row.number), f"dots big {css}", f"{row.label}, seed {seed}: {figure(value)}")
            for seed, value in row.values.items()
        ]
        shapes.append(Path(f"M{n(x(row.mean))} {n(y - 8)}v16", "axis"))
    spoken = "; ".join(f"{row.label} mean {figure(row.mean)} of {len(row.values)}" for row in rows)
    return Drawing(title, (BROAD, bottom + 34), f"{title}: {spoken}", shapes)


def stacked(title: str, rows: Mapping[str, Mapping[str, float]]) -> Drawing:
    """Horizontal bars of seconds, one for each entry, stage after stage."""
    longest = max((sum(parts.values()) for parts in rows.values()), default=0.0) or 1.0
    left, shapes = _left(list(rows)), list[Path | Text]()
    for k, (label, stages) in enumerate(rows.items()):
        y, at = 6 + STEP * k, left
        shapes.append(Text(shorten(label, 30), left - 8, y + 15, "name", "end"))
        for stage, seconds in stages.items():
            size = seconds * (BROAD - 110 - left) / longest
            if size:
                box = f"M{n(at)} {y + 4}h{n(size)}v15h{n(-size)}z"
                shapes.append(Path(box, f"bar {colour(STAGES[stage])}", f"{label}, {stage}: {duration(seconds)}"))
            at += size
        shapes.append(Text(duration(sum(stages.values())), at + 6, y + 15))
    spoken = "; ".join(f"{label} {duration(sum(stages.values()))}" for label, stages in rows.items())
    legend = [(stage, colour(number)) for stage, number in STAGES.items()]
    return Drawing(title, (BROAD, 12 + STEP * len(rows)), f"{title}: {spoken}", shapes, legend)


def rank_diagram(ranking: Ranking) -> Drawing:
    """Average ranks, best left, with a bar over those that do not differ significantly (Demšar 2006)."""
    names = list(ranking.ranks)
    count, half = len(names), (len(names) + 1) // 2
    left, right, axis = 190, 570, 52
    first = axis + 16 + 9 * len(ranking.cliques)

    def x(rank: float) -> float:
        return left + (right - left) * (rank - 1) / (count - 1)

    end = min(x(1 + ranking.critical_difference), BROAD - 10)
    shapes: list[Path | Text] = [
        Path(f"M{left} {axis}H{right}" + "".join(f"M{n(x(k))} {axis - 5}v5" for k in range(1, count + 1)), "axis"),
        *(Text(k, x(k), axis - 9, anchor="middle") for k in range(1, count + 1)),
        Path(f"M{left} 16v6m0 -3H{n(end)}m0 -3v6", "axis"),
        Text(f"critical difference {ranking.critical_difference:.2f}", (left + end) / 2, 11, "said", "middle"),
    ]
    for k, group in enumerate(ranking.cliques):
        a, b = x(ranking.ranks[group[0]]), x(ranking.ranks[group[-1]])
        shapes.append(Path(f"M{n(a - 4)} {axis + 8 + 9 * k}H{n(b + 4)}", "clique"))
    for k, name in enumerate(names):
        near = k < half
        y = first + 18 * (k if near else count - 1 - k) + 10
        to, side, anchor = (left - 12, left - 16, "end") if near else (right + 12, right + 16, "start")
        shapes.append(Path(f"M{n(x(ranking.ranks[name]))} {axis}V{y}H{to}", "lead"))
        shapes.append(Text(f"{shorten(name, 22)}  {ranking.ranks[name]:.2f}", side, y + 4, "name", anchor))
    spoken = "; ".join(f"{name} {value:.2f}" for name, value in ranking.ranks.items())
    title = f"Average ranks over {ranking.n} tasks; a bar joins entries that do not differ significantly"
    return Drawing(title, (BROAD, first + 18 * half + 14), f"{title}: {spoken}", shapes)


def _left(labels: Sequence[str]) -> float:
    return 16 + 7.2 * min(30, max(map(len, labels), default=1))
