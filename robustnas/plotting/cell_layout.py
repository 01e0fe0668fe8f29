"""Where states, edges and names stand in a drawn cell, and the same graph as Graphviz text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from robustnas.spaces import Choice, Genotype, SearchSpace, find_space

_COLOURS = {"skip": "#0072b2", "pool": "#b26f00", "conv": "#00805e", "none": "#7d7d7d", "noise": "#b0568c"}
_OTHER = "#5b4fa0"
_TITLES = {"normal": "Normal cell", "reduce": "Reduction cell", "cell": "Cell", "chain": "Chain"}
_SHORT = {"skip_connect": "skip", "max_pool_3x3": "max pool", "avg_pool_3x3": "avg pool"}
_LONGEST = 24
_EDGES_IN_A_ROW = 7


class CellPlan(NamedTuple):
    """The layout of one cell, or of part of a chain from state ``first``: states are numbered, lane 0 is straight."""

    title: str
    inputs: int
    states: int
    choices: tuple[Choice, ...]
    lanes: tuple[int, ...]
    outputs: tuple[int, ...]
    first: int = 0

    def ports(self, state: int) -> list[int]:
        """Edges that touch ``state`` from above, left to right, in such an order that nested lanes do not cross."""
        entering = sorted((i for i, c in enumerate(self.choices) if c.node == state), key=lambda i: self.lanes[i])
        leaving = sorted((i for i, c in enumerate(self.choices) if c.source == state), key=lambda i: -self.lanes[i])
        return [i for i in entering + leaving if self.lanes[i] > 0]


def plan_cells(genotype: Genotype, space: SearchSpace | None = None) -> dict[str, CellPlan]:
    """Kind of cell to its plan; in unknown spaces all nodes of a cell with two inputs are outputs, else the last."""
    if space is not None:
        genotype.validate(space)
    else:
        try:
            space = find_space(genotype.space)
            genotype.validate(space)
        except ValueError:
            space = None
    plans = {}
    for kind, choices in genotype.cells.items():
        nodes = sorted({choice.node for choice in choices})
        inputs = nodes[0] if nodes else 1
        outputs = tuple(nodes) if inputs > 1 else tuple(nodes[-1:])
        if space is not None:
            inputs, outputs = space.cells[kind].inputs, space.cells[kind].outputs
        last = max(nodes, default=0) if space is None else space.cells[kind].nodes[-1]  # a node may have no edge
        states = last + 1
        plans[kind] = CellPlan(_TITLES.get(kind, kind), inputs, states, choices, assign_lanes(choices), outputs)
    return plans


def wrap(plan: CellPlan) -> list[CellPlan]:
    """A long chain in rows of at most seven edges, each of which begins with the state that ends the row before."""
    if len(plan.choices) <= _EDGES_IN_A_ROW or any(plan.lanes) or len(plan.choices) != plan.states - 1:
        return [plan]
    rows = -(-len(plan.choices) // _EDGES_IN_A_ROW)
    ends = [round(len(plan.choices) * row / rows) for row in range(rows + 1)]
    wrapped = []
    for start, end in pairwise(ends):
        choices = tuple(Choice(s - start, node - start, name) for s, node, name in plan.choices[start:end])
        outputs = tuple(node - start for node in plan.outputs) if end == ends[-1] else ()
        head = ("", 0) if start else plan[:2]
        wrapped.append(CellPlan(*head, len(choices) + 1, choices, plan.lanes[start:end], outputs, plan.first + start))
    return wrapped


def assign_lanes(choices: Sequence[Choice]) -> tuple[int, ...]:
    """The lane of each edge, above every shorter edge that it overlaps; 0 is a straight line."""
    lanes: dict[int, int] = {}
    for i in sorted(range(len(choices)), key=lambda i: (choices[i].node - choices[i].source, choices[i])):
        source, node, _ = choices[i]
        below = [lanes[j] for j in lanes if choices[j].source < node and source < choices[j].node]
        lanes[i] = max(below, default=-1 if node == source + 1 else 0) + 1
    return tuple(lanes[i] for i in range(len(choices)))


def colour_of(operation: str) -> str:
    """The colour of an operation's family: skip, pooling, convolution, none, noise or other."""
    return next((colour for family, colour in _COLOURS.items() if family in operation), _OTHER)


def label_of(operation: str) -> str:
    """A short name, ``sep 3×3`` for ``sep_conv_3x3``, of at most 24 characters."""
    if bottleneck := re.fullmatch(r"mbconv_(\d+)x(\d+)_(\d+)", operation):
        return f"MBConv{bottleneck[3]} {bottleneck[1]}×{bottleneck[2]}"
    if conv := re.fullmatch(r"(sep|dil|nor)_conv_(\d+)x(\d+)", operation):
        return f"{'conv' if conv[1] == 'nor' else conv[1]} {conv[2]}×{conv[3]}"
    return shorten(_SHORT.get(operation, operation.replace("_", " ")), _LONGEST)


def shorten(text: str, longest: int) -> str:
    """The text, or its beginning and an ellipsis where it has more than ``longest`` characters."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def to_dot(genotype: Genotype, space: SearchSpace | None = None) -> str:
    """The text of a Graphviz graph with one cluster for each kind of cell; ``space`` as in :func:`plan_cells`."""
    lines = ["digraph genotype {", "  rankdir=LR;", "  node [shape=box, style=rounded];"]
    for k, plan in enumerate(plan_cells(genotype, space).values()):
        lines += [f"  subgraph cluster_{k} {{", f"    label={_quoted(plan.title)};"]
        lines += [f"    c{k}_{state} [label={state}];" for state in range(plan.states)]
        lines += [f"    c{k}_output [label=output];"]
        for source, node, operation in plan.choices:
            style = f'label={_quoted(operation)}, color="{colour_of(operation)}"'
            lines.append(f"    c{k}_{source} -> c{k}_{node} [{style}];")
        lines += [f"    c{k}_{node} -> c{k}_output [style=dotted];" for node in plan.outputs]
        lines.append("  }")
    return "\n".join([*lines, "}", ""])


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
