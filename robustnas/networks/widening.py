"""Operations of a supernet that grow to more channels: weights, statistics and momentum are copied."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from robustnas.networks.connection import Connection
from robustnas.networks.supernet import Supernet

State = Mapping[str, Tensor]


def grow(tensor: Tensor, outgoing: Tensor, entering: Tensor | None = None, divide: bool = False) -> Tensor:
    r"""Return a weight ``[out, in, ...]`` or statistics ``[out]`` with channels copied by indices of the old ones.

    With ``divide`` the copies of an input channel share its weight: each is divided by their number. A convolution then
    gives on channels :math:`x_{m(i)}` what it gave on :math:`x`, its output channels copied (arXiv:1511.05641).
    """
    grown = tensor[outgoing.to(tensor.device)]
    if entering is None:
        return grown
    grown = grown[:, entering.to(tensor.device)]
    copies = entering.bincount()[entering].to(grown) if divide else None
    return grown if copies is None else grown / copies.reshape(1, -1, *[1] * (grown.dim() - 2))


class Growth:
    """Which channels are copied: for each cell one map from new to old channels for each number of them.

    The old channels stay where they are; each new one copies an old one, drawn with equal probability. All operations
    of a cell share the map, and so on channels that are copied by it each gives what it gave, copied.
    """

    def __init__(self, before: State, after: State, generator: torch.Generator) -> None:
        self.before = {name: tensor.shape for name, tensor in before.items()}
        self.after = {name: tensor.shape for name, tensor in after.items()}
        self.generator = generator
        self.maps: dict[tuple[str, int, int], Tensor] = {}
        growing = [name for name in before if self.before[name] != self.after[name]]
        self.maps_of = {name: self._maps_of(name) for name in growing}  # drawn in the order of names

    def __call__(self, state: State, divide: bool) -> dict[str, Tensor]:
        """Weights, statistics or momentum by edgewise name, grown."""
        return {n: grow(one, *self.maps_of[n], divide) if n in self.maps_of else one for n, one in state.items()}

    def _maps_of(self, name: str) -> tuple[Tensor, Tensor | None]:
        before, after = self.before[name], self.after[name]
        cell, _, rest = name.partition(".edge.")
        halves = [f"{cell}.edge.{rest.partition('.bn.')[0]}.conv{number}" for number in (1, 2)]
        sizes = [(self.before[half][0], self.after[half][0]) for half in halves if half in self.before]
        if ".bn." in rest and sum(size for size, _ in sizes) == before[0]:  # a factorised reduction
            (first, _), _ = sizes
            one, other = (self._map(cell, *size) for size in sizes)
            return torch.cat([one, other + first]), None
        same = len(before) < 2 or before[1] == after[1]
        return self._map(cell, before[0], after[0]), None if same else self._map(cell, before[1], after[1])

    def _map(self, cell: str, before: int, after: int) -> Tensor:
        if (cell, before, after) not in self.maps:
            drawn = torch.randint(before, (after - before,), generator=self.generator)
            self.maps[cell, before, after] = torch.cat([torch.arange(before), drawn])
        return self.maps[cell, before, after]


@torch.no_grad()
def widen(supernet: Supernet, connection: Connection, generator: torch.Generator, divide: bool) -> Growth:
    """Return how operations have grown once more channels pass through them.

    The cells are built anew: parameters before and after are other tensors.
    """
    held, before = supernet.body.state_dict(), supernet.edgewise_state_dict()
    supernet.rebuild(connection)
    for name, tensor in supernet.body.state_dict().items():
        if tensor.shape == held[name].shape:
            tensor.copy_(held[name])
    after = supernet.edgewise_state_dict()
    growth = Growth(before, after, generator)
    for name, tensor in growth(before, divide).items():
        after[name].copy_(tensor)
    return growth
