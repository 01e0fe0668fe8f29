"""Architecture parameters: α, a matrix ``[edges, operations]`` for each kind of cell, and β, a vector ``[edges]``."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustnas.spaces import CellSpace, SearchSpace


def initial(space: SearchSpace, deviation: float, edge_weights: bool) -> tuple[nn.ParameterDict, nn.ParameterDict]:
    """α and β at the start of a search, drawn from a normal distribution.

    Args:
        space: The search space.
        deviation: Standard deviation.
        edge_weights: Whether there is a β.

    Returns:
        α and β by kind of cell; the second is empty where there is none.
    """
    alphas = {kind: nn.Parameter(deviation * torch.randn(cell.shape)) for kind, cell in space.cells.items()}
    weighed = space.cells.items() if edge_weights else ()
    betas = {kind: nn.Parameter(deviation * torch.randn(len(cell.edges))) for kind, cell in weighed}
    return nn.ParameterDict(alphas), nn.ParameterDict(betas)


def candidate_mask(space: SearchSpace) -> dict[str, Tensor]:
    """Which columns of α stand for a candidate, by kind of cell: boolean ``[edges, operations]``."""
    widths = {kind: torch.tensor([[len(edge.operations)] for edge in cell.edges]) for kind, cell in space.cells.items()}
    return {kind: torch.arange(cell.shape[1]) < widths[kind] for kind, cell in space.cells.items()}


def zero_mask(space: SearchSpace) -> dict[str, Tensor]:
    """Which candidates are called ``none`` and give nothing, by kind of cell: boolean ``[edges, operations]``."""
    found = {kind: torch.zeros(cell.shape, dtype=torch.bool) for kind, cell in space.cells.items()}
    for kind, cell in space.cells.items():
        for row, edge in enumerate(cell.edges):
            found[kind][row, : len(edge.operations)] = torch.tensor([name == "none" for name in edge.operations])
    return found


def masked(alpha: Tensor, active_mask: Tensor) -> Tensor:
    """α of a kind of cell, minus infinity at what is not kept, except on edges that keep nothing."""
    gone = ~active_mask & active_mask.any(dim=-1, keepdim=True)
    return alpha.masked_fill(gone.to(alpha.device), -torch.inf)


def edge_weights(cell: CellSpace, beta: Tensor) -> Tensor:
    """Weights of edges, ``[edges]``: a softmax of β over the edges that enter a node."""
    rows = [[row for row, _ in cell.edges_into(node)] for node in cell.nodes]  # edges are sorted by node
    return torch.cat([beta[into].softmax(dim=0) for into in rows])
