"""Weights have one name on each edge, however they are stacked."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from references import ReferenceSupernet

from robustnas.networks import Mixture, Supernet
from robustnas.spaces import DARTS, S1, DARTSSingleCell, NASBench201, SearchSpace


def small(space: SearchSpace) -> Supernet:
    depth: dict[str, Any] = {str(space.rules.depth): space.rules.least_depth}
    return Supernet(space, channels=2, **depth)


@pytest.mark.parametrize("space", [DARTS, S1, DARTSSingleCell, NASBench201], ids=lambda space: space.name)
def test_weights_and_statistics_come_back_as_they_went(space: SearchSpace) -> None:
    first, second = small(space), small(space)
    mixtures = {kind: Mixture(torch.rand(cell.shape)) for kind, cell in space.cells.items()}
    images = torch.randn(4, 3, 8, 8)
    first(images, mixtures)  # moves the running statistics
    second.load_edgewise_state_dict(first.edgewise_state_dict())
    for name, value in first.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(second.state_dict()[name], value), name
    assert torch.equal(second.eval()(images, mixtures), first.eval()(images, mixtures))


@pytest.mark.parametrize("space", [DARTS, S1, DARTSSingleCell, NASBench201], ids=lambda space: space.name)
def test_names_and_shapes_are_those_of_edges_one_by_one(space: SearchSpace) -> None:
    depth: dict[str, Any] = {str(space.rules.depth): space.rules.least_depth}
    reference = {
        name: weight.shape for name, weight in ReferenceSupernet(space, 2, **depth).edgewise_state_dict().items()
    }
    own = {name: value.shape for name, value in small(space).edgewise_state_dict().items()}
    assert own.items() >= reference.items()
    assert all(name.rpartition(".")[2].startswith("running_") for name in own.keys() - reference.keys())


def test_every_weight_has_exactly_one_place() -> None:
    network = small(DARTS)
    numbers = torch.arange(sum(weight.numel() for weight in network.parameters()), dtype=torch.float64)
    pieces = numbers.split([weight.numel() for weight in network.parameters()])
    numbered = {
        name: piece.view_as(weight) for (name, weight), piece in zip(network.named_parameters(), pieces, strict=True)
    }
    found = torch.cat([value.flatten() for value in network.edgewise_state_dict(of=numbered).values()])
    assert torch.equal(found.sort().values, numbers)


def test_loading_copies_into_one_edge_only() -> None:
    network = small(DARTS)
    before = {name: value.clone() for name, value in network.edgewise_state_dict().items()}
    name = "cells.0.edge.0-3.sep_conv_5x5.dw2"
    network.load_edgewise_state_dict({name: torch.full_like(before[name], 7)}, strict=False)
    after = network.edgewise_state_dict()
    assert (after[name] == 7).all()
    assert all(torch.equal(after[other], before[other]) for other in after if other != name)


def test_what_is_missing_unknown_or_misshapen_is_refused() -> None:
    network = small(S1)
    state = network.edgewise_state_dict()
    with pytest.raises(ValueError, match=r"0 are missing \(\) and 1 are unknown \(cells\.9\.wing\)"):
        network.load_edgewise_state_dict({**state, "cells.9.wing": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"Expected `stem\.conv` to have the shape .* but got"):
        network.load_edgewise_state_dict({**state, "stem.conv": torch.zeros(1)})
    statistics = {name for name in state if "running" in name}
    network.load_edgewise_state_dict({name: state[name] for name in state.keys() - statistics})
    del state["stem.conv"]
    with pytest.raises(ValueError, match=r"1 are missing \(stem\.conv\)"):
        network.load_edgewise_state_dict(state)
    network.load_edgewise_state_dict(state, strict=False)
