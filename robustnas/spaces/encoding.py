"""Numbering of the genotypes of a space, from 0 on, for tables and uniform draws."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import combinations
from math import prod
from typing import NamedTuple

from robustnas.spaces.genotype import Choice, Genotype
from robustnas.spaces.space import CellSpace, Edge, SearchSpace


class _Kept(NamedTuple):
    """Edges that a node may keep, the operations each may carry, and how many genotypes of the node keep them."""

    edges: tuple[tuple[Edge, tuple[str, ...]], ...]
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
        carried = {(c.source, c.node): c.operation for c in genotype.cells[node.kind] if c.node == node.node}
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


def _rank(node: _Node, carried: dict[tuple[int, int], str]) -> int:
    """The rank of a genotype of a node: by kept edges, then by operations, the last edge counting fastest."""
    before = 0
    for way in node.ways:
        if all((edge.source, edge.node) in carried for edge, _ in way.edges) and len(way.edges) == len(carried):
            rank = 0
            for edge, names in way.edges:
                rank = rank * len(names) + names.index(carried[edge.source, edge.node])
            return before + rank
        before += way.size
    kept = [f"{source}-{into}" for source, into in carried]
    raise ValueError(f"Expected node {node.node} of the {node.kind} cell to keep distinct edges, but got {kept}.")


def _choices(node: _Node, rank: int) -> list[Choice]:
    for way in node.ways:
        if rank < way.size:
            break
        rank -= way.size
    choices = []
    for edge, names in reversed(way.edges):
        rank, column = divmod(rank, len(names))
        choices.append(Choice(edge.source, edge.node, names[column]))
    return choices[::-1]


@lru_cache(maxsize=16)
def _nodes(space: SearchSpace) -> tuple[_Node, ...]:
    return tuple(node for kind, cell in space.cells.items() for node in _of_cell(kind, cell))


def _of_cell(kind: str, cell: CellSpace) -> Iterator[_Node]:
    for node in cell.nodes:
        entering = [(edge, tuple(cell.selectable(edge).values())) for _, edge in cell.edges_into(node)]
        subsets = combinations(entering, cell.kept(node))
        ways = tuple(_Kept(kept, prod(len(names) for _, names in kept)) for kept in subsets)
        yield _Node(kind, node, ways, sum(way.size for way in ways))
