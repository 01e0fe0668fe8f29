"""Which edges of a discrete cell carry anything from its inputs to its output."""

from __future__ import annotations

from robustnas.spaces.genotype import Choice, Genotype
from robustnas.spaces.space import SearchSpace


def live_choices(space: SearchSpace, genotype: Genotype, kind: str) -> list[Choice]:
    """Return the choices of a cell that lie on a path from an input to an output, all of it other than ``none``.

    Where the skeleton adds the input of every edge to its output, a path goes on past ``none``.
    """
    cell, chosen = space.cells[kind], genotype.cells[kind]
    passed = list(chosen) if space.rules.residual else [choice for choice in chosen if choice.operation != "none"]
    reached, leading = set(range(cell.inputs)), set(cell.outputs)
    for choice in sorted(passed, key=lambda choice: choice.node):
        if choice.source in reached:
            reached.add(choice.node)
    for choice in sorted(passed, key=lambda choice: -choice.node):
        if choice.node in leading:
            leading.add(choice.source)
    live = (choice for choice in passed if choice.source in reached and choice.node in leading)
    return [choice for choice in live if choice.operation != "none"]
