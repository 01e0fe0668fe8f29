"""The skeleton of ProxylessNAS: a chain of blocks between a stem and a wide 1 x 1 convolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod

from torch import Tensor, nn

from robustnas.networks.blocks import Stem, conv_norm
from robustnas.networks.bundle import Bundle, State
from robustnas.networks.cell import Candidate, Drop, EdgeOperation, MixtureWeights, Sum
from robustnas.networks.config import SupernetConfig
from robustnas.networks.connection import Full
from robustnas.networks.operations import EPSILON, MBConv
from robustnas.networks.probe import probed
from robustnas.networks.skeleton import Candidates, Skeleton
from robustnas.spaces import SearchSpace

WIDTHS = (32, 16, 24, 40, 80, 96, 192, 320, 1280)  # stem, first block, stages, last convolution
# The paper's divide the resolution by 32; those for CIFAR by 8, as MobileNetV2's in github.com/kuangliu/pytorch-cifar.
STRIDES: Mapping[Stem, tuple[int, ...]] = {"imagenet": (2, 2, 2, 2, 1, 2, 1), "cifar": (1, 1, 2, 2, 1, 2, 1)}


class Block(nn.Module):
    """One edge of the chain: the sum of its operations and, where the shape stays the same, of its input."""

    def __init__(
        self,
        candidates: Sequence[Candidate],
        before: int,
        after: int,
        stride: int,
        residual: bool,
        config: SupernetConfig,
    ) -> None:
        super().__init__()
        self.after, self.stride, self.residual = after, stride, residual
        self.rows = sorted({candidate.row for candidate in candidates})
        self.edge = nn.ModuleList()
        bundle = config.bundle(1, before, after, stride)
        for candidate in candidates:
            if candidate.operation == "none":
                continue
            leaving = EdgeOperation(candidate.operation, [candidate], bundle)
            if before != after and not leaving.operation.widens:
                raise ValueError(
                    f"Expected the operations of {candidate.source}-{candidate.node}, where a stage starts, to turn "
                    f"{before} channels into {after}, but got {candidate.operation!r}, which cannot."
                )
            self.edge.append(leaving)

    @property
    def bundles(self) -> list[EdgeOperation]:
        """Every operation with its candidate."""
        return [module for module in self.edge if isinstance(module, EdgeOperation)]

    @property
    def stacked(self) -> list[EdgeOperation]:
        """The bundles: nothing is added beside them."""
        return self.bundles

    def forward(self, inputs: Sequence[Tensor], weights: MixtureWeights | None, drop_path: float = 0.0) -> Tensor:
        """The output of the block; without ``weights`` they are one."""
        (images,) = inputs
        state, total = State(images), Sum()
        for leaving in self.bundles:
            if (computed := leaving(state, weights)) is not None:
                total.add(computed[1])
        height, width = (-(-size // self.stride) for size in images.shape[-2:])
        mixed = images.new_zeros(images.shape[0], self.after, height, width) if total.tensor is None else total.tensor
        if weights is not None:  # gives a gradient to the weights of operations that are not computed
            asked = [leaving.probe(weights) for leaving in self.bundles]
            (row,) = self.rows
            mixed = probed(images, [probe for probe in asked if probe is not None], {row: mixed})[row]
        if self.residual:
            mixed = Drop(drop_path if self.training else 0.0, set())(mixed, 0)
        if weights is not None:
            mixed = weights.shift(mixed, self.rows)
        return images + mixed if self.residual else mixed


class MobileSkeleton(Skeleton, name="mobile"):
    """A convolution, a fixed block, the searched blocks in stages, a wide 1 x 1 convolution, and the classifier."""

    cells: nn.ModuleList

    def __init__(
        self,
        space: SearchSpace,
        candidates: Candidates,
        config: SupernetConfig = SupernetConfig(),
        widths: Sequence[int] = WIDTHS,
    ) -> None:
        super().__init__(config)
        if config.connection != Full():
            raise ValueError(
                f"Expected `connection` to be `Full` in the space {space.name}, whose blocks change the number of "
                f"channels, so that none can bypass them, but got {config.connection}."
            )
        # BatchNorm learns a scale and an offset in the search too, as in the original.
        config, scale = replace(config, affine=True, pool_norm=False), config.channels / widths[0]
        before, first, *stages = (rounded(scale * width) for width in widths[:-1])
        last = rounded(max(scale, 1.0) * widths[-1])
        start, *strides = STRIDES[config.stem][: len(space.stages) + 1]
        self.shrink = start * prod(strides)
        self.stem = conv_norm(config.image_channels, before, 3, start, EPSILON, relu6=True)
        self.first = MBConv(Bundle(1, before, first, affine=True), size=3, expansion=1)
        self.cells = nn.ModuleList()
        before, edges = first, iter(space.cells["chain"].edges)
        for blocks, after, stride in zip(space.stages, stages, strides, strict=False):
            for k in range(blocks):
                edge = next(edges)
                on_edge = [c for c in candidates["chain"] if (c.source, c.node) == (edge.source, edge.node)]
                self.cells.append(Block(on_edge, before, after, stride if k == 0 else 1, k > 0, config))
                before = after
        self.kinds = ["chain"] * len(self.cells)
        self.mix = conv_norm(before, last, 1, 1, EPSILON, relu6=True)
        self.classifier = nn.Linear(last, config.num_classes)

    def features(
        self,
        images: Tensor,
        weights: Sequence[MixtureWeights] | None,
        drop_path: float = 0.0,
        maps: list[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        self.check(images)
        x = self.first(State(self.stem(images)), (0,), None)
        if maps is not None:
            maps.append(x)
        for k, block in enumerate(self.ordered_cells()):
            x = self.run(block, (x,), None if weights is None else weights[k], drop_path)
            if maps is not None:
                maps.append(x)
        return self.mix(x), None


def rounded(width: float) -> int:
    """The nearest multiple of 8, at least 8, and the next one where that would lose more than a tenth."""
    nearest = max(8, int(width + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * width else nearest
