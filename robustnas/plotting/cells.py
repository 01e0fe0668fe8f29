"""Genotypes and mixtures as pictures: SVG, PNG and Graphviz text, with the same bytes every time."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from robustnas.plotting.card import CARD
from robustnas.plotting.cell_layout import CellPlan, colour_of, label_of, plan_cells, shorten, to_dot, wrap
from robustnas.runtime.atomic_files import write_bytes
from robustnas.spaces import CellSpace, Genotype, SearchSpace
from robustnas.spaces.discretisation import strongest_operation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _PALE = "#2b2b2b", "#b5b5b5"
_CENTRED: dict[str, Any] = {"ha": "center", "va": "center", "zorder": 4, "parse_math": False}

# Inches.
_BOX_WIDTH, _BOX_HEIGHT, _LANE, _BELOW, _TITLE, _MARGIN = 0.62, 0.3, 0.3, 0.46, 0.42, 0.5


def draw_genotype(genotype: Genotype, space: SearchSpace | None = None) -> str:
    """An SVG document with one picture for each kind of cell; ``space`` as in :func:`plan_cells`."""
    return render(genotype_figure(genotype, space), "svg").decode()


def save_drawing(genotype: Genotype, path: str | Path, space: SearchSpace | None = None) -> None:
    """Write a drawing of a genotype of ``space``; the suffix is ``.svg``, ``.png`` or ``.dot``, others are refused."""
    suffix = Path(path).suffix
    if suffix not in (".svg", ".png", ".dot"):
        raise ValueError(f"Expected `path` to end in .svg, .png or .dot, but got {str(path)!r}.")
    if suffix == ".dot":
        write_bytes(path, to_dot(genotype, space).encode())
    else:
        write_bytes(path, render(genotype_figure(genotype, space), "svg" if suffix == ".svg" else "png"))


def render(figure: Figure, form: Literal["svg", "png"], dpi: int = 200) -> bytes:
    """A figure as the bytes of a file, SVG with text as text; the same figure always gives the same bytes."""
    import matplotlib as mpl

    metadata = {"Date": None, "Creator": "robustnas"} if form == "svg" else {"Software": None}
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "robustnas", "svg.fonttype": "none", "savefig.bbox": None}):
        figure.savefig(buffer, format=form, dpi=dpi, metadata=metadata, facecolor="white")
    return buffer.getvalue()


def genotype_figure(genotype: Genotype, space: SearchSpace | None = None) -> Figure:
    """The cells, one below the other; an edge to another than the next state has a lane of its own above."""
    from matplotlib.figure import Figure

    plans = [row for plan in plan_cells(genotype, space).values() for row in wrap(plan)]
    longest = max((len(label_of(choice.operation)) for plan in plans for choice in plan.choices), default=0)
    pitch = _BOX_WIDTH + 0.078 * longest + 0.32
    heights = [
        (_TITLE if plan.title else 0.0) + _LANE * (max(plan.lanes, default=0) + 0.8) + _BOX_HEIGHT + _BELOW
        for plan in plans
    ]
    width, top = 2 * _MARGIN + pitch * max((plan.states for plan in plans), default=1), sum(heights, 0.1)
    figure = Figure(figsize=(width, top))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, top))
    axes.set_axis_off()
    for plan, height in zip(plans, heights, strict=True):
        left = _MARGIN - _BOX_WIDTH / 2
        axes.text(left, top - 0.2, plan.title, size=12, weight="bold", va="top", color=_INK, parse_math=False)
        top -= height
        _draw_edges(axes, plan, pitch, top + _BELOW)
        _draw_states(axes, plan, pitch, top + _BELOW)
    return figure


def _draw_edges(axes: Axes, plan: CellPlan, pitch: float, bottom: float) -> None:
    top, middle = bottom + _BOX_HEIGHT, bottom + _BOX_HEIGHT / 2
    ports = {}
    for state in range(plan.states):
        touching = plan.ports(state)
        for place, i in enumerate(touching, start=1):
            ports[state, i] = _MARGIN + pitch * state + _BOX_WIDTH * (place / (len(touching) + 1) - 0.5)
    for i, ((source, node, operation), lane) in enumerate(zip(plan.choices, plan.lanes, strict=True)):
        if lane:
            y, start, end = top + _LANE * (lane + 0.1), ports[source, i], ports[node, i]
            points = [(start, top), (start, y), (end, y), (end, top)]
        else:
            y, end = middle, _MARGIN + pitch * node - _BOX_WIDTH / 2
            points = [(end - pitch + _BOX_WIDTH, y), (end, y)]
        colour = colour_of(operation)
        _draw_arrow(axes, points, colour, dashed=operation == "none")
        box = {"boxstyle": "round,pad=0.25,rounding_size=0.6", "facecolor": "white", "edgecolor": colour}
        between = (source + node - 1) // 2 + 0.5  # half way between two states, where no lane turns
        axes.text(_MARGIN + pitch * between, y, label_of(operation), size=9, color=colour, bbox=box, **_CENTRED)


def _draw_states(axes: Axes, plan: CellPlan, pitch: float, bottom: float) -> None:
    from matplotlib.patches import FancyBboxPatch

    middle, end = bottom + _BOX_HEIGHT / 2, _MARGIN + pitch * plan.states
    if plan.outputs == (plan.states - 1,):
        _draw_arrow(axes, [(end - pitch + _BOX_WIDTH / 2, middle), (end - _BOX_WIDTH / 2, middle)], _PALE)
    else:
        for node in plan.outputs:
            x, bus = _MARGIN + pitch * node, bottom - 0.25
            _draw_arrow(axes, [(x, bottom), (x, bus), (end, bus), (end, bottom)], _PALE)
    for state in range(plan.states + bool(plan.outputs)):
        x, fill = _MARGIN + pitch * state, "white" if plan.inputs <= state < plan.states else "#e9eef3"
        corner, style = (x - _BOX_WIDTH / 2, bottom), f"round,pad=0,rounding_size={_BOX_HEIGHT / 3}"
        axes.add_patch(FancyBboxPatch(corner, _BOX_WIDTH, _BOX_HEIGHT, style, facecolor=fill, edgecolor=_INK, zorder=3))
        name = "output" if state == plan.states else str(plan.first + state)
        axes.text(x, middle, name, size=10, color=_INK, **_CENTRED)
    for state in range(min(plan.inputs, plan.states)):
        name = "input" if plan.inputs == 1 else f"cell k−{plan.inputs - state}"
        axes.text(_MARGIN + pitch * state, bottom - 0.15, name, size=9, color="#666666", **_CENTRED)


def _draw_arrow(axes: Axes, points: Sequence[tuple[float, float]], colour: str, dashed: bool = False) -> None:
    """An arrow along two points, or along four with the two corners rounded."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path as Outline

    codes, corners = [Outline.MOVETO, Outline.LINETO], list(points)
    if len(points) == 4:
        (x, start), (_, lane), (last, _), (_, end) = points
        radius = float(np.copysign(0.1, lane - start))
        corners = [(x, start), (x, lane - radius), (x, lane), (x + 0.1, lane)]
        corners += [(last - 0.1, lane), (last, lane), (last, lane - radius), (last, end)]
        turn = [Outline.CURVE3, Outline.CURVE3, Outline.LINETO]
        codes = [Outline.MOVETO, Outline.LINETO, *turn, *turn]
    head = "-|>,head_length=5,head_width=2.5"
    line: Any = {"linewidth": 1.4, "linestyle": (0, (3, 2)) if dashed else "solid"}
    path = Outline(corners, codes)
    axes.add_patch(FancyArrowPatch(path=path, arrowstyle=head, mutation_scale=1, color=colour, **line))


class MixtureTable(NamedTuple):
    """A mixture as ``[operations, edges]``, NaN where there is none, and each edge's (column, row of the largest)."""

    shares: Any
    operations: list[str]
    largest: list[tuple[int, int]]


def alpha_figure(shares: Iterable[Iterable[float]], cell: CellSpace, title: str) -> Figure:
    """Heat map ``[operations, edges]`` of a mixture: grey for no candidate, a dot on the largest selectable share."""
    from matplotlib.figure import Figure

    table = mixture_table(shares, cell)
    labels = [shorten(label_of(operation), 14) for operation in table.operations]
    left, width = 0.2 + 0.076 * max(map(len, labels)), CARD  # inches, as all that follow
    middle, height = width - left - 0.62, min(3.0, 0.75 + 0.21 * len(labels))
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((left / width, 0.42 / height, middle / width, 1 - 0.75 / height), facecolor="#e4e4e4")
    top = float(np.nanmax(table.shares, initial=0.0)) or 1.0
    image = axes.pcolormesh(table.shares, cmap="Blues", vmin=0, vmax=top, edgecolors="white", linewidth=1)
    for column, row in table.largest:
        axes.plot(column + 0.5, row + 0.5, ".", markersize=5, color="#d55e00")
    for node in cell.nodes[1:]:
        axes.axvline(cell.edges_into(node)[0][0], color=_INK, linewidth=0.8)
    axes.set(xlim=(0, len(cell.edges)), ylim=(len(labels), 0))
    axes.set_yticks(np.arange(len(labels)) + 0.5, labels, size=9)
    turned = 90 if len(cell.edges) > 7 else 0
    shown = range(0, len(cell.edges), -(-len(cell.edges) // int(middle / 0.14)))  # as many names as have room
    axes.set_xticks(np.array(shown) + 0.5, [cell.edges[k].name for k in shown], size=9, rotation=turned)
    axes.tick_params(length=0, pad=3)
    axes.spines[:].set_visible(False)
    title = shorten(title, int(width / 0.088))
    figure.text(0.1 / width, 1 - 0.09 / height, title, size=10, weight="bold", va="top", parse_math=False)
    bar = figure.add_axes(((left + middle + 0.07) / width, 0.42 / height, 0.1 / width, 1 - 0.75 / height))
    figure.colorbar(image, cax=bar, ticks=[0, top], format="%.2f").ax.tick_params(labelsize=9)
    return figure


def mixture_table(shares: Iterable[Iterable[float]], cell: CellSpace) -> MixtureTable:
    """The weights of a kind of cell as a table, those of an edge in the order of its operations."""
    rows = [[float(share) for share in row] for row in shares]
    if len(rows) != len(cell.edges):
        raise ValueError(f"Expected `shares` to have {len(cell.edges)} rows, one for each edge, but got {len(rows)}.")
    names = list(dict.fromkeys(name for edge in cell.edges for name in edge.operations))
    table, largest = np.full((len(names), len(rows)), np.nan), []
    for column, (edge, row) in enumerate(zip(cell.edges, rows, strict=True)):
        places = [names.index(name) for name in edge.operations]
        if len(row) < len(places):
            raise ValueError(
                f"Expected `shares` to have {len(places)} numbers on edge {edge.name}, but got {len(row)}."
            )
        table[places, column] = [share if np.isfinite(share) else np.nan for share in row[: len(places)]]
        largest.append((column, places[strongest_operation(cell, column, rows)[1]]))
    return MixtureTable(table, names, largest)
