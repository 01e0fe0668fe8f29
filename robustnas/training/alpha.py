"""Architecture parameters: α, a matrix ``[edges, operations]`` for each kind of cell, and β, a vector ``[edges]``."""

from __future__ import annotations

from collections.abc import Mapping

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


def legal(space: SearchSpace, alphas: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """α by kind of cell, minus infinity where an edge has fewer candidates than others."""
    masked = {}
    for kind, cell in space.cells.items():
        widths = torch.tensor([len(edge.operations) for edge in cell.edges], device=alphas[kind].device)
        columns = torch.arange(cell.shape[1], device=widths.device)
        masked[kind] = alphas[kind].masked_fill(columns >= widths[:, None], -torch.inf)
    return masked


def edge_weights(cell: CellSpace, beta: Tensor) -> Tensor:
    """Weights of edges, ``[edges]``: a softmax of β over the edges that enter a node."""
    rows = [[row for row, _ in cell.edges_into(node)] for node in cell.nodes]  # edges are sorted by node
    return torch.cat([beta[into].softmax(dim=0) for into in rows])
