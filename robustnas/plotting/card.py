"""A genotype as a picture for a card of TensorBoard, whose width of 350 pixels leaves no room for a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from robustnas.plotting.cell_layout import CellPlan, colour_of, label_of, plan_cells, shorten
from robustnas.spaces import Genotype, SearchSpace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CARD = 3.5  # inches: 350 pixels at 100 dots an inch
_ROW, _TITLE, _LEFT, _BESIDE = 0.24, 0.34, 0.56, 3  # inches; operations of a chain beside each other
_COLUMNS = 6  # states beside each other, whose operations can be read
_INK, _EMPTY = "#2b2b2b", "#f1f1f1"


def genotype_card(genotype: Genotype, space: SearchSpace | None = None) -> Figure:
    """Return a figure with a table for each kind of cell: a row for each node, a column for each state that feeds it.

    A chain, whose states have one operation each, is listed from left to right, three to a row. A cell of many states
    has a column for each edge that a node keeps. ``space`` is that of
    :func:`~robustnas.plotting.cell_layout.plan_cells`.
    """
    from matplotlib.figure import Figure

    tables = [_table(plan) for plan in plan_cells(genotype, space).values()]
    height = sum(_TITLE + _ROW * (len(rows) + 1) for _, _, rows in tables) + 0.1
    figure = Figure(figsize=(CARD, height))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, CARD), ylim=(height, 0))
    axes.set_axis_off()
    top = 0.0
    for title, head, rows in tables:
        axes.text(0.06, top + 0.22, title, size=9, weight="bold", color=_INK, parse_math=False)
        top = _draw(axes, head, rows, top + _TITLE)
    return figure


Rows = list[tuple[str, list[str]]]


def _table(plan: CellPlan) -> tuple[str, list[str], Rows]:
    """Title, names of the columns, and rows of a name and operations, empty where there is none."""
    if len(plan.choices) > _BESIDE and not any(plan.lanes) and len(plan.choices) == plan.states - 1:
        names = [choice.operation for choice in plan.choices]
        return plan.title, [f"+ {place}" for place in range(_BESIDE)], [
            (f"from {first}", names[first : first + _BESIDE])
            for first in range(0, len(names), _BESIDE)
        ]  # fmt: skip
    sources = range(max((choice.source for choice in plan.choices), default=0) + 1)
    held = {(choice.node, choice.source): choice.operation for choice in plan.choices}
    nodes = sorted({choice.node for choice in plan.choices})
    entering = {node: sorted(source for into, source in held if into == node) for node in nodes}
    most = max(map(len, entering.values()), default=0)
    if len(sources) > _COLUMNS and most <= _BESIDE:
        return f"{plan.title}: node ← its inputs", [f"input {k + 1}" for k in range(most)], [
            (f"{node} ← {','.join(map(str, into))}", [held[node, source] for source in into])
            for node, into in entering.items()
        ]  # fmt: skip
    rows = [(f"node {node}", [held.get((node, source), "") for source in sources]) for node in nodes]
    return f"{plan.title}: input of each node", [f"from {source}" for source in sources], rows


def _draw(axes: Axes, head: list[str], rows: Rows, top: float) -> float:
    """Draw a table below ``top``, in inches; return where it ends."""
    from matplotlib.patches import Rectangle

    pitch = (CARD - _LEFT - 0.05) / len(head)
    room = max(4, int((pitch - 0.03) / 0.06))  # characters
    for column, name in enumerate(head):
        where: dict[str, Any] = {"ha": "center", "va": "center", "size": 8, "color": "#555555"}
        axes.text(_LEFT + pitch * (column + 0.5), top + _ROW / 2 - 0.04, name, **where)
    for number, (name, operations) in enumerate(rows, start=1):
        y = top + _ROW * number
        axes.text(0.06, y + _ROW / 2, name, va="center", size=8, color=_INK)
        for column, operation in enumerate(operations):
            fill = colour_of(operation) if operation else _EMPTY
            box = (_LEFT + pitch * column + 0.015, y + 0.015)
            axes.add_patch(Rectangle(box, pitch - 0.03, _ROW - 0.03, facecolor=fill, linewidth=0))
            label = shorten(label_of(operation), room) if operation else ""
            middle: dict[str, Any] = {"ha": "center", "va": "center", "size": 8, "color": "white", "parse_math": False}
            axes.text(_LEFT + pitch * (column + 0.5), y + _ROW / 2, label, **middle)
    return top + _ROW * (len(rows) + 1)
