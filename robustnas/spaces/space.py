"""What can be found: edges, cells and search spaces as plain frozen data."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType


@dataclass(frozen=True)
class Edge:
    """A directed edge of a cell and the candidate operations on it.

    Args:
        source: State the edge leaves. States are numbered with the cell's inputs first.
        node: State the edge enters, larger than ``source``.
        operations: Names of the candidate operations; their order is that of the columns of α.

    Raises:
        ValueError: If the edge does not go forward, or has no operation, a repeated one or one that is no word.
    """

    source: int
    node: int
    operations: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "operations", tuple(self.operations))
        if not 0 <= self.source < self.node:
            raise ValueError(
                f"Expected `source` to be in 0..{self.node - 1} on an edge into {self.node}, but got {self.source}."
            )
        distinct = 0 < len(self.operations) == len(set(self.operations))
        if not distinct or not all(re.fullmatch(r"\w+", name) for name in self.operations):
            raise ValueError(
                f"Expected `operations` of edge {self.name} to be distinct words, but got {self.operations}."
            )

    @property
    def name(self) -> str:
        """``source-node``, as in ``0-2``."""
        return f"{self.source}-{self.node}"


@dataclass(frozen=True)
class CellSpace:
    """All cells of one kind that can be found.

    A node is the sum of its edges. The rows of α follow ``edges``, which are sorted by node, then source.

    Args:
        inputs: Number of input states: 2 in the DARTS family, 1 in NAS-Bench-201.
        edges: Every edge with its candidate operations.
        outputs: Nodes whose concatenation is the output of the cell.
        reduction: Whether edges that leave an input state halve the resolution.
        keep: Edges that a node of the discrete cell keeps, or ``None`` for all.
        never_selected: Operations that take part in the mixture but not in a genotype.
        fewer: Whether a node of the discrete cell may keep fewer edges than that, down to none: it is then zero.
        carried: Most operations that an edge of the discrete cell carries; their sum is its output.

    Raises:
        ValueError: If a node has no edge, fewer edges than ``keep``, or no operation to select.
    """

    inputs: int
    edges: tuple[Edge, ...]
    outputs: tuple[int, ...]
    reduction: bool = False
    keep: int | None = None
    never_selected: frozenset[str] = frozenset()
    fewer: bool = False
    carried: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "edges", tuple(sorted(self.edges, key=lambda edge: (edge.node, edge.source))))
        object.__setattr__(self, "outputs", tuple(self.outputs))
        object.__setattr__(self, "never_selected", frozenset(self.never_selected))
        nodes = range(self.inputs, max((edge.node for edge in self.edges), default=self.inputs - 1) + 1)
        names = [edge.name for edge in self.edges]
        if not names or any(not self.edges_into(node) for node in nodes):
            raise ValueError(f"Expected `edges` to enter every node {list(nodes)}, but got {names}.")
        if len(set(names)) != len(names) or self.edges[0].node < self.inputs:
            raise ValueError(f"Expected `edges` to be distinct and none to enter an input, but got {names}.")
        if not self.outputs or any(output not in nodes for output in self.outputs):
            raise ValueError(f"Expected `outputs` to be among the nodes {list(nodes)}, but got {self.outputs}.")
        if self.keep is not None and any(not 1 <= self.keep <= len(self.edges_into(node)) for node in nodes):
            raise ValueError(
                f"Expected `keep` to be at least 1 and at most the edges of every node, but got {self.keep}."
            )
        if self.carried < 1:
            raise ValueError(f"Expected `carried` to be at least 1, but got {self.carried}.")
        for edge in self.edges:
            if not set(edge.operations) - self.never_selected:
                raise ValueError(
                    f"Expected `operations` of {edge.name} to hold one that can be selected, but got {edge.operations}."
                )

    @property
    def nodes(self) -> range:
        """Intermediate states, those after the inputs."""
        return range(self.inputs, self.edges[-1].node + 1)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of α: edges by the largest number of operations on one edge."""
        return len(self.edges), max(len(edge.operations) for edge in self.edges)

    def edges_into(self, node: int) -> list[tuple[int, Edge]]:
        """Edges that enter ``node``, each with its row in α."""
        return [(row, edge) for row, edge in enumerate(self.edges) if edge.node == node]

    def kept(self, node: int) -> int:
        """How many of the edges that enter ``node`` a discrete cell keeps; at most, where it may keep ``fewer``."""
        return len(self.edges_into(node)) if self.keep is None else self.keep

    def selectable(self, edge: Edge) -> dict[int, str]:
        """Columns of α whose operations a genotype may carry on ``edge``, with their names."""
        return {k: name for k, name in enumerate(edge.operations) if name not in self.never_selected}

    def stride(self, source: int) -> int:
        """Stride of the operations on edges that leave ``source``."""
        return 2 if self.reduction and source < self.inputs else 1

    def row(self, source: int, node: int) -> int | None:
        """Row of the edge from ``source`` to ``node`` in α, or ``None`` where there is no such edge."""
        return next((row for row, edge in enumerate(self.edges) if (edge.source, edge.node) == (source, node)), None)


@dataclass(frozen=True)
class SearchSpace:
    """A search space: the kinds of cell and the skeleton that stacks them.

    Args:
        name: Name that genotypes carry, without spaces.
        cells: Kind of cell to its space, as the skeleton has them, such as ``normal`` and ``reduce``.
        skeleton: ``darts`` stacks cells that see the two before them, with reduction cells at one and two
            thirds of the depth; ``darts_normal`` has normal cells only; ``nasbench201`` stacks three stages of the
            kind ``cell``, joined by residual blocks; ``mobile`` is one chain of blocks, each an edge of the kind
            ``chain``; others can be registered.
        stages: Blocks of each stage of the ``mobile`` skeleton, and nothing in the others. The first block of a stage
            changes the shape of the images; the others add their input to their output, so that ``none`` skips them.

    Raises:
        ValueError: If the name has spaces or the skeleton does not fit the kinds of cell or the stages.
    """

    name: str
    cells: Mapping[str, CellSpace]
    skeleton: str = "darts"
    stages: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "cells", MappingProxyType(dict(self.cells)))
        object.__setattr__(self, "stages", tuple(self.stages))
        if not re.fullmatch(r"\S+", self.name):
            raise ValueError(f"Expected `name` to be a name without spaces, but got {self.name!r}.")
        if self.skeleton not in SKELETONS:
            raise ValueError(f"Expected `skeleton` to be one of {sorted(SKELETONS)}, but got {self.skeleton!r}.")
        found = {kind: (cell.inputs, cell.reduction) for kind, cell in self.cells.items()}
        if found != (wanted := dict(self.rules.kinds)):
            raise ValueError(
                f"Expected `cells` of the skeleton {self.skeleton!r} to be {wanted} "
                f"(kind: inputs, reduction), but got {found}."
            )
        self.rules.check(self)

    @property
    def rules(self) -> SkeletonRules:
        """What is known of the skeleton without building a network."""
        return SKELETONS[self.skeleton]

    def __reduce__(self) -> tuple[object, ...]:
        return SearchSpace, (self.name, dict(self.cells), self.skeleton, self.stages)

    def __hash__(self) -> int:
        return hash((self.name, frozenset(self.cells.items()), self.skeleton, self.stages))

    @cached_property
    def operations(self) -> tuple[str, ...]:
        """Every operation of the space, in order of appearance."""
        return tuple(dict.fromkeys(name for _, edge in self for name in edge.operations))

    def __iter__(self) -> Iterator[tuple[str, Edge]]:
        """Every edge with its kind of cell, in the order of α."""
        return ((kind, edge) for kind, cell in self.cells.items() for edge in cell.edges)


def _no_stages(space: SearchSpace) -> None:
    if space.stages:
        raise ValueError(f"Expected no `stages` with the skeleton {space.skeleton!r}, but got {space.stages}.")


@dataclass(frozen=True)
class SkeletonRules:
    """What a skeleton asks of a space, and how its networks are sized and evaluated.

    Args:
        kinds: Kind of cell to the number of its inputs, and whether it is a reduction cell.
        depth: Argument that sets the depth, ``layers`` or ``cells``; ``None`` where the space sets it.
        default_depth: Depth of a network for which none is given.
        least_depth: Smallest depth.
        recipe: Configuration that evaluates its architectures: a file of ``robustnas.configs``, or a path.
        check: Refuses spaces whose cells the skeleton cannot stack; by default those with ``stages``.
        residual: Whether an edge that carries ``none`` passes its input on, so that it disconnects nothing.
    """

    kinds: Mapping[str, tuple[int, bool]]
    depth: str | None = None
    default_depth: int = 1
    least_depth: int = 1
    recipe: str = "evaluate_darts.yaml"
    check: Callable[[SearchSpace], None] = _no_stages
    residual: bool = False


def _one_output(space: SearchSpace) -> None:
    outputs = next(iter(space.cells.values())).outputs
    if len(outputs) != 1:
        raise ValueError(f"Expected `cells` of the skeleton 'nasbench201' to have one output, but got {outputs}.")
    _no_stages(space)


def _check_chain(space: SearchSpace) -> None:
    cell, stages = space.cells["chain"], space.stages
    count = len(cell.edges)
    if cell.outputs != (count,) or any((edge.source, edge.node) != (k, k + 1) for k, edge in enumerate(cell.edges)):
        raise ValueError(
            f"Expected `edges` of a chain to be 0-1, 1-2, ... with the last node as the one output, "
            f"but got {[edge.name for edge in cell.edges]} and {cell.outputs}."
        )
    if sum(stages) != count or min(stages, default=0) < 1:
        raise ValueError(f"Expected `stages` to be positive and to sum up to {count} edges, but got {stages}.")
    for first in (sum(stages[:k]) for k in range(len(stages))):
        if "none" in cell.edges[first].operations:
            raise ValueError(
                f"Expected no `none` on {cell.edges[first].name}, where a stage of the chain starts and nothing "
                f"bypasses the operations, but got {cell.edges[first].operations}."
            )


SKELETONS: dict[str, SkeletonRules] = {
    "darts": SkeletonRules({"normal": (2, False), "reduce": (2, True)}, "layers", 8, 3),
    "darts_normal": SkeletonRules({"normal": (2, False)}, "layers", 1, 1, "evaluate_darts_bench_suite.yaml"),
    "nasbench201": SkeletonRules({"cell": (1, False)}, "cells", 5, 1, "evaluate_nasbench201.yaml", _one_output),
    "mobile": SkeletonRules({"chain": (1, False)}, recipe="evaluate_mobile.yaml", check=_check_chain, residual=True),
}


def register_skeleton(name: str, rules: SkeletonRules) -> None:
    """Make a skeleton known by a new name; a subclass of ``robustnas.networks.Skeleton`` with the name builds it."""
    if name in SKELETONS:
        raise ValueError(f"Expected `name` to be that of a new skeleton, but got {name!r}, which is known.")
    SKELETONS[name] = rules


def complete_cell(
    inputs: int,
    nodes: int,
    operations: tuple[str, ...] | list[tuple[str, ...]],
    outputs: tuple[int, ...],
    reduction: bool = False,
    keep: int | None = None,
    never_selected: tuple[str, ...] = (),
    fewer: bool = False,
    carried: int = 1,
) -> CellSpace:
    """Return the space of cells in which every state feeds every one of a number of later ``nodes``.

    ``operations`` are those of all edges, or one tuple for each edge in the order of α. The other arguments are those
    of :class:`CellSpace`.

    Raises:
        ValueError: If ``operations`` lists another number of edges than the cell has.
    """
    pairs = [(source, node) for node in range(inputs, inputs + nodes) for source in range(node)]
    each = operations if isinstance(operations, list) else [operations] * len(pairs)
    if len(each) != len(pairs):
        raise ValueError(f"Expected `operations` to list {len(pairs)} edges, but got {len(each)}.")
    edges = tuple(Edge(source, node, names) for (source, node), names in zip(pairs, each, strict=True))
    return CellSpace(inputs, edges, outputs, reduction, keep, frozenset(never_selected), fewer, carried)
