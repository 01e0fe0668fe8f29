"""Pictures of a study as inline SVG: dots with intervals, scatter, lines, stacked bars, ranks with their difference."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from robustnas.plotting.cell_layout import shorten
from robustnas.reports.charts import COLOURS, nice, tick_labels
from robustnas.reports.markup import Markup, duration, figure, join, tag
from robustnas.statistics import Interval, Profile, Ranking

WIDTH, HEIGHT, TOP, BOTTOM, RIGHT = 360, 220, 14, 34, 10
Place = Callable[[float], float]
SHADES = {"search": 0, "selection": 5, "evaluation": 4}


class Point(NamedTuple):
    """A dot: where, and what is said of it."""

    x: float
    y: float
    said: str = ""


@dataclass(frozen=True)
class Cloud:
    """Dots of one colour.

    Args:
        label: What they are.
        number: Their colour.
        points: Where they are.
        joined: Whether a line goes through them.
    """

    label: str
    number: int
    points: Sequence[Point]
    joined: bool = False


class Row(NamedTuple):
    """A row of a dot plot."""

    label: str
    number: int
    values: Mapping[int, float]
    mean: float
    interval: Interval | None


def plot(
    title: str, x_name: str, y_name: str, clouds: Iterable[Cloud], whole: bool = False, dots: bool = True
) -> Markup:
    """Dots or lines over two axes; an axis whose values span two decades is logarithmic.

    Args:
        title: What stands above.
        x_name: What the horizontal axis is.
        y_name: What the vertical one is.
        clouds: What is drawn.
        whole: Whether the horizontal axis is of whole numbers, each with its tick.
        dots: Whether the points of lines are drawn too.

    Returns:
        A figure with a legend, empty if there is no dot.
    """
    shown = [cloud for cloud in clouds if cloud.points]
    points = [point for cloud in shown for point in cloud.points]
    if not points:
        return Markup()
    ys, y_labels, scale_y = _scale([point.y for point in points])
    scale_x: Place
    if whole:
        values = sorted({point.x for point in points})
        places = {value: (k + 0.5) / len(values) for k, value in enumerate(values)}
        x_labels, positions, scale_x = [f"{value:g}" for value in values], list(places.values()), places.__getitem__
    else:
        x_ticks, x_labels, scale_x = _scale([point.x for point in points])
        positions = [scale_x(tick) for tick in x_ticks]
    left = 26 + 6.0 * max(map(len, y_labels))

    def x(value: float) -> float:
        return left + (WIDTH - RIGHT - left) * scale_x(value)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * scale_y(value)

    parts = [_grid(left, WIDTH - RIGHT, y(tick), label) for tick, label in zip(ys, y_labels, strict=True)]
    for position, label in zip(positions, x_labels, strict=True):
        at = left + (WIDTH - RIGHT - left) * position
        parts.append(tag("text", label, x=_n(at), y=HEIGHT - BOTTOM + 12, text_anchor="middle"))
    middle = (HEIGHT - BOTTOM + TOP) / 2
    parts.append(
        tag("text", x_name, x=_n((left + WIDTH - RIGHT) / 2), y=HEIGHT - 5, text_anchor="middle", class_="said")
    )
    turn = f"rotate(-90 9 {_n(middle)})"
    parts.append(tag("text", y_name, x=9, y=_n(middle), transform=turn, text_anchor="middle", class_="said"))
    for cloud in shown:
        if cloud.joined and len(cloud.points) > 1:
            path = "M" + "L".join(f"{_n(x(point.x))} {_n(y(point.y))}" for point in cloud.points)
            parts.append(tag("path", d=path, class_=f"line thin {colour(cloud.number)}"))
        if not cloud.joined or (dots and len(cloud.points) <= 40):
            parts += [
                _dot(x(p.x), y(p.y), cloud.number, p.said or f"{cloud.label}: {figure(p.y)}") for p in cloud.points
            ]
    spoken = f"{title}: {len(points)} points, {x_name} from {figure(min(p.x for p in points))} to "
    spoken += f"{figure(max(p.x for p in points))}, {y_name} from {figure(min(p.y for p in points))} to "
    spoken += figure(max(p.y for p in points))
    svg = tag("svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=spoken)
    return tag("figure", tag("figcaption", title), svg, legend(shown), class_="chart")


def legend(clouds: Iterable[Cloud]) -> Markup:
    """Colours with their names, each once."""
    named = dict.fromkeys((cloud.label, cloud.number) for cloud in clouds)
    keys = (tag("li", tag("i", class_=colour(number)), label) for label, number in named)
    return tag("ul", *keys, class_="legend")


def dot_plot(title: str, axis: str, rows: Sequence[Row]) -> Markup:
    """Every score as a dot, a row for each entry, with the mean and its interval.

    Args:
        title: What stands above.
        axis: What the axis is.
        rows: The entries.

    Returns:
        A figure.
    """
    values = [v for row in rows for v in (*row.values.values(), row.mean)]
    seen = max(values) - min(values) or 1.0
    inside = (min(values) - seen / 2, max(values) + seen / 2)  # an interval of three seeds would squeeze the dots
    ends = [e for row in rows if row.interval for e in (row.interval.low, row.interval.high)]
    low, high = min([*values, *(max(e, inside[0]) for e in ends)]), max([*values, *(min(e, inside[1]) for e in ends)])
    ticks = nice(low, high, 6)
    labels = tick_labels(ticks)
    wide, step, left = 760, 24, 16 + 7.2 * min(30, max(len(row.label) for row in rows))
    bottom = 10 + step * len(rows)

    def x(value: float) -> float:
        value = min(max(value, ticks[0]), ticks[-1])
        return left + (wide - 20 - left) * (value - ticks[0]) / (ticks[-1] - ticks[0])

    parts = []
    for tick, label in zip(ticks, labels, strict=True):
        parts.append(tag("line", x1=_n(x(tick)), x2=_n(x(tick)), y1=6, y2=bottom, class_="grid"))
        parts.append(tag("text", label, x=_n(x(tick)), y=bottom + 13, text_anchor="middle"))
    parts.append(tag("text", axis, x=_n((left + wide - 20) / 2), y=bottom + 28, text_anchor="middle", class_="said"))
    for k, row in enumerate(rows):
        y = 10 + step * (k + 0.5)
        parts.append(
            tag("text", shorten(row.label, 30), x=_n(left - 8), y=_n(y + 3.5), text_anchor="end", class_="name")
        )
        if row.interval is not None:
            a, b = x(row.interval.low), x(row.interval.high)
            parts.append(tag("path", d=f"M{_n(a)} {_n(y)}H{_n(b)}", class_=f"line bar {colour(row.number)}"))
        parts += [_dot(x(v), y, row.number, f"{row.label}, seed {seed}: {figure(v)}") for seed, v in row.values.items()]
        parts.append(tag("path", d=f"M{_n(x(row.mean))} {_n(y - 8)}v16", class_="mean"))
    spoken = "; ".join(f"{row.label} mean {figure(row.mean)} of {len(row.values)}" for row in rows)
    svg = tag("svg", *parts, viewBox=f"0 0 {wide} {bottom + 34}", role="img", aria_label=f"{title}: {spoken}")
    return _broad(title, svg)


def stacked(title: str, rows: Mapping[str, Mapping[str, float]]) -> Markup:
    """Horizontal bars of seconds, one for each entry, stage after stage.

    Args:
        title: What stands above.
        rows: Entry to seconds by stage.

    Returns:
        A figure.
    """
    longest = max((sum(parts.values()) for parts in rows.values()), default=0.0) or 1.0
    wide, step, left = 760, 24, 16 + 7.2 * min(30, max(map(len, rows), default=1))
    scale, drawn = (wide - 110 - left) / longest, []
    for k, (label, stages) in enumerate(rows.items()):
        y, at = 6 + step * k, left
        drawn.append(tag("text", shorten(label, 30), x=_n(left - 8), y=_n(y + 15), text_anchor="end", class_="name"))
        for stage, seconds in stages.items():
            size = seconds * scale
            said = tag("title", f"{label}, {stage}: {duration(seconds)}")
            box = f"M{_n(at)} {y + 4}h{_n(size)}v15h{_n(-size)}z"
            if size:
                drawn.append(tag("path", said, d=box, class_=f"fill f{SHADES[stage]}"))
            at += size
        drawn.append(tag("text", duration(sum(stages.values())), x=_n(at + 6), y=_n(y + 15)))
    spoken = "; ".join(f"{label} {duration(sum(stages.values()))}" for label, stages in rows.items())
    svg = tag("svg", *drawn, viewBox=f"0 0 {wide} {12 + step * len(rows)}", role="img", aria_label=f"{title}: {spoken}")
    keys = tag("ul", *(tag("li", tag("i", class_=f"c{k}"), stage) for stage, k in SHADES.items()), class_="legend")
    return _broad(title, join([svg, keys]))


def rank_diagram(ranking: Ranking) -> Markup:
    """Average ranks on a line, best left, with a bar over those that are not told apart (Demšar 2006).

    Args:
        ranking: The ranking.

    Returns:
        A figure.
    """
    names = list(ranking.ranks)
    count, half = len(names), (len(names) + 1) // 2
    wide, left, right = 760, 190, 570
    axis = 52
    first = axis + 16 + 9 * len(ranking.cliques)

    def x(value: float) -> float:
        return left + (right - left) * (value - 1) / (count - 1)

    parts = [tag("path", d=f"M{left} {axis}H{right}", class_="mean")]
    for k in range(1, count + 1):
        parts.append(tag("path", d=f"M{_n(x(k))} {axis - 5}v5", class_="mean"))
        parts.append(tag("text", k, x=_n(x(k)), y=axis - 9, text_anchor="middle"))
    end = min(x(1 + ranking.critical_difference), wide - 10)
    parts.append(tag("path", d=f"M{left} 16v6m0 -3H{_n(end)}m0 -3v6", class_="mean"))
    said = f"critical difference {ranking.critical_difference:.2f}"
    parts.append(tag("text", said, x=_n((left + end) / 2), y=11, text_anchor="middle", class_="said"))
    for k, group in enumerate(ranking.cliques):
        a, b = x(ranking.ranks[group[0]]), x(ranking.ranks[group[-1]])
        parts.append(tag("path", d=f"M{_n(a - 4)} {axis + 8 + 9 * k}H{_n(b + 4)}", class_="clique"))
    for k, name in enumerate(names):
        near = k < half
        y = first + 18 * (k if near else count - 1 - k) + 10
        to, side, anchor = (left - 12, left - 16, "end") if near else (right + 12, right + 16, "start")
        at = x(ranking.ranks[name])
        parts.append(tag("path", d=f"M{_n(at)} {axis}V{y}H{to}", class_="lead"))
        label = f"{shorten(name, 22)}  {ranking.ranks[name]:.2f}"
        parts.append(tag("text", label, x=side, y=y + 4, text_anchor=anchor, class_="name"))
    spoken = "; ".join(f"{name} {value:.2f}" for name, value in ranking.ranks.items())
    title = f"Average ranks over {ranking.n} tasks; a bar joins entries that are not told apart"
    svg = tag(
        "svg", *parts, viewBox=f"0 0 {wide} {first + 18 * half + 14}", role="img", aria_label=f"{title}: {spoken}"
    )
    return _broad(title, svg)


def staircase(found: Profile, unit: str, numbers: Mapping[str, int]) -> Markup:
    """Performance profiles: share of tasks within a distance of the best, one line for each entry in its colour."""
    clouds, last = [], max(found.taus[-1], 1e-9) * 1.08
    for name, shares in found.shares.items():
        points: list[Point] = []
        for tau, share in zip(found.taus, shares, strict=True):
            points += [*([Point(tau, points[-1].y)] if points else []), Point(tau, share)]
        clouds.append(Cloud(name, numbers[name], [*points, Point(last, shares[-1])], joined=True))
    return plot(
        "Share of tasks within a distance of the best", f"distance, {unit}", "share of tasks", clouds, dots=False
    )


def colour(number: int) -> str:
    """Classes of a colour; what goes beyond the colours has another shape."""
    return f"c{number % COLOURS}" + (" dashed square" if number >= COLOURS else "")


def _dot(x: float, y: float, number: int, said: str) -> Markup:
    return tag("path", tag("title", said), d=f"M{_n(x)} {_n(y)}h0", class_=f"dots big {colour(number)}")


def _grid(left: float, right: float, y: float, label: str) -> Markup:
    line = tag("line", x1=_n(left), x2=_n(right), y1=_n(y), y2=_n(y), class_="grid")
    return join([line, tag("text", label, x=_n(left - 5), y=_n(y + 3.5), text_anchor="end")])


def _scale(values: Sequence[float]) -> tuple[list[float], list[str], Place]:
    """Ticks, their labels, and the place of a value from 0 to 1."""
    low, high = min(values), max(values)
    if low > 0 and high / low >= 100:
        a, b = math.floor(math.log10(low)), math.ceil(math.log10(high))
        powers = range(a, b + 1, max(1, (b - a) // 4))
        ticks = [10.0**power for power in powers]
        return ticks, [f"{tick:g}" for tick in ticks], lambda v: (math.log10(v) - a) / (b - a)
    ticks = nice(low, high, 4)
    return ticks, tick_labels(ticks), lambda v: (v - ticks[0]) / (ticks[-1] - ticks[0])


def _broad(title: str, inner: Markup) -> Markup:
    scroll = tag("div", inner, class_="scroll wide-plot", tabindex="0", role="region", aria_label=title)
    return tag("figure", tag("figcaption", title), scroll, class_="chart broad-chart")


def _n(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
