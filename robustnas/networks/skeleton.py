"""Skeletons: how cells are stacked between a stem and a classifier."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from functools import partial
from itertools import repeat
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from robustnas.networks.batchnorm_statistics import frozen_batchnorm_statistics
from robustnas.networks.blocks import AuxiliaryHead, ResidualBlock, conv_norm, imagenet_stem
from robustnas.networks.cell import Candidate, Cell, MixtureWeights
from robustnas.networks.config import SupernetConfig
from robustnas.spaces import SearchSpace

Candidates = Mapping[str, Sequence[Candidate]]


class Skeleton(nn.Module, ABC):
    """Stem, cells and classifier of a network.

    ``class Mine(Skeleton, name="mine")`` builds the networks of spaces with the skeleton ``mine``, whose rules
    :func:`~robustnas.spaces.register_skeleton` makes known. Its constructor takes the space, the candidates of each
    kind of cell, and a :class:`SupernetConfig`.

    Attributes:
        classifier: The last layer, on the mean of the last feature map over its pixels.
        cells: The cells, in the order in which they are computed.
        kinds: Kind of each cell, in the same order.
        shrink: What the network divides the size of images by.
        auxiliary_heads: Whether the constructor takes ``auxiliary``, an auxiliary head.
    """

    builders: ClassVar[dict[str, type[Skeleton]]] = {}
    classifier: nn.Module
    cells: nn.ModuleList | nn.ModuleDict
    kinds: list[str]
    shrink: int
    auxiliary_heads: ClassVar[bool] = False

    def __init_subclass__(cls, name: str | None = None, **options: Any) -> None:
        super().__init_subclass__(**options)
        if name is not None:
            Skeleton.builders[name] = cls

    def __init__(self, config: SupernetConfig) -> None:
        super().__init__()
        self.image_channels, self.checkpointing = config.image_channels, config.checkpointing

    def forward(
        self, images: Tensor, weights: Sequence[MixtureWeights] | None, drop_path: float = 0.0
    ) -> tuple[Tensor, Tensor | None]:
        """Outputs of the classifier and of the auxiliary head, if any; ``weights`` has those of each cell in order."""
        features, auxiliary = self.features(images, weights, drop_path)
        return self.classifier(features.mean(dim=(2, 3))), auxiliary

    @abstractmethod
    def features(
        self,
        images: Tensor,
        weights: Sequence[MixtureWeights] | None,
        drop_path: float = 0.0,
        maps: list[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """The last feature map, ``[batch, features, h, w]``, and the output of the auxiliary head, if any.

        The output of the stem and of each cell, in order, is appended to ``maps``.
        """

    def ordered_cells(self) -> list[nn.Module]:
        """The cells in the order of ``kinds``."""
        return list(self.cells.values() if isinstance(self.cells, nn.ModuleDict) else self.cells)

    def check(self, images: Tensor) -> None:
        """Refuse images of a wrong shape."""
        if images.dim() != 4 or images.shape[1] != self.image_channels:
            raise ValueError(
                f"Expected `images` to be [batch, {self.image_channels}, height, width], but got {list(images.shape)}."
            )
        if min(images.shape[-2:]) < self.shrink:
            raise ValueError(
                f"Expected `images` to be at least {self.shrink} x {self.shrink} pixels, since the network divides "
                f"their size by {self.shrink}, but got {images.shape[-2]} x {images.shape[-1]}."
            )

    def run(
        self, cell: nn.Module, inputs: Sequence[Tensor], weights: MixtureWeights | None, drop_path: float
    ) -> Tensor:
        """Compute a cell, keeping its activations or not."""
        given = (inputs, weights, drop_path)
        output: Tensor
        if self.checkpointing and torch.is_grad_enabled():
            # parameters are those of a functional call, which is over when the cell computes again
            compute = partial(functional_call, cell, dict(cell.named_parameters()))
            again = _FrozenStatistics(cell)
            output = checkpoint(compute, given, use_reentrant=False, context_fn=lambda: (nullcontext(), again))
        else:
            output = cell(*given)
        return output


class _FrozenStatistics(AbstractContextManager[None]):
    """Frozen statistics that can be entered again: each of several backward passes computes the cell anew."""

    def __init__(self, cell: nn.Module) -> None:
        self.cell, self.stack = cell, ExitStack()
        # what is computed anew has to leave the tensors that the first pass left
        self.derived_twice = any(getattr(module, "derived_twice", False) for module in cell.modules())

    def __enter__(self) -> None:
        self.stack.enter_context(frozen_batchnorm_statistics(self.cell, self.derived_twice))

    def __exit__(self, *error: object) -> None:
        self.stack.close()


class DARTSSkeleton(Skeleton, name="darts"):
    """Cells that see the two before them; those at one and two thirds of the depth halve the resolution."""

    cells: nn.ModuleList
    auxiliary_heads = True

    def __init__(
        self,
        space: SearchSpace,
        candidates: Candidates,
        config: SupernetConfig = SupernetConfig(),
        auxiliary: bool = False,
    ) -> None:
        super().__init__(config)
        channels, layers = config.channels, config.layers or space.rules.default_depth
        reductions = self.reductions(layers)
        self.shrink = 2 ** len(reductions) * (8 if config.stem == "imagenet" else 1)
        if config.stem == "imagenet":
            self.stem0, self.stem1 = imagenet_stem(config.image_channels, channels)
            before, last, reduced = channels, channels, True
        else:
            self.stem = conv_norm(config.image_channels, 3 * channels)
            before, last, reduced = 3 * channels, 3 * channels, False
        self.cells = nn.ModuleList()
        self.kinds = ["reduce" if k in reductions else "normal" for k in range(layers)]
        self.auxiliary_at = 2 * layers // 3 if auxiliary else -1
        for k, kind in enumerate(self.kinds):
            channels *= 2 if kind == "reduce" else 1
            preprocess = [("skip_connect", 2) if reduced else ("nor_conv_1x1", 1), ("nor_conv_1x1", 1)]
            self.cells.append(Cell(space.cells[kind], candidates[kind], (before, last), channels, preprocess, config))
            before, last, reduced = last, channels * len(space.cells[kind].outputs), kind == "reduce"
            if k == self.auxiliary_at:
                self.auxiliary = AuxiliaryHead(last, config.num_classes, config.stem)
        self.classifier = nn.Linear(last, config.num_classes)

    @staticmethod
    def reductions(layers: int) -> set[int]:
        """Which of so many cells are reduction cells."""
        return {layers // 3, 2 * layers // 3}

    def features(
        self,
        images: Tensor,
        weights: Sequence[MixtureWeights] | None,
        drop_path: float = 0.0,
        maps: list[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        self.check(images)
        s0 = s1 = self.stem(images) if hasattr(self, "stem") else self.stem0(images)
        if hasattr(self, "stem1"):
            s1 = self.stem1(s0)
        if maps is not None:
            maps += [s0, s1]
        auxiliary = None
        for k, cell in enumerate(self.ordered_cells()):
            s0, s1 = s1, self.run(cell, (s0, s1), None if weights is None else weights[k], drop_path)
            if maps is not None:
                maps.append(s1)
            if k == self.auxiliary_at and self.training:
                auxiliary = self.auxiliary(s1)
        return s1, auxiliary


class DARTSNormalSkeleton(DARTSSkeleton, name="darts_normal"):
    """Normal cells only, one or more, which see the two before them and keep the resolution and the channels."""

    @staticmethod
    def reductions(layers: int) -> set[int]:
        return set()


class NASBench201Skeleton(Skeleton, name="nasbench201"):
    """Three stages of equal cells, joined by residual blocks that halve the resolution and double the channels."""

    cells: nn.ModuleDict
    shrink = 4

    def __init__(self, space: SearchSpace, candidates: Candidates, config: SupernetConfig = SupernetConfig()) -> None:
        super().__init__(config)
        if config.stem != "cifar":
            raise ValueError(f"Expected `stem` to be 'cifar' in the space {space.name}, but got {config.stem!r}.")
        channels, config = config.channels, replace(config, pool_norm=False)
        self.stem = conv_norm(config.image_channels, channels)
        self.cells, self.res = nn.ModuleDict(), nn.ModuleDict()
        for stage in range(3):
            if stage:
                self.res[str(len(self.cells) + len(self.res))] = ResidualBlock(channels, 2 * channels)
                channels *= 2
            for _ in range(config.cells or space.rules.default_depth):
                cell = Cell(space.cells["cell"], candidates["cell"], (channels,), channels, (), config)
                self.cells[str(len(self.cells) + len(self.res))] = cell
        self.kinds = ["cell"] * len(self.cells)
        self.lastact = nn.Module()
        self.lastact.bn = nn.BatchNorm2d(channels)
        self.classifier = nn.Linear(channels, config.num_classes)

    def features(
        self,
        images: Tensor,
        weights: Sequence[MixtureWeights] | None,
        drop_path: float = 0.0,
        maps: list[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        self.check(images)
        x, cells = self.stem(images), iter(self.ordered_cells())
        if maps is not None:
            maps.append(x)
        of_cells: Iterator[MixtureWeights | None] = iter(weights) if weights is not None else repeat(None)
        for k in map(str, range(len(self.cells) + len(self.res))):
            x = self.res[k](x) if k in self.res else self.run(next(cells), (x,), next(of_cells), drop_path)
            if maps is not None:
                maps.append(x)
        return F.relu(self.lastact.bn(x)), None  # type: ignore[operator]
