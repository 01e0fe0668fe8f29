"""Genotypes drawn at random, and neighbours of one."""

from __future__ import annotations

from random import Random

from robustnas.spaces.encoding import decode, num_architectures
from robustnas.spaces.genotype import Choice, Genotype
from robustnas.spaces.space import SearchSpace


def random_genotype(space: SearchSpace, generator: Random) -> Genotype:
    """Draw a genotype, each one of the space with the same probability.

    Where nodes keep some of their edges, every pair of edges that a node can keep, with every choice of operations, is
    equally likely. In the space of DARTS that is what drawing the edges first and their operations next does. Where
    edges have different numbers of operations, as in S1, it is not: there an edge with more operations is kept more
    often, as it is in more genotypes.

    Args:
        space: The space.
        generator: Source of random numbers.

    Returns:
        The genotype.
    """
    return decode(generator.randrange(num_architectures(space)), space)


def mutated(genotype: Genotype, space: SearchSpace, generator: Random) -> Genotype:
    """A neighbour: one edge with another operation, or with another source (arXiv:1802.01548).

    An edge is drawn, and one of what can be done to it: to change its operation, or, where its node drops edges, to
    swap it for one of those. What does not change anything is not done. An edge that is swapped keeps its operation
    where the other one has it too, and draws one otherwise.

    Args:
        genotype: The genotype.
        space: Its space.
        generator: Source of random numbers.

    Returns:
        A genotype that differs from it in exactly one edge.

    Raises:
        ValueError: If it is none of the space, or the space has no other.
    """
    genotype.validate(space)
    options = [
        (kind, place, what)
        for kind, choices in genotype.cells.items()
        for place in range(len(choices))
        if (what := _ways(genotype, space, kind, place))
    ]
    if not options:
        raise ValueError(f"Expected `space` to have more than one genotype, but {space.name} has one.")
    kind, place, ways = generator.choice(options)
    others = generator.choice(ways)
    choices = list(genotype.cells[kind])
    choices[place] = generator.choice(others)
    return Genotype(genotype.space, {**genotype.cells, kind: tuple(choices)})


def _ways(genotype: Genotype, space: SearchSpace, kind: str, place: int) -> list[list[Choice]]:
    """What can take the place of an edge: other operations, and other sources, where there are such."""
    cell, choices = space.cells[kind], genotype.cells[kind]
    chosen = choices[place]
    used = {(one.source, one.node) for one in choices}
    operations, sources = list[Choice](), list[Choice]()
    for _, edge in cell.edges_into(chosen.node):
        names = list(cell.selectable(edge).values())
        if edge.source == chosen.source:
            operations += [chosen._replace(operation=name) for name in names if name != chosen.operation]
        elif (edge.source, edge.node) not in used and cell.keep is not None:
            kept = [chosen.operation] if chosen.operation in names else names
            sources += [Choice(edge.source, edge.node, name) for name in kept]
    return [way for way in (operations, sources) if way]
