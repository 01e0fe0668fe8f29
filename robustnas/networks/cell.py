"""A cell: states, the bundles of edges that leave them, and the sums that enter nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from robustnas.networks.bundle import Bundle, State
from robustnas.networks.config import SupernetConfig
from robustnas.networks.memory_format import lay_gradient_out
from robustnas.networks.mixture import Mixture
from robustnas.networks.operations import build_operation
from robustnas.networks.probe import Probe, probed
from robustnas.spaces import CellSpace


@dataclass(frozen=True)
class Candidate:
    """An operation on an edge: ``row`` and ``column`` of α, or a running number and 0 in a discrete cell.

    What a connection adds beside the candidates has the column after the last of α.
    """

    row: int
    column: int
    source: int
    node: int
    operation: str


class MixtureWeights:
    """A mixture, read once for all cells of a kind."""

    def __init__(self, mixture: Mixture) -> None:
        self.edges, self._auxiliary, self._columns = mixture.edges, mixture.auxiliary != 0, mixture.operations.shape[1]
        self.values = _with_auxiliary(mixture) if self._auxiliary else mixture.weights()
        self._active = None if mixture.active is None else mixture.active.tolist()
        wanted = mixture.probed is not None and self.values.requires_grad and torch.is_grad_enabled()
        self._probed = mixture.probed.tolist() if wanted and mixture.probed is not None else None
        self._shifts = mixture.shifts()

    def active(self, row: int, column: int) -> bool:
        """Whether an operation is computed."""
        if column == self._columns:
            return self._auxiliary and (self._active is None or any(self._active[row]))
        return self._active is None or bool(self._active[row][column])

    def probed(self, row: int, column: int) -> bool:
        """Whether an operation is computed in the backward pass only."""
        return self._probed is not None and column < self._columns and bool(self._probed[row][column])

    def of(self, rows: Sequence[int], columns: Sequence[int]) -> Tensor:
        """Weights of some candidates, ``[len(rows)]``."""
        return self.values[list(rows), list(columns)]

    def shift(self, node: Tensor, rows: Sequence[int]) -> Tensor:
        """The sum at a node with the offsets of the edges that enter it."""
        return node if self._shifts is None else node + self._shifts[list(rows)].sum().to(node.dtype)


def _with_auxiliary(mixture: Mixture) -> Tensor:
    """Weights of the operations and, in a last column, of what is added beside them, ``[edges, operations + 1]``."""
    weights = mixture.weights()
    beside = weights.new_full((len(weights), 1), mixture.auxiliary)
    return torch.cat([weights, beside if mixture.edges is None else beside * mixture.edges[:, None]], dim=1)


class EdgeOperation(nn.Module):
    """One operation on all edges that leave a state and carry it."""

    def __init__(self, name: str, candidates: Sequence[Candidate], bundle: Bundle) -> None:
        super().__init__()
        self.name = name
        self.candidates = tuple(candidates)
        self.operation = build_operation(name, bundle)
        places = [[self.operation.edgewise(b, i) for b, _ in self.operation.named_buffers()] for i in (0, 1)]
        self._shares_statistics = bool(places[0]) and places[0] == places[1]

    def forward(self, state: State, weights: MixtureWeights | None) -> tuple[tuple[int, ...], Tensor] | None:
        group = tuple(i for i, c in enumerate(self.candidates) if weights is None or weights.active(c.row, c.column))
        if not group:
            return None
        rows = tuple(self.candidates[position].row for position in group)
        columns = [self.candidates[position].column for position in group]
        return rows, self.operation(state, group, None if weights is None else weights.of(rows, columns))

    def probe(self, weights: MixtureWeights) -> Probe | None:
        """What the backward pass has to compute of this operation."""
        group = tuple(i for i, one in enumerate(self.candidates) if weights.probed(one.row, one.column))
        if not group:
            return None
        rows, columns = zip(*((self.candidates[i].row, self.candidates[i].column) for i in group), strict=True)
        moved = self._shares_statistics and any(weights.active(one.row, one.column) for one in self.candidates)
        given = dict(self.operation.named_parameters())
        return Probe(self.operation, group, rows, weights.of(rows, columns), given, still=moved)


class Cell(nn.Module):
    """A cell of candidates: all of them in a supernet, the chosen ones in a discrete network."""

    def __init__(
        self,
        space: CellSpace,
        candidates: Sequence[Candidate],
        in_channels: Sequence[int],
        channels: int,
        preprocess: Sequence[tuple[str, int]],  # operation and stride of each input; empty to use it as it is
        config: SupernetConfig,
    ) -> None:
        super().__init__()
        self.space, self.channels, self.connection = space, channels, config.connection
        self.through = self.connection.through(channels)
        for i, ((name, stride), entering) in enumerate(zip(preprocess, in_channels, strict=False)):
            self.add_module(f"pre{i}", build_operation(name, config.bundle(1, entering, channels, stride)))
        self.inputs = len(in_channels)
        self.preprocessed = len(preprocess) > 0
        self.edge = nn.ModuleList()
        self._sources = {c.source for c in candidates}
        self._leaving: dict[int, list[EdgeOperation]] = {}
        self.sources_into = {node: {c.row: c.source for c in candidates if c.node == node} for node in space.nodes}
        for source in range(space.nodes.stop):
            for name in dict.fromkeys(c.operation for c in candidates if c.source == source and c.operation != "none"):
                bundled = [c for c in candidates if (c.source, c.operation) == (source, name)]
                bundle = config.bundle(len(bundled), self.through, self.through, self.space.stride(source))
                leaving = EdgeOperation(name, bundled, bundle)
                self.edge.append(leaving)
                self._leaving.setdefault(source, []).append(leaving)
        self.auxiliary = nn.ModuleList()
        self._identities = {c.row for one in self.bundles if one.operation.identity for c in one.candidates}

    @property
    def bundles(self) -> list[EdgeOperation]:
        """Every operation of the cell with its candidates."""
        return [module for module in self.edge if isinstance(module, EdgeOperation)]

    @property
    def stacked(self) -> list[EdgeOperation]:
        """The bundles, and what is added beside them."""
        return [*self.bundles, *(module for module in self.auxiliary if isinstance(module, EdgeOperation))]

    def add_auxiliary(self, name: str, config: SupernetConfig) -> None:
        """Have every edge compute one more operation, which has no column in α."""
        for source in sorted(self._sources):
            leaving = [
                Candidate(row, self.space.shape[1], source, node, "auxiliary")
                for node, rows in self.sources_into.items()
                for row in rows
                if rows[row] == source
            ]
            bundle = config.bundle(len(leaving), self.through, self.through, self.space.stride(source))
            added = EdgeOperation(name, leaving, bundle)
            self.auxiliary.append(added)
            self._leaving.setdefault(source, []).append(added)

    def forward(self, inputs: Sequence[Tensor], weights: MixtureWeights | None, drop_path: float = 0.0) -> Tensor:
        """The output of the cell; without ``weights`` they are one, and drop path spares identities."""
        states = self._preprocess(inputs)
        drop = Drop(drop_path if self.training else 0.0, set() if weights is not None else self._identities)
        arriving: dict[int, Sum] = {}
        bypassing: dict[int, Tensor] = {}
        for source in range(self.space.nodes.stop):
            if source >= self.space.inputs:
                mixed = self._node(source, arriving, states[0], drop)
                mixed = mixed if weights is None else weights.shift(mixed, list(self.sources_into[source]))
                states.append(self._join(source, mixed, bypassing, weights, drop))
            if source not in self._sources:
                continue
            entering, bypass = self.connection.split(states[source], self.space.stride(source))
            if bypass is not None:
                bypassing[source] = bypass
            self._leave(source, State(entering), weights, arriving)
        return lay_gradient_out(torch.cat([states[node] for node in self.space.outputs], dim=1))

    def _leave(self, source: int, state: State, weights: MixtureWeights | None, arriving: dict[int, Sum]) -> None:
        """Compute every operation that leaves a state, and add its output to the sums of its edges."""
        bundles: dict[tuple[int, ...], Sum] = {}
        for leaving in self._leaving.get(source, []):
            if (computed := leaving(state, weights)) is not None:
                rows, output = computed
                bundles.setdefault(rows, Sum()).add(output)
        for rows, total in bundles.items():
            for row, part in zip(rows, total.value.chunk(len(rows), dim=1), strict=True):
                arriving.setdefault(row, Sum()).add(part)
        if weights is not None:
            self._probe(source, state, weights, arriving)

    def _probe(self, source: int, state: State, weights: MixtureWeights, arriving: dict[int, Sum]) -> None:
        """Have the backward pass give a gradient to weights of operations that leave a state but are not computed."""
        asked = [leaving.probe(weights) for leaving in self._leaving.get(source, [])]
        probes = [probe for probe in asked if probe is not None]
        if not probes:
            return
        like, outputs = state.images[..., :: self.space.stride(source), :: self.space.stride(source)], {}
        for row in dict.fromkeys(row for probe in probes for row in probe.rows):
            outputs[row] = arriving.pop(row).value if row in arriving else torch.zeros_like(like)
        for row, output in probed(state.images, probes, outputs).items():
            arriving.setdefault(row, Sum()).add(output)

    def _preprocess(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        if not self.preprocessed:
            return list(inputs)
        modules = [self.get_submodule(f"pre{i}") for i in range(self.inputs)]
        return [operation(State(images), (0,), None) for operation, images in zip(modules, inputs, strict=True)]

    def _node(self, node: int, arriving: dict[int, Sum], like: Tensor, drop: Drop) -> Tensor:
        total = Sum()
        for row in self.sources_into[node]:
            if row in arriving:
                total.add(drop(arriving.pop(row).value, row))
        step = 2 if self.space.reduction else 1
        return torch.zeros_like(like[:, : self.through, ::step, ::step]) if total.tensor is None else total.tensor

    def _join(
        self, node: int, mixed: Tensor, bypassing: dict[int, Tensor], weights: MixtureWeights | None, drop: Drop
    ) -> Tensor:
        """Put what bypassed the edges of a node beside the sum of their operations."""
        total = Sum()
        for row, source in self.sources_into[node].items():
            if source in bypassing:
                edges = None if weights is None else weights.edges
                bypass = bypassing[source] if edges is None else bypassing[source] * edges[row]
                total.add(drop(bypass, row))
        return self.connection.join(mixed, total.tensor)


@dataclass(frozen=True)
class Drop:
    """Drops the output of an edge for some samples: all its operations at once, and what bypasses them."""

    probability: float
    spared: set[int]
    masks: dict[int, Tensor] = field(default_factory=dict)

    def __call__(self, output: Tensor, row: int) -> Tensor:
        if self.probability == 0 or row in self.spared:
            return output
        if row not in self.masks:
            kept = torch.empty(len(output), 1, 1, 1, device=output.device).bernoulli_(1 - self.probability)
            self.masks[row] = kept / (1 - self.probability)
        return output * self.masks[row].to(output.dtype)


class Sum:
    """A running sum that changes no tensor but its own; ``tensor`` is ``None`` before the first term."""

    def __init__(self) -> None:
        self._terms = 0
        self.tensor: Tensor | None = None

    @property
    def value(self) -> Tensor:
        assert self.tensor is not None
        return self.tensor

    def add(self, term: Tensor) -> None:
        """Add a term; from the third on in place."""
        self._terms += 1
        if self.tensor is None:
            self.tensor = term
        else:
            self.tensor = self.tensor.add_(term) if self._terms > 2 else self.tensor + term
