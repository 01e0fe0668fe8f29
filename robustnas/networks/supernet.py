"""The supernet: a function of images and mixtures that owns weights and never α."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from robustnas.networks.cell import Candidate, Cell, MixtureWeights
from robustnas.networks.config import SupernetConfig, check_depth, check_weights
from robustnas.networks.connection import Connection
from robustnas.networks.edgewise import Edgewise
from robustnas.networks.mixture import Mixture
from robustnas.networks.mobile import MobileSkeleton as MobileSkeleton  # registers itself
from robustnas.networks.normalisation import BundleNorm
from robustnas.networks.skeleton import Candidates, Skeleton
from robustnas.spaces import SearchSpace, find_space


class Supernet(Edgewise):
    r"""All architectures of a space in one network.

    Every edge computes :math:`\sum_k a_k\, o_k(x)`, with the weights :math:`a` given at each call. The
    operations of all edges that leave a state are computed together, and the weight of an operation is the
    scale of its BatchNorm; the result is that of the edges one by one.

    ``size`` and ``fields`` are those of :class:`~robustnas.networks.SupernetConfig`, which may be given as ``config``
    instead.

    Raises:
        ValueError: If an argument does not fit the space or the connection.
    """

    def __init__(
        self, space: SearchSpace | str, *size: Any, config: SupernetConfig | None = None, **fields: Any
    ) -> None:
        super().__init__()
        self.space = find_space(space)
        self.config = SupernetConfig.of(config, *size, **fields)
        self._build()

    def _build(self) -> None:
        self.body = build_skeleton(self.space, all_candidates(self.space), self.config)
        if self.config.connection.auxiliary is not None:
            self._add_auxiliary(self.config.connection.auxiliary)
        for module in self.body.modules():
            if isinstance(module, BundleNorm):
                module.batch_statistics = self.config.batch_statistics

    def rebuild(self, connection: Connection) -> None:
        """Build the network anew for another connection, with weights that are to be loaded; others draw as before."""
        like, training = next(self.body.parameters()), self.training
        self.config = replace(self.config, connection=connection)
        with torch.random.fork_rng(devices=[]):
            self._build()
        self.body.to(like.device, like.dtype).train(training)

    def _add_auxiliary(self, name: str) -> None:
        """Build what the connection adds to the edges, by numbers of its own, so that all else is drawn as without."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**62, ())))
            for module in self.body.modules():
                if isinstance(module, Cell):
                    module.add_auxiliary(name, self.config)

    def forward(self, images: Tensor, mixtures: Mapping[str, Mixture], drop_path: float = 0.0) -> Tensor:
        """Return logits, ``[batch, num_classes]``, of images ``[batch, image_channels, h, w]``.

        Mixtures are named by kind of cell; one under the name of a cell, its kind and its place among all, such as
        ``normal.0``, counts for that cell alone. In training, ``drop_path`` is the probability that the output of an
        edge is dropped for a sample.

        Raises:
            ValueError: If mixtures or images have another shape than the network wants.
        """
        weights = self.cell_weights(mixtures)
        logits: Tensor = self.body(in_format(images, self.config.channels_last), weights, drop_path)[0]
        return logits

    def cell_weights(self, mixtures: Mapping[str, Mixture]) -> list[MixtureWeights]:
        """Weights of the candidates of each cell, in the order in which cells are computed; see :meth:`forward`."""
        names = [(f"{kind}.{place}", kind) for place, kind in enumerate(self.body.kinds)]
        used = [own if own in mixtures else kind for own, kind in names]
        if set(used) != set(mixtures) and set(mixtures) != set(self.space.cells):
            raise ValueError(f"Expected `mixtures` for the cells {list(self.space.cells)}, but got {list(mixtures)}.")
        weights = {}
        for name, mixture in mixtures.items():
            kind = name.partition(".")[0]
            weights[name] = MixtureWeights(mixture.validate(kind, self.space.cells[kind]))
        return [weights[name] for name in used]


def all_candidates(space: SearchSpace) -> dict[str, list[Candidate]]:
    """Every operation of a space with its place in α, by kind of cell."""
    return {
        kind: [
            Candidate(row, column, edge.source, edge.node, name)
            for row, edge in enumerate(cell.edges)
            for column, name in enumerate(edge.operations)
        ]
        for kind, cell in space.cells.items()
    }


def build_skeleton(
    space: SearchSpace, candidates: Candidates, config: SupernetConfig, auxiliary: bool = False
) -> Skeleton:
    """Build the skeleton of a space."""
    _check_depth(space, config)
    builder: Any = Skeleton.builders.get(space.skeleton)
    if builder is None:
        raise ValueError(f"Expected a subclass of `Skeleton` with the name {space.skeleton!r}, but none is known.")
    if auxiliary and not builder.auxiliary_heads:
        raise ValueError(f"Expected no `auxiliary` head in the space {space.name}, but got true.")
    build: Any = partial(builder, space, candidates, config, **({"auxiliary": True} if auxiliary else {}))
    check_weights(config.channels, config.num_classes, build)
    body: Skeleton = build()
    return body


def _check_depth(space: SearchSpace, config: SupernetConfig) -> None:
    """Refuse a depth by the argument of another skeleton, or out of range."""
    rules = space.rules
    for name in ("layers", "cells"):
        depth: int | None = getattr(config, name)
        if depth is None:
            continue
        if rules.depth is None:
            raise ValueError(f"Expected the space {space.name} to set the depth, but got `{name}` = {depth}.")
        if name != rules.depth:
            raise ValueError(
                f"Expected `{rules.depth}` to set the depth in the space {space.name}, but got `{name}` = {depth}."
            )
        if depth < rules.least_depth:
            raise ValueError(f"Expected `{name}` to be at least {rules.least_depth}, but got {depth}.")
        check_depth(name, depth)


def in_format(images: Tensor, channels_last: bool | None) -> Tensor:
    """Images in the memory format that is asked for, or else in the one that is fast on their device."""
    if images.dim() != 4:
        return images  # for the skeleton to refuse
    last = images.is_cpu if channels_last is None else channels_last
    return images.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
