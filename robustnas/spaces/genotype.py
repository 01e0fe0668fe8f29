"""Genotypes: the edges of a discrete cell and the operation on each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import index
from types import MappingProxyType
from typing import Any, NamedTuple

from robustnas.runtime.safe_files import parse_json
from robustnas.spaces.space import CellSpace, SearchSpace

SCHEMA = 1
NO_EDGE = "-"  # in the one-line form, what a cell without edges has in their place


class Choice(NamedTuple):
    """One edge of a discrete cell: ``operation`` on the edge from ``source`` to ``node``."""

    source: int
    node: int
    operation: str

    def __str__(self) -> str:
        return f"{self.source}-{self.node} {self.operation}"

    @classmethod
    def from_text(cls, text: str) -> Choice:
        """Read ``0-2 skip_connect``, as :meth:`__str__` writes it."""
        found = re.fullmatch(r"([0-9]+)-([0-9]+) (\S+)", text)
        if not found:
            raise ValueError(f"Expected `text` to read like '0-2 skip_connect', but got {text!r}.")
        return cls(int(found[1]), int(found[2]), found[3])


@dataclass(frozen=True, eq=False)
class Genotype:
    """A discrete architecture. Two are equal if their edges are, in whatever order a node lists its inputs.

    Args:
        space: Name of the search space.
        cells: Kind of cell to its edges, ordered by node. The order within a node is kept: selection lists the
            strongest edge first, as the original DARTS does.

    Raises:
        ValueError: If the name has spaces, or an edge is not a triple of a source, a later node and an operation.
    """

    space: str
    cells: Mapping[str, tuple[Choice, ...]]

    def __post_init__(self) -> None:
        if not isinstance(self.space, str) or not re.fullmatch(r"\S+", self.space):
            raise ValueError(f"Expected `space` to be a name without spaces, but got {self.space!r}.")
        cells = {kind: _in_node_order(kind, choices) for kind, choices in self.cells.items()}
        object.__setattr__(self, "cells", MappingProxyType(cells))

    def _key(self) -> tuple[object, ...]:
        return self.space, tuple(sorted((kind, tuple(sorted(choices))) for kind, choices in self.cells.items()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Genotype) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __reduce__(self) -> tuple[object, ...]:
        return Genotype, (self.space, dict(self.cells))

    def __str__(self) -> str:
        """One line, for instance ``NASBench201 cell: 0-1 skip_connect, 0-2 none, ...``."""
        cells = (f"{kind}: " + (", ".join(map(str, choices)) or NO_EDGE) for kind, choices in self.cells.items())
        return f"{self.space} " + " | ".join(cells)

    @classmethod
    def from_text(cls, text: str) -> Genotype:
        """Read the one-line form that :meth:`__str__` writes."""
        name, _, body = text.strip().partition(" ")
        cells: dict[str, tuple[Choice, ...]] = {}
        choices: tuple[Choice, ...] | None
        for part in body.split(" | "):
            kind, _, edges = part.partition(": ")
            try:
                choices = tuple(map(Choice.from_text, [] if edges == NO_EDGE else edges.split(", ")))
            except ValueError:
                choices = None
            if choices is None or not re.fullmatch(r"\w+", kind) or kind in cells:
                raise ValueError(
                    f"Expected `text` to read like 'S2 normal: 0-2 skip_connect, ... | reduce: ...', but got {text!r}."
                )
            cells[kind] = choices
        return cls(name, cells)

    def count(self, operation: str) -> dict[str, int]:
        """Number of edges that carry ``operation``, by kind of cell."""
        return {kind: sum(choice.operation == operation for choice in cell) for kind, cell in self.cells.items()}

    def validate(self, space: SearchSpace) -> Genotype:
        """Return the genotype itself, or raise a ``ValueError`` if it is no architecture of ``space``."""
        if self.space != space.name:
            raise ValueError(f"Expected `genotype` to be from the space {space.name}, but got one from {self.space}.")
        if set(self.cells) != set(space.cells):
            raise ValueError(f"Expected `genotype` to have the cells {list(space.cells)}, but got {list(self.cells)}.")
        for kind, cell in space.cells.items():
            _check_cell(kind, cell, self.cells[kind])
        return self

    def to_json(self) -> str:
        """JSON with a schema version; :meth:`from_json` reads it back."""
        cells = {kind: [[f"{c.source}-{c.node}", c.operation] for c in choices] for kind, choices in self.cells.items()}
        lines = ",\n".join(f"    {json.dumps(kind)}: {json.dumps(choices)}" for kind, choices in cells.items())
        return f'{{\n  "schema": {SCHEMA},\n  "space": {json.dumps(self.space)},\n  "cells": {{\n{lines}\n  }}\n}}\n'

    @classmethod
    def from_json(cls, text: str) -> Genotype:
        """Read the JSON that :meth:`to_json` writes."""
        try:
            data = parse_json(text)
        except ValueError as error:
            raise ValueError(f"Expected `genotype` to be JSON, but got {error}.") from error
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            got = data.get("schema") if isinstance(data, dict) else type(data).__name__
            raise ValueError(f"Expected `genotype` JSON to have schema version {SCHEMA}, but got {got!r}.")
        try:
            cells = {
                kind: tuple(Choice.from_text(" ".join((edge, operation))) for edge, operation in choices)
                for kind, choices in data["cells"].items()
            }
            return cls(data["space"], cells)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"Expected `genotype` JSON to hold `space` and `cells` of edges like ['0-2', 'none'], got {error!r}."
            ) from error

    @classmethod
    def from_quark0(
        cls, normal: Iterable[tuple[str, int]], reduce: Iterable[tuple[str, int]] | None, space: str = "DARTS"
    ) -> Genotype:
        """Read the tuple of the original DARTS code: pairs ``(operation, source)``, two a node; maybe no ``reduce``."""

        def cell(pairs: Iterable[tuple[str, int]]) -> tuple[Choice, ...]:
            return tuple(Choice(source, 2 + i // 2, name) for i, (name, source) in enumerate(pairs))

        return cls(
            space, {"normal": cell(normal)} if reduce is None else {"normal": cell(normal), "reduce": cell(reduce)}
        )

    def to_nasbench201(self) -> str:
        """The string of NAS-Bench-201, ``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|``."""
        if set(self.cells) != {"cell"}:
            raise ValueError(f"Expected `genotype` to have one kind of cell, but got {list(self.cells)}.")
        nodes: dict[int, list[str]] = {}
        for source, node, operation in sorted(self.cells["cell"], key=lambda choice: (choice.node, choice.source)):
            nodes.setdefault(node, []).append(f"{operation}~{source}")
        return "+".join(f"|{'|'.join(edges)}|" for edges in nodes.values())

    @classmethod
    def from_nasbench201(cls, text: str, space: str = "NASBench201") -> Genotype:
        """Read the string of NAS-Bench-201; ``space`` is the name of the search space."""
        groups = text.strip().split("+")
        if not all(re.fullmatch(r"\|(\w+~[0-9]+\|)+", group) for group in groups):
            raise ValueError(f"Expected `text` to read like '|op~0|+|op~0|op~1|', but got {text!r}.")
        choices = tuple(
            Choice(int(source), node, operation)
            for node, group in enumerate(groups, start=1)
            for operation, source in re.findall(r"(\w+)~([0-9]+)", group)
        )
        return cls(space, {"cell": choices})


def _choice(source: Any, node: Any, operation: Any) -> Choice:
    if not 0 <= index(source) < index(node) or not re.fullmatch(r"\S+", operation):
        raise ValueError
    return Choice(index(source), index(node), str(operation))


def _in_node_order(kind: str, choices: Iterable[Any]) -> tuple[Choice, ...]:
    try:
        triples = [_choice(*triple) for triple in choices]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Expected `cells[{kind!r}]` to be triples of a source, a later node and an operation, but got {choices!r}."
        ) from error
    return tuple(sorted(triples, key=lambda choice: choice.node))


def _check_cell(kind: str, cell: CellSpace, choices: tuple[Choice, ...]) -> None:
    for choice in choices:
        row = cell.row(choice.source, choice.node)
        if row is None:
            raise ValueError(
                f"Expected `genotype` to use edges of the {kind} cell, but got {choice.source}-{choice.node}."
            )
        allowed = list(cell.selectable(cell.edges[row]).values())
        if choice.operation not in allowed:
            raise ValueError(
                f"Expected edge {choice.source}-{choice.node} of the {kind} cell to carry one of {allowed}, "
                f"but got {choice.operation!r}."
            )
    for node in cell.nodes:
        edges = [choice for choice in choices if choice.node == node]
        wanted, found = cell.kept(node), len({choice.source for choice in edges} if cell.fewer else edges)
        if found != wanted and not (cell.fewer and found < wanted):
            few = "at most " if cell.fewer else ""
            raise ValueError(f"Expected node {node} of the {kind} cell to have {few}{wanted} edges, but got {found}.")
    if cell.fewer:
        _check_carried(kind, cell, choices)
    elif cell.keep is None and len({choice[:2] for choice in choices}) != len(choices):
        raise ValueError(f"Expected the edges of the {kind} cell to be distinct, but got {[str(c) for c in choices]}.")


def _check_carried(kind: str, cell: CellSpace, choices: tuple[Choice, ...]) -> None:
    """Refuse more operations on an edge than it may carry, and the same one twice."""
    for edge in {choice[:2] for choice in choices}:
        names = [choice.operation for choice in choices if choice[:2] == edge]
        if len(names) > cell.carried or len(set(names)) != len(names):
            raise ValueError(
                f"Expected edge {edge[0]}-{edge[1]} of the {kind} cell to carry at most {cell.carried} distinct "
                f"operations, but got {names}."
            )
