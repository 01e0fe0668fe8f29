"""Weights of operations that a step left out stay as they are: neither momentum nor weight decay moves them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from robustnas.networks import Mixture, Supernet
from robustnas.networks.cell import Cell
from robustnas.networks.mobile import Block

Slices = list[int]


@contextmanager
def frozen_operations(
    supernet: Supernet, mixtures: Mapping[str, Mixture], optimizer: torch.optim.Optimizer
) -> Iterator[None]:
    """Have the optimiser step inside leave alone whatever belongs only to operations that were not computed."""
    parts: list[tuple[nn.Parameter, Slices, Tensor, dict[str, Tensor]]] = []
    for parameter, slices in _at_rest(supernet, mixtures):
        if slices is None:
            parameter.grad = None  # the optimiser passes it over
        else:  # an index by a list makes copies
            held = {name: tensor[slices] for name, tensor in _held(parameter, optimizer).items()}
            parts.append((parameter, slices, parameter.detach()[slices], held))
    yield
    with torch.no_grad():
        for parameter, slices, value, held in parts:
            parameter[slices] = value
            for name, tensor in _held(parameter, optimizer).items():
                tensor[slices] = held.get(name, torch.zeros_like(value))  # zero: momentum of what never moved


def _held(parameter: nn.Parameter, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What the optimiser holds of every element of a parameter, such as its momentum."""
    state = optimizer.state.get(parameter, {})
    return {name: x for name, x in state.items() if isinstance(x, Tensor) and x.shape == parameter.shape}


def _at_rest(supernet: Supernet, mixtures: Mapping[str, Mixture]) -> Iterator[tuple[nn.Parameter, Slices | None]]:
    """Parameters of operations that were not computed, with the slices that rest; ``None`` for all of them."""
    for cell, weights in zip(supernet.body.ordered_cells(), supernet.cell_weights(mixtures), strict=True):
        assert isinstance(cell, Cell | Block)
        for bundle in cell.stacked:
            computed = [weights.active(one.row, one.column) for one in bundle.candidates]
            for name, parameter in bundle.operation.named_parameters() if not all(computed) else ():
                places = [bundle.operation.edgewise(name, position) for position in range(len(computed))]
                used = {place[1] for place, now in zip(places, computed, strict=True) if place is not None and now}
                slices = {place[1] for place in places if place is not None} - used
                if not used:
                    yield parameter, None
                elif slices:
                    yield parameter, [index for index in slices if index is not None]
