"""The supernet: a function of images and mixtures that owns weights and never α."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from robustnas.networks.blocks import Stem
from robustnas.networks.bundle import Form
from robustnas.networks.cell import Candidate, CellOptions, Weights
from robustnas.networks.connection import Connection, Full
from robustnas.networks.edgewise import Edgewise
from robustnas.networks.mixture import Mixture
from robustnas.networks.mobile import MobileSkeleton
from robustnas.networks.normalisation import BundleNorm
from robustnas.networks.size import check_depth, check_weights
from robustnas.networks.skeleton import DARTSSkeleton, NASBench201Skeleton, Skeleton, norms
from robustnas.spaces import SearchSpace, find_space


class Supernet(Edgewise):
    r"""All architectures of a space in one network.

    Every edge computes :math:`\sum_k a_k\, o_k(x)`, with the weights :math:`a` given at each call. The
    operations of all edges that leave a state are computed together, and the weight of an operation is the
    scale of its BatchNorm; the result is that of the edges one by one.

    Args:
        space: The search space or its name.
        channels: Channels of the first cells, or of the first convolution in mobile spaces.
        layers: Number of cells, in spaces with the DARTS skeleton (default 8).
        cells: Cells of each of the three stages, in NAS-Bench-201 (default 5).
        num_classes: Outputs of the classifier.
        image_channels: Channels of the images.
        stem: ``cifar``, or ``imagenet`` for large images (DARTS and mobile skeletons only).
        affine: Whether BatchNorm inside cells learns a scale and an offset; in mobile spaces it always does.
        batch_statistics: Whether evaluation normalises by the batch, not by running statistics.
        form: How separable convolutions are computed: ``separable``, ``dense``, or ``auto`` by device,
            precision and channels.
        channels_last: Memory format of the images; ``None`` chooses what is fast on the device.
        checkpointing: Whether activations of cells are computed again in the backward pass, to save memory.

        connection: Which channels of a state pass through the operations of an edge.

    Raises:
        ValueError: If an argument does not fit the space or the connection.
    """

    def __init__(
        self,
        space: SearchSpace | str,
        channels: int = 16,
        layers: int | None = None,
        cells: int | None = None,
        num_classes: int = 10,
        image_channels: int = 3,
        stem: Stem = "cifar",
        affine: bool = False,
        batch_statistics: bool = False,
        form: Form = "auto",
        channels_last: bool | None = None,
        checkpointing: bool = False,
        connection: Connection = Full(),
    ) -> None:
        super().__init__()
        self.space = find_space(space)
        self.form, self.channels_last = form, channels_last
        options = CellOptions(affine, self.space.skeleton == "darts", form, connection)
        self.body = build_skeleton(
            self.space, all_candidates(self.space), channels, layers, cells, num_classes, image_channels, stem, False,
            options, checkpointing,
        )  # fmt: skip
        for norm in norms(self.body):
            if isinstance(norm, BundleNorm):
                norm.batch_statistics = batch_statistics

    def forward(self, images: Tensor, mixtures: Mapping[str, Mixture], drop_path: float = 0.0) -> Tensor:
        """Classify images with weighted operations.

        Args:
            images: ``[batch, image_channels, h, w]``.
            mixtures: Kind of cell to its mixture.
            drop_path: In training, probability that the output of an edge is dropped for a sample.

        Returns:
            Logits, ``[batch, num_classes]``.

        Raises:
            ValueError: If mixtures or images have another shape than the network wants.
        """
        if set(mixtures) != set(self.space.cells):
            raise ValueError(f"Expected `mixtures` for the cells {list(self.space.cells)}, but got {list(mixtures)}.")
        weights = {kind: Weights(mixtures[kind].validate(kind, cell)) for kind, cell in self.space.cells.items()}
        logits: Tensor = self.body(in_format(images, self.channels_last), weights, drop_path)[0]
        return logits


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
    space: SearchSpace,
    candidates: Mapping[str, list[Candidate]],
    channels: int,
    layers: int | None,
    cells: int | None,
    num_classes: int,
    image_channels: int,
    stem: Stem,
    auxiliary: bool,
    options: CellOptions,
    checkpointing: bool,
) -> Skeleton:
    """Build the skeleton of a space.

    Args:
        space: The search space.
        candidates: Operations of each kind of cell.
        channels: Channels of the first cells.
        layers: Number of cells, for the DARTS skeleton.
        cells: Cells of a stage, for the NAS-Bench-201 skeleton.
        num_classes: Outputs of the classifier.
        image_channels: Channels of the images.
        stem: ``cifar`` or ``imagenet``.
        auxiliary: Whether there is an auxiliary head.
        options: How operations are built.
        checkpointing: Whether activations of cells are computed again in the backward pass.

    Returns:
        The skeleton.

    Raises:
        ValueError: If an argument does not fit the space.
    """
    for name, value in (("channels", channels), ("num_classes", num_classes), ("image_channels", image_channels)):
        if value < 1:
            raise ValueError(f"Expected `{name}` to be at least 1, but got {value}.")
    build: Callable[..., Skeleton]
    if space.skeleton == "mobile":
        for name, depth in (("layers", layers), ("cells", cells)):
            if depth is not None:
                raise ValueError(f"Expected the space {space.name} to set the depth, but got `{name}` = {depth}.")
        if auxiliary:
            raise ValueError(f"Expected no `auxiliary` head in the space {space.name}.")
        build = partial(MobileSkeleton, space, candidates, channels, num_classes, image_channels, stem)
    else:
        build = _of_cells(space, candidates, channels, layers, cells, num_classes, image_channels, stem, auxiliary)
    complete = partial(build, options=options, checkpointing=checkpointing)
    check_weights(channels, num_classes, complete)
    return complete()


def _of_cells(
    space: SearchSpace,
    candidates: Mapping[str, list[Candidate]],
    channels: int,
    layers: int | None,
    cells: int | None,
    num_classes: int,
    image_channels: int,
    stem: Stem,
    auxiliary: bool,
) -> Callable[..., Skeleton]:
    """What builds the skeleton of a space whose depth is an argument."""
    depth, other = (layers, cells) if space.skeleton == "darts" else (cells, layers)
    wanted, wrong = ("layers", "cells") if space.skeleton == "darts" else ("cells", "layers")
    if other is not None:
        raise ValueError(
            f"Expected `{wanted}` to set the depth in the space {space.name}, but got `{wrong}` = {other}."
        )
    if depth is not None and depth < (3 if space.skeleton == "darts" else 1):
        raise ValueError(f"Expected the depth to be at least 3 `layers` or 1 of `cells`, but got {depth}.")
    check_depth(wanted, depth or 0)
    if space.skeleton == "darts":
        layers = 8 if depth is None else depth
        return partial(DARTSSkeleton, space, candidates, channels, layers, num_classes, image_channels, stem, auxiliary)
    if stem != "cifar" or auxiliary:
        raise ValueError(f"Expected `stem` 'cifar' and no `auxiliary` head in the space {space.name}.")
    cells = 5 if depth is None else depth
    return partial(NASBench201Skeleton, space, candidates, channels, cells, num_classes, image_channels)


def in_format(images: Tensor, channels_last: bool | None) -> Tensor:
    """Images in the memory format that is asked for, or else in the one that is fast on their device."""
    if images.dim() != 4:
        return images  # for the skeleton to refuse
    last = images.is_cpu if channels_last is None else channels_last
    return images.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
