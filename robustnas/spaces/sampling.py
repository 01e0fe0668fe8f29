"""Random genotypes and random neighbours of a genotype."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from robustnas.spaces.discretisation import Rows, strongest_operation
from robustnas.spaces.encoding import decode, num_architectures
from robustnas.spaces.genotype import Choice, Genotype
from robustnas.spaces.space import CellSpace, SearchSpace


def random_genotype(space: SearchSpace, generator: Random) -> Genotype:
    """Return a genotype, drawn uniformly from all genotypes of the space.

    If nodes keep only some edges, every pair of edges with every choice of operations is equally likely. In the space
    of DARTS this is the same as drawing edges first and their operations next. If edges have different numbers of
    operations, as in S1, it is not: an edge with more operations is in more genotypes, and so is kept more often.
    """
    return decode(generator.randrange(num_architectures(space)), space)


def weighted_genotype(space: SearchSpace, weights: Mapping[str, Rows], generator: Random) -> Genotype:
    """Return a genotype drawn by weights of operations, ``[edges, operations]`` for each kind of cell.

    A node that keeps only some of its edges draws them one after the other, without replacement, each with a
    probability in proportion to its strength: the weight of its strongest operation that may be selected. On an edge
    that is kept, an operation is drawn in proportion to its weight among those that may be selected. What has no weight
    is drawn only where nothing else is left, and then uniformly. Where a node may keep fewer edges, it draws as many as
    it may keep, each with one operation.
    """
    cells = {}
    for kind, cell in space.cells.items():
        choices: list[Choice] = []
        for node in cell.nodes:
            entering = cell.edges_into(node)
            strengths = [strongest_operation(cell, row, weights[kind])[0] for row, _ in entering]
            for place in _kept(strengths, cell.kept(node), generator):
                row, edge = entering[place]
                columns = list(cell.selectable(edge))
                column = columns[_drawn([weights[kind][row][k] for k in columns], generator)]
                choices.append(Choice(edge.source, node, edge.operations[column]))
        cells[kind] = tuple(choices)
    return Genotype(space.name, cells)


def _kept(strengths: Sequence[float], count: int, generator: Random) -> list[int]:
    """Places that are drawn one after the other, in ascending order; no draw where all are kept."""
    left = list(range(len(strengths)))
    if count == len(left):
        return left
    return sorted(left.pop(_drawn([strengths[place] for place in left], generator)) for _ in range(count))


def _drawn(weights: Sequence[float], generator: Random) -> int:
    """A place, with a probability in proportion to its weight; uniformly where none has any."""
    held = [max(float(weight), 0.0) for weight in weights]
    return generator.choices(range(len(held)), held if any(held) else None)[0]


def mutated(genotype: Genotype, space: SearchSpace, generator: Random) -> Genotype:
    """Return a neighbour: one random edge has another operation, or another source (arXiv:1802.01548).

    An edge is drawn uniformly, then one of its possible changes: another operation, or, if its node drops edges, one of
    the dropped edges instead. The new edge keeps the operation if it has it, otherwise an operation is drawn. Where
    nodes may keep fewer edges, that an operation leaves, or that one more is there, are drawn like two further edges.

    Raises:
        ValueError: If it is not a genotype of the space, or the space has no other.
    """
    genotype.validate(space)
    options = [
        (kind, ways)
        for kind, choices in genotype.cells.items()
        for ways in (
            *(_replaced(genotype, space, kind, place) for place in range(len(choices))),
            *([way] for way in _fewer_or_more(choices, space.cells[kind])),
        )
        if ways
    ]
    if not options:
        raise ValueError(f"Expected `space` to have more than one genotype, but {space.name} has one.")
    kind, ways = generator.choice(options)
    return Genotype(genotype.space, {**genotype.cells, kind: generator.choice(generator.choice(ways))})


def _replaced(genotype: Genotype, space: SearchSpace, kind: str, place: int) -> list[list[tuple[Choice, ...]]]:
    """The cells with another operation on an edge, and those with another source of it, without empty lists."""
    cell, choices = space.cells[kind], genotype.cells[kind]
    chosen = choices[place]
    used = {(one.source, one.node) for one in choices}
    beside = {one.operation for one in choices if one[:2] == chosen[:2]}
    operations, sources = list[Choice](), list[Choice]()
    for _, edge in cell.edges_into(chosen.node):
        names = list(cell.selectable(edge).values())
        if edge.source == chosen.source:
            operations += [chosen._replace(operation=name) for name in names if name not in beside]
        elif (edge.source, edge.node) not in used and cell.keep is not None:
            kept = [chosen.operation] if chosen.operation in names else names
            sources += [Choice(edge.source, edge.node, name) for name in kept]
    return [[(*choices[:place], other, *choices[place + 1 :]) for other in way] for way in (operations, sources) if way]


def _fewer_or_more(choices: tuple[Choice, ...], cell: CellSpace) -> list[list[tuple[Choice, ...]]]:
    """The cells without one of the operations, and those with one more, as far as the cell allows; no empty lists."""
    if not cell.fewer:
        return []
    less = [choices[:place] + choices[place + 1 :] for place in range(len(choices))]
    more = []
    for edge in cell.edges:
        carried = {one.operation for one in choices if one[:2] == (edge.source, edge.node)}
        full = len({one.source for one in choices if one.node == edge.node}) >= cell.kept(edge.node)
        if len(carried) < cell.carried and (carried or not full):
            names = (name for name in cell.selectable(edge).values() if name not in carried)
            more += [(*choices, Choice(edge.source, edge.node, name)) for name in names]
    return [way for way in (less, more) if way]
