"""Which network an evaluation trains."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from robustnas.networks import DiscreteNetwork
from robustnas.networks import ResNet as ResNetNetwork
from robustnas.networks.blocks import Stem
from robustnas.runs.record import read_genotype
from robustnas.runtime.paths import expand
from robustnas.spaces import Genotype, SearchSpace, find_space, live_choices
from robustnas.training.description import load
from robustnas.training.search import SearchModule


class Architecture(ABC):
    """An answer to which network is trained from scratch."""

    @abstractmethod
    def build(self, num_classes: int, image_channels: int) -> DiscreteNetwork | ResNetNetwork:
        """Build the network with fresh weights; ``ValueError`` where it cannot be found or built."""


@dataclass(frozen=True)
class Found(Architecture):
    """The network of a genotype.

    Args:
        genotype: A genotype as text, in any form that :func:`~robustnas.spaces.parse_genotype` reads, a file that holds
            one, or the folder of the run that found it.
        space: Search space of the genotype, by name or import path; ``None`` takes the one it names.
        channels: Channels of the first cells: 36 for CIFAR-10 and 48 for ImageNet in the DARTS paper.
        layers: Number of cells, in spaces with the DARTS skeleton (default 8; 20 and 14 in the paper).
        cells: Cells of each of the three stages, in NAS-Bench-201 (default 5).
        stem: ``cifar``, or ``imagenet`` to divide the resolution first, by 8 in the spaces of DARTS.
        auxiliary: Whether an auxiliary head takes part in training.
        inherit_from: Checkpoint of a search whose supernet, of the same size, hands its weights down.
    """

    genotype: str
    space: str | None = None
    channels: int = 36
    layers: int | None = None
    cells: int | None = None
    stem: Stem = "cifar"
    auxiliary: bool = False
    inherit_from: str | None = None

    def build(self, num_classes: int, image_channels: int) -> DiscreteNetwork:
        given = find_space(self.space) if self.space else None
        genotype = read_genotype(self.genotype, given)
        check_connected(given or find_space(genotype.space), genotype)
        network = DiscreteNetwork(
            given or find_space(genotype.space), genotype, self.channels, self.layers, self.cells, num_classes,
            image_channels, self.stem, auxiliary=self.auxiliary,
        )  # fmt: skip
        if self.inherit_from is not None:
            supernet = load(expand(self.inherit_from, "inherit_from"), SearchModule).supernet
            network.load_edgewise_state_dict(supernet.edgewise_state_dict(), strict=False)
        return network


def check_connected(space: SearchSpace, genotype: Genotype) -> None:
    """Refuse a genotype in whose space nodes may keep fewer edges, if in a kind of cell none leads to the output."""
    for kind, cell in genotype.validate(space).cells.items():
        if space.cells[kind].fewer and not live_choices(space, genotype, kind):
            raise ValueError(
                f"Expected `genotype` to lead from an input to the output in every kind of cell, but the {kind} cell "
                f"has {len(cell)} edges, none of which does, and its network would learn nothing of the images: lower "
                "the threshold of the selection, or search for more epochs."
            )


@dataclass(frozen=True)
class ResNet(Architecture):
    """A plain residual network, the baseline to beat.

    Args:
        channels: Channels of the first of three stages.
        blocks: Residual blocks of a stage.
    """

    channels: int = 16
    blocks: int = 3

    def build(self, num_classes: int, image_channels: int) -> ResNetNetwork:
        return ResNetNetwork(self.channels, self.blocks, num_classes, image_channels)
