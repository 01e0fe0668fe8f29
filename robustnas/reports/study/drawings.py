"""Pictures of a study that are no chart over two axes: dots with intervals, stacked bars, ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from robustnas.plotting.cell_layout import shorten
from robustnas.plotting.charts import linear
from robustnas.reports.rendering import duration, figure, n
from robustnas.reports.svg import Drawing, Path, Text, colour
from robustnas.statistics import Interval, Ranking

WIDTH, STEP = 760, 24
STAGES = {"search": 0, "selection": 5, "evaluation": 4}  # with their colours


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
        return left + (WIDTH - 20 - left) * min(max(axis.place(value), 0.0), 1.0)

    shapes: list[Path | Text] = [Path("".join(f"M{n(x(tick))} 6V{bottom}" for tick in axis.ticks), "grid")]
    shapes += [Text(label, x(tick), bottom + 13, anchor="middle") for tick, label in zip(*axis[:2], strict=True)]
    shapes.append(Text(axis_title, (left + WIDTH - 20) / 2, bottom + 28, "said", "middle"))
    for k, row in enumerate(rows):
        y, css = 10 + STEP * (k + 0.5), colour(row.number)
        shapes.append(Text(shorten(row.label, 30), left - 8, y + 3.5, "name", "end"))
        if row.interval is not None:
            shapes.append(Path(f"M{n(x(row.interval.low))} {n(y)}H{n(x(row.interval.high))}", f"whiskers {css}"))
        shapes += [
            Path(f"M{n(x(value))} {n(y)}h0", f"dots big {css}", f"{row.label}, seed {seed}: {figure(value)}")
            for seed, value in row.values.items()
        ]
        shapes.append(Path(f"M{n(x(row.mean))} {n(y - 8)}v16", "axis"))
    spoken = "; ".join(f"{row.label} mean {figure(row.mean)} of {len(row.values)}" for row in rows)
    return Drawing(title, (WIDTH, bottom + 34), f"{title}: {spoken}", shapes)


def stacked(title: str, rows: Mapping[str, Mapping[str, float]]) -> Drawing:
    """Horizontal bars of seconds, one for each entry, stage after stage."""
    longest = max((sum(parts.values()) for parts in rows.values()), default=0.0) or 1.0
    left, shapes = _left(list(rows)), list[Path | Text]()
    for k, (label, stages) in enumerate(rows.items()):
        y, at = 6 + STEP * k, left
        shapes.append(Text(shorten(label, 30), left - 8, y + 15, "name", "end"))
        for stage, seconds in stages.items():
            size = seconds * (WIDTH - 110 - left) / longest
            if size:
                box = f"M{n(at)} {y + 4}h{n(size)}v15h{n(-size)}z"
                shapes.append(Path(box, f"bar {colour(STAGES[stage])}", f"{label}, {stage}: {duration(seconds)}"))
            at += size
        shapes.append(Text(duration(sum(stages.values())), at + 6, y + 15))
    spoken = "; ".join(f"{label} {duration(sum(stages.values()))}" for label, stages in rows.items())
    legend = [(stage, colour(number)) for stage, number in STAGES.items()]
    return Drawing(title, (WIDTH, 12 + STEP * len(rows)), f"{title}: {spoken}", shapes, legend)


def rank_diagram(ranking: Ranking) -> Drawing:
    """Average ranks, best left, with a bar over those that do not differ significantly (Demšar 2006)."""
    names = list(ranking.ranks)
    count, half = len(names), (len(names) + 1) // 2
    left, right, axis = 190, 570, 52
    first = axis + 16 + 9 * len(ranking.cliques)

    def x(rank: float) -> float:
        return left + (right - left) * (rank - 1) / (count - 1)

    end = min(x(1 + ranking.critical_difference), WIDTH - 10)
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
    return Drawing(title, (WIDTH, first + 18 * half + 14), f"{title}: {spoken}", shapes)


def _left(labels: Sequence[str]) -> float:
    return 16 + 7.2 * min(30, max(map(len, labels), default=1))
