"""Pictures as inline SVG: curves, and mixtures as small heat maps. Colours come from the page's style."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from robustnas.plotting.cell_layout import label_of, shorten
from robustnas.reports.markup import Markup, figure, join, tag
from robustnas.spaces import CellSpace
from robustnas.spaces.discretisation import strongest_operation

COLOURS = 8  # classes c0 to c7 of the style; what goes beyond is dashed
LEVELS = 16  # shades of a heat map
WIDTH, HEIGHT, TOP, BOTTOM = 360, 190, 16, 22


class Line(NamedTuple):
    """A series with what is said of it; lines of one group have one colour and one entry in the legend.

    ``bands`` are what values may be, from and to, by epoch, where that is known.
    """

    label: str
    values: Mapping[int, float]
    group: str | None = None
    bands: Mapping[int, tuple[float, float]] = MappingProxyType({})


def chart(
    title: str,
    lines: Iterable[Line],
    span: tuple[int, int],
    marks: Mapping[str, int] | None = None,
    unit: bool = False,
) -> Markup:
    """Curves over epochs, with every measurement as a dot: nothing smoothed, nothing cut off.

    Args:
        title: What stands above.
        lines: The curves; those without a value are left out, and leave their colour free.
        span: First and last epoch of the axis.
        marks: What is said of an epoch, to the epoch: a dashed line.
        unit: Whether the axis goes from 0 to 1.

    Returns:
        A figure, empty if nothing was measured.
    """
    given = list(lines)
    groups = {name: number for number, name in enumerate(dict.fromkeys(line.group or line.label for line in given))}
    shown = [line for line in given if line.values]
    if not shown:
        return Markup()
    values = [value for line in shown for value in line.values.values()]
    values += [end for line in shown for between in line.bands.values() for end in between]
    ticks = nice(min([0.0, *values]), max([1.0, *values]), 5) if unit else nice(min(values), max(values), 4)
    low, high = ticks[0], ticks[-1]
    first, last = span
    wide = max(last - first, 1)
    begin = first if last > first else first - 0.5
    labels = tick_labels(ticks)
    left = 10 + 6.8 * max(map(len, labels))

    def x(epoch: float) -> float:
        return left + (WIDTH - 12 - left) * (epoch - begin) / wide

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (value - low) / (high - low)

    parts = [_axis(left, [(y(tick), label) for tick, label in zip(ticks, labels, strict=True)])]
    for tick in nice(first, last, 6) if last > first else [float(first)]:
        if first <= tick <= last and tick == int(tick):
            parts.append(tag("text", int(tick), x=_n(x(tick)), y=HEIGHT - 7, text_anchor="middle"))
    for k, (said, epoch) in enumerate((marks or {}).items()):
        if first <= epoch <= last:
            at, end = x(epoch), "end" if x(epoch) > WIDTH / 2 else "start"
            parts.append(tag("line", x1=_n(at), x2=_n(at), y1=TOP - 4, y2=HEIGHT - BOTTOM, class_="mark"))
            parts.append(
                tag(
                    "text",
                    said,
                    x=_n(at + (3 if end == "start" else -3)),
                    y=TOP - 6 + 11 * k,
                    text_anchor=end,
                    class_="said",
                )
            )
    parts += [_curve(groups[line.group or line.label], line, x, y) for line in shown]
    svg = tag("svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=_spoken(title, shown))
    named = dict.fromkeys(line.group or line.label for line in shown)
    keys = (tag("li", tag("i", class_=_colour(groups[name])), name) for name in named)
    legend = tag("ul", *keys, class_="legend") if len(given) > 1 else ""
    return tag("figure", tag("figcaption", title), svg, legend, class_="chart")


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


def _axis(left: float, ticks: Sequence[tuple[float, str]]) -> Markup:
    lines = (tag("line", x1=_n(left), x2=WIDTH - 8, y1=_n(at), y2=_n(at), class_="grid") for at, _ in ticks)
    names = (tag("text", label, x=_n(left - 5), y=_n(at + 3.5), text_anchor="end") for at, label in ticks)
    return join([*lines, *names])


def _curve(number: int, line: Line, x: Any, y: Any) -> Markup:
    points = [(_n(x(epoch)), _n(y(value))) for epoch, value in sorted(line.values.items())]
    path = "M" + "L".join(f"{a} {b}" for a, b in points)
    dots = "".join(f"M{a} {b}h0" for a, b in points)
    ends = [(_n(x(epoch)), *map(_n, map(y, between))) for epoch, between in sorted(line.bands.items())]
    whiskers = "".join(f"M{at} {low}V{high}" for at, low, high in ends)
    return join([
        tag("path", d=whiskers, class_=f"whiskers {_colour(number)}") if whiskers else "",
        tag("path", d=path, class_=f"line {_colour(number)}"),
        tag("path", d=dots, class_=f"dots {_colour(number)}") if len(points) <= 80 else "",
    ])  # fmt: skip


def _colour(number: int) -> str:
    return f"c{number % COLOURS}" + (" dashed" if number >= COLOURS else "")


def _spoken(title: str, lines: Sequence[Line]) -> str:
    parts = []
    for line in lines:
        at = sorted(line.values)
        parts.append(
            f"{line.label} from {figure(line.values[at[0]])} in epoch {at[0]} to {figure(line.values[at[-1]])} "
            f"in epoch {at[-1]}"
        )
    return f"{title}: {'; '.join(parts)}"


def _n(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")


def film(frames: Mapping[int, npt.NDArray[Any]], cell: CellSpace, title: str) -> Markup:
    """A heat map of the shares of operations for each of some epochs, all on one scale.

    Args:
        frames: Epoch to shares, ``[edges, operations]``.
        cell: The kind of cell.
        title: What stands above.

    Returns:
        A figure: a column for each edge, a row for each operation, a dot on the largest share that may be selected.
    """
    names = list(dict.fromkeys(name for edge in cell.edges for name in edge.operations))
    held = [row[: len(edge.operations)] for shares in frames.values() for edge, row in zip(cell.edges, shares)]  # noqa: B905
    top = max((float(np.nanmax(row)) for row in held), default=1.0) or 1.0
    pictures = (tag("li", _frame(epoch, shares, cell, names, top, title)) for epoch, shares in frames.items())
    said = (
        f"{title}: shares of operations by edge, the softmax of α, white 0, darkest {top:.2f}. A dot marks the "
        "largest share of an edge that can be selected, grey where an operation is no candidate."
    )
    return tag("figure", tag("figcaption", said), tag("ul", *pictures, class_="film"))


def _frame(
    epoch: int, shares: npt.NDArray[Any], cell: CellSpace, names: Sequence[str], top: float, title: str
) -> Markup:
    labels = [shorten(label_of(name), 14) for name in names]
    left, size = 8 + 5.7 * max(map(len, labels)), 11
    wide = max(size, 150 // len(cell.edges))
    shades: dict[int, list[str]] = {}
    dots, winners = [], []
    for column, (edge, row) in enumerate(zip(cell.edges, shares, strict=True)):
        for name, share in zip(edge.operations, row, strict=False):
            level = round(LEVELS * min(max(float(share) / top, 0.0), 1.0)) if math.isfinite(share) else 0
            box = f"M{_n(left + wide * column)} {16 + size * names.index(name)}h{wide - 1}v{size - 1}h{1 - wide}z"
            shades.setdefault(level, []).append(box)
        best = edge.operations[strongest_operation(cell, column, shares)[1]]
        winners.append(f"{edge.name} {best}")
        dots.append(f"M{_n(left + wide * (column + 0.5) - 0.5)} {_n(15.5 + size * (names.index(best) + 0.5))}h0")
    bottom, end = 16 + size * len(names), left + wide * len(cell.edges)
    turned = len(cell.edges) > 7
    parts = [tag("text", f"epoch {epoch}", x=_n(left), y=11, class_="epoch")]
    parts += [tag("rect", x=_n(left), y=16, width=_n(end - left), height=bottom - 16, class_="absent")]
    parts += [
        join([tag("path", d="".join(boxes), class_="paper"), tag("path", d="".join(boxes), class_=f"s{level}")])
        for level, boxes in sorted(shades.items())
    ]
    parts += [tag("path", d="".join(dots), class_="best")]
    parts += [
        tag("text", label, x=_n(left - 4), y=_n(24.5 + size * row), text_anchor="end")
        for row, label in enumerate(labels)
    ]
    for column, edge in enumerate(cell.edges):
        at, down = left + wide * (column + 0.5), bottom + (4 if turned else 10)
        turn = f"rotate(90 {_n(at - 2.5)} {down})" if turned else None
        parts.append(
            tag("text", edge.name, x=_n(at - 2.5 if turned else at), y=down, transform=turn, class_="edge",
                text_anchor=None if turned else "middle")
        )  # fmt: skip
    said = f"{title}, epoch {epoch}. Largest: {', '.join(winners)}"
    tall = bottom + (26 if turned else 14)
    return tag("svg", *parts, viewBox=f"0 0 {_n(end + 4)} {tall}", role="img", aria_label=said)
