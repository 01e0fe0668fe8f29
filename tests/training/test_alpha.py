"""Which columns of α stand for what."""

from __future__ import annotations

import torch

from robustnas.spaces import CellSpace, Edge, SearchSpace
from robustnas.training.architecture_parameters import candidate_mask, zero_mask

EDGES = (
    Edge(0, 1, ("skip_connect", "none", "nor_conv_1x1")),
    Edge(0, 2, ("none",)),
    Edge(1, 2, ("nor_conv_1x1", "noise")),
)


def test_candidates_and_those_that_give_nothing_are_found() -> None:
    space = SearchSpace("Uneven", {"cell": CellSpace(1, EDGES, (2,))}, skeleton="nasbench201")
    assert torch.equal(
        candidate_mask(space)["cell"].int(), torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0]], dtype=torch.int)
    )
    assert torch.equal(zero_mask(space)["cell"].int(), torch.tensor([[0, 1, 0], [1, 0, 0], [0, 0, 0]], dtype=torch.int))
