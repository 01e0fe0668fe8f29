"""Several networks of NAS-Bench-201 computed side by side, their channels stacked: small ones cost less together.

The network of each cell is that of :class:`robustnas.networks.DiscreteNetwork`, with its weights; nothing passes from
one network to another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from grouped_conv import grouped_conv2d
from torch import Tensor, nn

from robustnas.networks import DiscreteNetwork
from robustnas.networks.operations import average_pool
from robustnas.spaces import Genotype

STAGES = 3
NODES = 4
CONVOLUTIONS = ("nor_conv_1x1", "nor_conv_3x3")
FREE = ("skip_connect", "avg_pool_3x3")


class Place(NamedTuple):
    """An edge of one of the networks, by the node that it enters and the network."""

    node: int
    network: int

    def name(self, source: int, operation: str) -> str:
        """The edge in :meth:`DiscreteNetwork.edgewise_state_dict`."""
        return f"edge.{source}-{self.node}.{operation}"


class StackedConv(nn.Module):
    """Convolution of the channels of each network, and BatchNorm."""

    def __init__(self, states: Sequence[dict[str, Tensor]], names: Sequence[str], stride: int = 1) -> None:
        super().__init__()
        kernels = [state.get(f"{name}.conv", state.get(name)) for state, name in zip(states, names, strict=True)]
        self.groups, self.stride = len(kernels), stride
        self.weight = nn.Parameter(torch.cat(kernels))
        self.bn = None if names[0].endswith("downsample") else StackedNorm(states, [f"{name}.bn" for name in names])

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, networks * channels, h, w]``; the images of a stem are those of all networks."""
        stem = x.shape[1] == 1
        if x.is_cuda and not stem:
            x = grouped_conv2d(x, self.weight, self.stride, self.groups)
        else:
            if x.is_cpu and x.shape[-1] > 6:
                x = x.contiguous(memory_format=torch.channels_last)
            groups = 1 if stem else self.groups
            x = F.conv2d(x, self.weight, None, self.stride, self.weight.shape[-1] // 2, 1, groups)
        return x if self.bn is None else self.bn(x)


class StackedNorm(nn.BatchNorm2d):
    """BatchNorm of all channels, with the scales and offsets of the networks."""

    def __init__(self, states: Sequence[dict[str, Tensor]], names: Sequence[str]) -> None:
        pairs = list(zip(states, names, strict=True))
        super().__init__(sum(len(state[f"{name}.weight"]) for state, name in pairs))
        for key in ("weight", "bias", "running_mean", "running_var"):
            getattr(self, key).data = torch.cat([state[f"{name}.{key}"] for state, name in pairs]).clone()


class StackedEdges(nn.Module):
    """One kind of convolution on all edges that leave a state, in all networks."""

    def __init__(
        self, states: Sequence[dict[str, Tensor]], cell: str, source: int, operation: str, places: list[Place]
    ) -> None:
        super().__init__()
        names = [f"{cell}.{place.name(source, operation)}" for place in places]
        self.conv = StackedConv([states[place.network] for place in places], names)
        self.ends = Ends(places)

    def forward(self, x: Tensor, nodes: list[Tensor | None]) -> None:
        """Add the outputs to the nodes; ``x`` and nodes are ``[batch, networks, channels, h, w]``."""
        out = self.conv(x.index_select(1, self.ends.networks).flatten(1, 2))
        self.ends(out.unflatten(1, (len(self.ends.networks), -1)), nodes, x)


class Ends(nn.Module):
    """Where the outputs of edges go, which are ordered by the node that they enter."""

    networks: Tensor

    def __init__(self, places: list[Place]) -> None:
        super().__init__()
        self.counts = sorted(Counter(place.node for place in places).items())
        self.register_buffer("networks", torch.tensor([place.network for place in places]))

    def forward(self, out: Tensor, nodes: list[Tensor | None], like: Tensor) -> None:
        """Add ``[batch, edges, ...]`` to the sums of the nodes."""
        sizes = [count for _, count in self.counts]
        for (node, _), part, networks in zip(self.counts, out.split(sizes, 1), self.networks.split(sizes), strict=True):
            if (total := nodes[node]) is None:
                total = nodes[node] = torch.zeros_like(like, memory_format=torch.contiguous_format)
            total.index_add_(1, networks, part)


class StackedFree(nn.Module):
    """One kind of operation without weights on all edges that leave a state, computed once for a network."""

    entering: Tensor
    rows: Tensor

    def __init__(self, operation: str, places: list[Place]) -> None:
        super().__init__()
        entering = sorted({place.network for place in places})
        self.operation = operation
        self.ends = Ends(places)
        self.register_buffer("entering", torch.tensor(entering))
        self.register_buffer("rows", torch.tensor([entering.index(place.network) for place in places]))

    def forward(self, x: Tensor, nodes: list[Tensor | None]) -> None:
        """Add the outputs to the nodes; ``x`` and nodes are ``[batch, networks, channels, h, w]``."""
        if self.operation == "skip_connect":
            self.ends(x.index_select(1, self.ends.networks), nodes, x)
            return
        states = x.index_select(1, self.entering)
        pooled = average_pool(states.flatten(1, 2), 1).unflatten(1, states.shape[1:3])
        self.ends(pooled.index_select(1, self.rows), nodes, x)


class StackedCell(nn.Module):
    """The cells of one stage."""

    def __init__(self, states: Sequence[dict[str, Tensor]], genotypes: Sequence[Genotype], cell: str) -> None:
        super().__init__()
        self.edges = nn.ModuleDict()
        for source in range(NODES - 1):
            for operation in (*FREE, *CONVOLUTIONS):
                places = sorted(
                    Place(choice.node, network)
                    for network, genotype in enumerate(genotypes)
                    for choice in genotype.cells["cell"]
                    if (choice.source, choice.operation) == (source, operation)
                )
                if places and operation in FREE:
                    self.edges[f"{source}{operation}"] = StackedFree(operation, places)
                elif places:
                    self.edges[f"{source}{operation}"] = StackedEdges(states, cell, source, operation, places)

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, networks, channels, h, w]`` to the same shape."""
        nodes: list[Tensor | None] = [x, None, None, None]
        for source in range(NODES - 1):
            if (state := nodes[source]) is None:
                continue
            relu = F.relu(state)
            for operation in (*FREE, *CONVOLUTIONS):
                if f"{source}{operation}" in self.edges:
                    self.edges[f"{source}{operation}"](relu if operation in CONVOLUTIONS else state, nodes)
        return torch.zeros_like(x) if nodes[-1] is None else nodes[-1]


class StackedBlock(nn.Module):
    """The residual blocks before a stage."""

    def __init__(self, states: Sequence[dict[str, Tensor]], name: str) -> None:
        super().__init__()
        count = len(states)
        self.conv_a = StackedConv(states, [f"{name}.conv_a"] * count, stride=2)
        self.conv_b = StackedConv(states, [f"{name}.conv_b"] * count)
        self.downsample = StackedConv(states, [f"{name}.downsample"] * count)

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, networks * channels, h, w]`` to ``[batch, networks * 2 channels, h / 2, w / 2]``."""
        inner = self.conv_b(F.relu(self.conv_a(F.relu(x))))
        pooled = F.avg_pool2d(x, 2, 2, ceil_mode=True, count_include_pad=False)
        outer: Tensor = inner + self.downsample(pooled)
        return outer


class StackedNetworks(nn.Module):
    """The networks, with the weights that they have.

    Args:
        networks: Networks of NASBench201 of one size.
        cells: Their cells in each stage.
    """

    def __init__(self, networks: Sequence[DiscreteNetwork], cells: int = 1) -> None:
        super().__init__()
        states = [network.edgewise_state_dict() for network in networks]
        genotypes = [network.genotype for network in networks]
        self.count = len(networks)
        self.stem = StackedConv(states, ["stem"] * self.count)
        starts = range(0, STAGES * (cells + 1), cells + 1)
        self.stages = nn.ModuleList(
            nn.Sequential(*(StackedCell(states, genotypes, f"cells.{at}") for at in range(start, start + cells)))
            for start in starts
        )
        self.blocks = nn.ModuleList(StackedBlock(states, f"res.{start - 1}") for start in starts[1:])
        self.norm = StackedNorm(states, ["lastact.bn"] * self.count)
        self.weight = nn.Parameter(torch.stack([state["classifier.weight"] for state in states]))
        self.bias = nn.Parameter(torch.stack([state["classifier.bias"] for state in states]))

    def forward(self, images: Tensor) -> Tensor:
        """Logits of each network, ``[networks, batch, classes]``."""
        x = self.stem(images)
        for place, stage in enumerate(self.stages):
            if place:
                x = self.blocks[place - 1](x)
            x = stage(x.unflatten(1, (self.count, -1)).contiguous()).flatten(1, 2)
        features = F.relu(self.norm(x)).mean(dim=(2, 3)).unflatten(1, (self.count, -1)).transpose(0, 1)
        return torch.baddbmm(self.bias[:, None], features, self.weight.transpose(1, 2))
