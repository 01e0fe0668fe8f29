"""The architecture parameters of a search: α, β, which operations are left, and the mixtures they stand for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from robustnas.networks import Connection, Full, Mixture
from robustnas.spaces import CellSpace, SearchSpace
from robustnas.strategies import Relaxation, StepContext
from robustnas.strategies.selection import column_mask


class ArchitectureParameters:
    """α and β of a search, and everything that follows from them without data.

    α has one matrix ``[edges, operations]`` and, with ``edge_weights``, β one vector ``[edges]`` for each kind of cell.
    Both start at what the relaxation makes of draws from a normal distribution with standard deviation ``deviation``,
    by default the draws themselves. The search registers them, so that its checkpoint names them ``alphas.normal``.
    ``kinds`` are those of the cells in the order of the supernet, and
    ``connection`` is that of the supernet.
    """

    def __init__(
        self,
        space: SearchSpace,
        relaxation: Relaxation,
        deviation: float,
        edge_weights: bool,
        kinds: Sequence[str],
        connection: Connection = Full(),
    ) -> None:
        self.space, self.relaxation, self.connection = space, relaxation, connection
        self.cell_names = {k: [f"{k}.{i}" for i, kind in enumerate(kinds) if kind == k] for k in space.cells}
        self.candidate_mask, self.active_mask = candidate_mask(space), candidate_mask(space)  # what is left is active
        self.zero_mask = zero_mask(space)
        cells = space.cells.items()
        alphas = {kind: deviation * torch.randn(cell.shape) for kind, cell in cells}
        betas = {kind: deviation * torch.randn(len(cell.edges)) for kind, cell in cells if edge_weights}
        self.alphas = nn.ParameterDict({kind: self._initial(kind, alpha) for kind, alpha in alphas.items()})
        self.betas = nn.ParameterDict(
            {k: nn.Parameter(by_node(space.cells[k], b, relaxation.initial)) for k, b in betas.items()}
        )

    @property
    def parameters(self) -> list[Tensor]:
        """α, and β where there is one."""
        return [*self.alphas.values(), *self.betas.values()]

    @property
    def pruned(self) -> bool:
        """Whether any candidate has left."""
        return any(not torch.equal(self.active_mask[kind], mask) for kind, mask in self.candidate_mask.items())

    def legal_alphas(self) -> dict[str, Tensor]:
        """α by kind of cell, minus infinity where there is no such candidate, or it has left."""
        return {kind: masked(alpha, self.active_mask[kind]) for kind, alpha in self.alphas.items()}

    def edge_weights(self, kind: str) -> Tensor | None:
        """Weights of the edges of a kind of cell, ``[edges]``, which sum to one at each node; ``None`` without β."""
        if kind not in self.betas:
            return None
        return by_node(self.space.cells[kind], self.betas[kind], self.relaxation.edge_weights)

    def auxiliary(self, context: StepContext) -> float:
        """Weight of what the connection adds to every edge at a step."""
        return self.connection.auxiliary_weight(context.epoch, context.epochs)

    def mixtures(self, context: StepContext) -> dict[str, Mixture]:
        """The mixture of each kind of cell, or of each cell where the relaxation asks for it, differentiable in α."""
        found = {}
        for kind, alpha in self.legal_alphas().items():
            for name in self.cell_names[kind] if self.relaxation.per_cell else (kind,):
                mixture = self.relaxation.mixture(alpha, self._at(context, kind))
                if not isinstance(mixture, Mixture):
                    name, got = type(self.relaxation).__name__, type(mixture).__name__
                    raise ValueError(f"Expected `mixture` of {name} to return a Mixture, but got a {got}.")
                mixture = mixture.restricted(self.active_mask[kind]) if self.pruned else mixture
                found[name] = replace(mixture, edges=self.edge_weights(kind), auxiliary=self.auxiliary(context))
        return found

    def shares(self) -> dict[str, Tensor]:
        """Share of each operation in its edge, by kind of cell, ``[edges, operations]``; zero for those that left."""
        shares = {kind: self.relaxation.shares(alpha) for kind, alpha in self.legal_alphas().items()}
        return {kind: share.where(self.active_mask[kind].to(share.device), 0.0) for kind, share in shares.items()}

    def architecture_weights(self) -> dict[str, Tensor]:
        """Shares times the weights of their edges, ``[edges, operations]``: what selection compares."""
        edges = {kind: self.edge_weights(kind) for kind in self.space.cells}
        return {k: share if (w := edges[k]) is None else share * w[:, None] for k, share in self.shares().items()}

    @torch.no_grad()
    def project(self, before: Mapping[str, Tensor], context: StepContext) -> None:
        """Let the relaxation correct α and β after a step, or where operations have left."""
        after = self.legal_alphas()
        for kind, alpha in self.alphas.items():
            projected = self.relaxation.project_alpha(before[kind], after[kind], self._at(context, kind))
            alpha.copy_(projected.where(projected.isfinite(), alpha))
        for kind, beta in self.betas.items():
            beta.copy_(by_node(self.space.cells[kind], beta, self.relaxation.project_beta))

    def prune(self, active_mask: Mapping[str, Tensor], context: StepContext) -> None:
        """Mask all operations but the active ones, boolean ``[edges, operations]`` by kind of cell; correct α."""
        before, self.active_mask = self.active_mask, dict(active_mask)
        if any(not torch.equal(before[kind], mask) for kind, mask in self.active_mask.items()):
            self.project(self.legal_alphas(), context)

    def _initial(self, kind: str, normal: Tensor) -> nn.Parameter:
        start = self.relaxation.initial(masked(normal, self.candidate_mask[kind]))
        return nn.Parameter(start.where(start.isfinite(), normal))

    def _at(self, context: StepContext, kind: str) -> StepContext:
        return replace(context, zero_mask=self.zero_mask[kind], cell=self.space.cells[kind])


def candidate_mask(space: SearchSpace) -> dict[str, Tensor]:
    """Which columns of α stand for a candidate, by kind of cell: boolean ``[edges, operations]``."""
    return {kind: column_mask(cell, lambda edge: range(len(edge.operations))) for kind, cell in space.cells.items()}


def zero_mask(space: SearchSpace) -> dict[str, Tensor]:
    """Which candidates are called ``none`` and give nothing, by kind of cell: boolean ``[edges, operations]``."""
    return {
        kind: column_mask(cell, lambda edge: [k for k, name in enumerate(edge.operations) if name == "none"])
        for kind, cell in space.cells.items()
    }


def masked(alpha: Tensor, active_mask: Tensor) -> Tensor:
    """α of a kind of cell, minus infinity at masked operations, except on edges where all are masked."""
    gone = ~active_mask & active_mask.any(dim=-1, keepdim=True)
    return alpha.masked_fill(gone.to(alpha.device), -torch.inf)


def first_active(space: SearchSpace, relaxation: Relaxation) -> Tensor | None:
    """What a weight step computes of the first kind of cell at equal α, ``[edges, operations]``; ``None`` for all."""
    kind, cell = next(iter(space.cells.items()))
    equal = masked(torch.zeros(cell.shape), candidate_mask(space)[kind])
    return relaxation.mixture(equal, StepContext("weights", 0, 1, torch.Generator().manual_seed(0))).active


def by_node(cell: CellSpace, beta: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """A function of the β of the edges that enter a node, for every node: ``[edges]``, as β is."""
    rows = [[row for row, _ in cell.edges_into(node)] for node in cell.nodes]  # edges are sorted by node
    return torch.cat([function(beta[into]) for into in rows])
