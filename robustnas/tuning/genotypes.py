"""Genotypes as dimensions: the operation of every edge, and the inputs of nodes that keep only some of their edges."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

from robustnas.spaces import Choice, Genotype, SearchSpace
from robustnas.tuning.dimensions import Choices, Dimension, Value

PREFIX = "genotype"


def genotype_dimensions(space: SearchSpace) -> dict[str, Dimension]:
    """Return the dimensions of a space by name, such as ``genotype.cell.0-1`` for the operation of an edge.

    A node that keeps some of its edges has one for the sources that it keeps, ``genotype.normal.2``. The operations of
    edges that are not kept have no effect.

    Raises:
        ValueError: If nodes may keep fewer edges, or edges carry several operations.
    """
    found: dict[str, Dimension] = {}
    for kind, cell in space.cells.items():
        if cell.fewer or cell.carried > 1:
            raise ValueError(
                f"Expected `space.genotype` to be a space in which every node keeps a fixed number of edges with one "
                f"operation each, but got {space.name}."
            )
        for node in cell.nodes:
            entering = [edge for _, edge in cell.edges_into(node)]
            kept = [",".join(str(edge.source) for edge in few) for few in combinations(entering, cell.kept(node))]
            if len(kept) > 1:
                found[f"{PREFIX}.{kind}.{node}"] = Choices({sources: sources for sources in kept})
            for edge in entering:
                names = cell.selectable(edge).values()
                found[f"{PREFIX}.{kind}.{edge.name}"] = Choices({name: name for name in names})
    return found


def genotype_of(space: SearchSpace, values: Mapping[str, Value]) -> Genotype:
    """The genotype that the values of its dimensions stand for; others are ignored."""
    cells = {}
    for kind, cell in space.cells.items():
        chosen: list[Choice] = []
        for node in cell.nodes:
            sources = values.get(f"{PREFIX}.{kind}.{node}")
            for _, edge in cell.edges_into(node):
                if sources is None or str(edge.source) in str(sources).split(","):
                    operation = str(values[f"{PREFIX}.{kind}.{edge.name}"])
                    chosen.append(Choice(edge.source, node, operation))
        cells[kind] = tuple(chosen)
    return Genotype(space.name, cells).validate(space)


def values_of(space: SearchSpace, genotype: Genotype) -> dict[str, Value]:
    """Values of the dimensions that stand for a genotype; an edge that is not kept has its first operation."""
    genotype.validate(space)
    found: dict[str, Value] = {}
    for kind, cell in space.cells.items():
        held = {(choice.source, choice.node): choice.operation for choice in genotype.cells[kind]}
        for node in cell.nodes:
            entering = [edge for _, edge in cell.edges_into(node)]
            if cell.kept(node) < len(entering):
                sources = [str(edge.source) for edge in entering if (edge.source, node) in held]
                found[f"{PREFIX}.{kind}.{node}"] = ",".join(sources)
            for edge in entering:
                first = next(iter(cell.selectable(edge).values()))
                found[f"{PREFIX}.{kind}.{edge.name}"] = held.get((edge.source, node), first)
    return found
