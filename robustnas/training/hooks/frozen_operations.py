"""Weights of operations that rest stay as they are: neither momentum nor weight decay moves them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from robustnas.networks import Mixture, Supernet
from robustnas.networks.cell import Cell, EdgeOperation
from robustnas.networks.mobile import Block
from robustnas.training.search_hook import Resting


@contextmanager
def frozen_operations(resting: Iterable[Resting], optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Have the optimiser step inside leave alone what rests."""
    parts: list[tuple[nn.Parameter, list[int] | Tensor, Tensor, dict[str, Tensor]]] = []
    for parameter, slices in resting:
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


def not_computed(supernet: Supernet, mixtures: Mapping[str, Mixture]) -> Iterator[Resting]:
    """What belongs only to operations that a step does not compute."""
    for cell, weights in zip(supernet.body.ordered_cells(), supernet.cell_weights(mixtures), strict=True):
        assert isinstance(cell, Cell | Block)
        for bundle in cell.stacked:
            yield from resting_in(bundle, [not weights.active(one.row, one.column) for one in bundle.candidates])


def resting_in(bundle: EdgeOperation, rests: Sequence[bool]) -> Iterator[Resting]:
    """What belongs only to those candidates of a bundle that rest."""
    for name, parameter in bundle.operation.named_parameters() if any(rests) else ():
        places = [bundle.operation.edgewise(name, position) for position in range(len(rests))]
        used = {place[1] for place, rest in zip(places, rests, strict=True) if place is not None and not rest}
        slices = {place[1] for place in places if place is not None} - used
        if not used:
            yield parameter, None
        elif slices:
            yield parameter, [index for index in slices if index is not None]
