"""Numbering of the genotypes of a space, from 0 on, for tables and uniform draws."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import combinations
from math import prod
from typing import NamedTuple

from robustnas.spaces.genotype import Choice, Genotype
from robustnas.spaces.space import CellSpace, Edge, SearchSpace


class _Kept(NamedTuple):
    """Edges that a node may keep, what each may carry, and how many genotypes of the node keep them."""

    edges: tuple[tuple[Edge, tuple[tuple[str, ...], ...]], ...]
    size: int


class _Node(NamedTuple):
    """A node of a kind of cell, with all combinations of edges that it may keep."""

    kind: str
    node: int
    ways: tuple[_Kept, ...]
    size: int


def num_architectures(space: SearchSpace) -> int:
    """Return the number of genotypes of a space: 15,625 in NAS-Bench-201, 1.08e18 in the space of DARTS.

    Two genotypes that differ in an edge or an operation count twice, even if they compute the same function.
    """
    return prod(node.size for node in _nodes(space))


def encode(genotype: Genotype, space: SearchSpace) -> int:
    """Return the number of a genotype of the space, from 0 on, whatever the order in which a node lists its edges."""
    genotype.validate(space)
    number = 0
    for node in _nodes(space):
        cell, carried = space.cells[node.kind], dict[tuple[int, int], list[str]]()
        for choice in genotype.cells[node.kind]:
            if choice.node == node.node:
                carried.setdefault(choice[:2], []).append(choice.operation)
        if not cell.fewer and len(carried) != cell.kept(node.node):
            kept = [f"{source}-{into}" for source, into in carried]
            raise ValueError(
                f"Expected node {node.node} of the {node.kind} cell to keep distinct edges, but got {kept}."
            )
        number = number * node.size + _rank(node, carried)
    return number


def decode(number: int, space: SearchSpace) -> Genotype:
    """Return the genotype with a number that is not too large, the inverse of :func:`encode`."""
    if not 0 <= number < num_architectures(space):
        raise ValueError(
            f"Expected `number` to be from 0 to {num_architectures(space) - 1} in {space.name}, but got {number}."
        )
    cells: dict[str, list[Choice]] = {kind: [] for kind in space.cells}
    for node in reversed(_nodes(space)):
        number, rank = divmod(number, node.size)
        cells[node.kind][:0] = _choices(node, rank)
    return Genotype(space.name, {kind: tuple(choices) for kind, choices in cells.items()})


def _rank(node: _Node, carried: Mapping[tuple[int, int], Sequence[str]]) -> int:
    """The rank of a genotype of a node: by kept edges, then by operations, the last edge counting fastest."""
    before = 0
    for way in node.ways:
        if all((edge.source, edge.node) in carried for edge, _ in way.edges) and len(way.edges) == len(carried):
            rank = 0
            for edge, loads in way.edges:
                names = tuple(sorted(carried[edge.source, edge.node], key=edge.operations.index))
                rank = rank * len(loads) + loads.index(names)
            return before + rank
        before += way.size
    raise AssertionError(f"{carried} is no way of node {node.node}")  # validated before


def _choices(node: _Node, rank: int) -> list[Choice]:
    for way in node.ways:
        if rank < way.size:
            break
        rank -= way.size
    choices: list[Choice] = []
    for edge, loads in reversed(way.edges):
        rank, place = divmod(rank, len(loads))
        choices[:0] = [Choice(edge.source, edge.node, name) for name in loads[place]]
    return choices


@lru_cache(maxsize=16)
def _nodes(space: SearchSpace) -> tuple[_Node, ...]:
    return tuple(node for kind, cell in space.cells.items() for node in _of_cell(kind, cell))


def _of_cell(kind: str, cell: CellSpace) -> Iterator[_Node]:
    for node in cell.nodes:
        entering = [(edge, _loads(cell, edge)) for _, edge in cell.edges_into(node)]
        counts = range(0 if cell.fewer else cell.kept(node), cell.kept(node) + 1)
        subsets = (kept for count in counts for kept in combinations(entering, count))
        ways = tuple(_Kept(kept, prod(len(loads) for _, loads in kept)) for kept in subsets)
        yield _Node(kind, node, ways, sum(way.size for way in ways))


def _loads(cell: CellSpace, edge: Edge) -> tuple[tuple[str, ...], ...]:
    """What an edge that is kept may carry: one operation, or a set of more where the cell allows it."""
    names = list(cell.selectable(edge).values())
    return tuple(load for count in range(1, cell.carried + 1) for load in combinations(names, count))
