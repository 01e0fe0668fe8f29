"""Candidate operations, each written once, for a bundle: all edges that leave one state and carry it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustnas.networks.bundle import Bundle, Operation, State, separable, spread
from robustnas.networks.convolutions import depthwise_conv, from_phases, pointwise_conv
from robustnas.networks.modules import Modules
from robustnas.networks.normalisation import BundleNorm, Group, take
from robustnas.spaces.parameter_free import PARAMETER_FREE

EPSILON = 1e-3  # of every BatchNorm in mobile spaces, as in the original


class SepConv(Operation):
    """Twice: ReLU, depthwise k x k, pointwise, BatchNorm. Only the first depthwise kernel is strided."""

    def __init__(self, bundle: Bundle, size: int) -> None:
        super().__init__(bundle)
        channels, out = bundle.channels, bundle.out_channels
        self.dw1, self.pw1 = bundle.kernel(channels, 1, size, size), bundle.kernel(channels, channels, 1, 1)
        self.dw2, self.pw2 = bundle.kernel(channels, 1, size, size), bundle.kernel(out, channels, 1, 1)
        self.bn1 = BundleNorm(bundle.edges, channels, bundle.affine)
        self.bn2 = bundle.norm()

    def forward(self, state: State, group: Group, scale: Tensor | None) -> Tensor:
        dense = self.bundle.dense(state.images)
        x = state.relu if dense else state.for_edges(len(group))
        first = separable(x, take(self.dw1, group), take(self.pw1, group), dense, self.bundle.stride, dilation=1)
        between = F.relu_(self.bn1(first, group))
        second = separable(between, take(self.dw2, group), take(self.pw2, group), dense, stride=1, dilation=1)
        return self.bn2(second, group, scale)


class DilConv(Operation):
    """ReLU, depthwise k x k with dilation 2, pointwise, BatchNorm."""

    def __init__(self, bundle: Bundle, size: int) -> None:
        super().__init__(bundle)
        self.dw = bundle.kernel(bundle.channels, 1, size, size)
        self.pw = bundle.kernel(bundle.out_channels, bundle.channels, 1, 1)
        self.bn = bundle.norm()

    def forward(self, state: State, group: Group, scale: Tensor | None) -> Tensor:
        kernels, stride = (take(self.dw, group), take(self.pw, group)), self.bundle.stride
        even = state.images.shape[-2] % 2 == state.images.shape[-1] % 2 == 0
        dense = self.bundle.dense(state.images)
        entering = 1 if dense else len(group)
        phases = stride == 1 and even and not dense
        if stride == 2 or phases:
            convolved = separable(state.for_dilated_edges(entering, stride), *kernels, dense, stride=1, dilation=1)
        else:
            convolved = separable(state.for_edges(entering), *kernels, dense, stride, dilation=2)
        normalised = self.bn(convolved, group, scale)
        return from_phases(normalised) if phases else normalised


class ReluConv(Operation):
    """ReLU, k x k convolution, BatchNorm: the convolutions of NAS-Bench-201 and the preprocessing of cells."""

    def __init__(self, bundle: Bundle, size: int) -> None:
        super().__init__(bundle)
        self.conv = bundle.kernel(bundle.out_channels, bundle.channels, size, size)
        self.bn = bundle.norm()

    def forward(self, state: State, group: Group, scale: Tensor | None) -> Tensor:
        kernel = take(self.conv, group).flatten(0, 1)
        if kernel.shape[-1] == 1:
            convolved = pointwise_conv(state.relu, kernel, self.bundle.stride)
        else:
            convolved = F.conv2d(state.relu, kernel, None, self.bundle.stride, kernel.shape[-1] // 2)
        return self.bn(convolved, group, scale)


class FactorisedConv(Operation):
    """ReLU, 1 x 7 and 7 x 1 convolution, BatchNorm."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        self.conv1 = bundle.kernel(bundle.out_channels, bundle.channels, 1, 7)
        self.conv2 = bundle.kernel(bundle.out_channels, bundle.out_channels, 7, 1)
        self.bn = bundle.norm()

    def forward(self, state: State, group: Group, scale: Tensor | None) -> Tensor:
        stride, edges = self.bundle.stride, len(group)
        wide = F.conv2d(state.relu, take(self.conv1, group).flatten(0, 1), None, (1, stride), (0, 3))
        tall = F.conv2d(wide, take(self.conv2, group).flatten(0, 1), None, (stride, 1), (3, 0), groups=edges)
        return self.bn(tall, group, scale)


class Identity(Operation):
    """The skip connection of stride 1."""

    identity = True
    widens = False

    def forward(self, state: State, group: Group, scale: Tensor | None) -> Tensor:
        return spread(state.images, len(group), scale)


class FactorisedReduce(Operation):
    """The skip connection of stride 2: ReLU, two 1 x 1 convolutions on shifted grids, concatenation, BatchNorm."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        half = bundle.out_channels // 2
        self.conv1 = bundle.kernel(half, bundle.channels, 1, 1)
        self.conv2 = bundle.kernel(bundle.out_channels - half, bundle.channels, 1, 1)
        self.bn = bundle.norm()

    def forward(self, state: State, group: Group, scale: Tensor | None) -> Tensor:
        height, width = state.relu.shape[-2:]
        shifted = F.pad(state.relu[..., 1:, 1:], (0, width % 2, 0, height % 2))  # odd sizes keep both halves equal
        here = pointwise_conv(state.relu, take(self.conv1, group).flatten(0, 1), stride=2)
        there = pointwise_conv(shifted, take(self.conv2, group).flatten(0, 1), stride=2)
        # Channels go last, so that both halves are moved pixel by pixel.
        halves = [half.permute(0, 2, 3, 1).unflatten(3, (len(group), -1)) for half in (here, there)]
        both = torch.cat(halves, dim=4).flatten(3).permute(0, 3, 1, 2)
        return self.bn(both, group, scale)


class Pool(Operation):
    """3 x 3 pooling, then BatchNorm where the bundle asks for it; the same for all edges, so computed once."""

    widens = False

    def __init__(self, bundle: Bundle, kind: Literal["max", "avg"]) -> None:
        super().__init__(bundle)
        self.kind = kind
        self.bn = BundleNorm(1, bundle.out_channels, affine=False) if bundle.pool_norm else None

    def forward(self, state: State, group: Group, scale: Tensor | None) -> Tensor:
        images, stride = state.images, self.bundle.stride
        pooled = F.max_pool2d(images, 3, stride, 1) if self.kind == "max" else average_pool(images, stride)
        return spread(pooled if self.bn is None else self.bn(pooled, (0,)), len(group), scale)

    def edgewise(self, name: str, position: int) -> tuple[str, int | None] | None:
        return name, 0


class Noise(Operation):
    """Standard normal noise of the shape its input would have (RobustDARTS S4)."""

    def forward(self, state: State, group: Group, scale: Tensor | None) -> Tensor:
        noise = self.draw(state.images[..., :: self.bundle.stride, :: self.bundle.stride], len(group))
        weighted = noise if scale is None else noise * scale.to(noise.dtype)[:, None, None, None]
        return weighted.flatten(1, 2)

    def draw(self, like: Tensor, edges: int) -> Tensor:
        """Noise for each edge, ``[batch, edges, out_channels, h, w]``, on the device and in the type of images."""
        shape = (like.shape[0], edges, self.bundle.out_channels, *like.shape[-2:])
        return torch.randn(shape, device=like.device).to(like.dtype)


class MBConv(Operation):
    """The inverted bottleneck of MobileNetV2 (arXiv:1801.04381), as ProxylessNAS searches it.

    1 x 1 to more channels, depthwise k x k, 1 x 1 to those that leave; BatchNorm after each, ReLU6 between.
    """

    def __init__(self, bundle: Bundle, size: int, expansion: int) -> None:
        super().__init__(bundle)
        edges, channels, inside = bundle.edges, bundle.channels, expansion * bundle.channels
        self.expands = expansion > 1
        if self.expands:
            self.expand = bundle.kernel(inside, channels, 1, 1)
            self.expand_bn = BundleNorm(edges, inside, bundle.affine, EPSILON)
        self.depth = bundle.kernel(inside, 1, size, size)
        self.depth_bn = BundleNorm(edges, inside, bundle.affine, EPSILON)
        self.project = bundle.kernel(bundle.out_channels, inside, 1, 1)
        self.project_bn = BundleNorm(edges, bundle.out_channels, bundle.affine, EPSILON)

    def forward(self, state: State, group: Group, scale: Tensor | None) -> Tensor:
        if self.expands:
            x = F.conv2d(state.images, take(self.expand, group).flatten(0, 1))
            x = F.relu6(self.expand_bn(x, group), inplace=True)
        else:
            x = spread(state.images, len(group))
        x = depthwise_conv(x, take(self.depth, group).flatten(0, 1), self.bundle.stride)
        x = F.relu6(self.depth_bn(x, group), inplace=True)
        x = F.conv2d(x, take(self.project, group).flatten(0, 1), groups=len(group))
        return self.project_bn(x, group, scale)

    def edgewise(self, name: str, position: int) -> tuple[str, int | None] | None:
        return name.replace("_bn.", ".bn."), position


def average_pool(x: Tensor, stride: int) -> Tensor:
    """3 x 3 average pooling that leaves the padding out of the mean, ``[batch, channels, h, w]``."""
    if not x.is_cpu:
        return F.avg_pool2d(x, 3, stride, 1, count_include_pad=False)
    # As a depthwise convolution, pooling and its gradient take a third of the time.
    ones = torch.ones(x.shape[1], 1, 3, 3, dtype=x.dtype)
    inside = F.conv2d(x.new_ones(1, 1, *x.shape[-2:]), ones[:1], None, stride, 1)
    pooled = depthwise_conv(x, ones, stride)
    return pooled / inside.expand_as(pooled[:1]).contiguous(memory_format=torch.channels_last)  # broadcast: slower


def _skip(bundle: Bundle) -> Operation:
    return Identity(bundle) if bundle.stride == 1 else FactorisedReduce(bundle)


_KNOWN: dict[str, Callable[[Bundle], Operation]] = {
    "noise": Noise,
    "skip_connect": _skip,
    "max_pool_3x3": partial(Pool, kind="max"),
    "avg_pool_3x3": partial(Pool, kind="avg"),
    "conv_7x1_1x7": FactorisedConv,
    **{f"sep_conv_{k}x{k}": partial(SepConv, size=k) for k in (3, 5, 7)},
    **{f"dil_conv_{k}x{k}": partial(DilConv, size=k) for k in (3, 5)},
    **{f"nor_conv_{k}x{k}": partial(ReluConv, size=k) for k in (1, 3)},
    **{f"mbconv_{k}x{k}_{e}": partial(MBConv, size=k, expansion=e) for k in (3, 5, 7) for e in (3, 6)},
}


def register_operation(name: str, factory: Callable[[int, int, bool], nn.Module], parameter_free: bool = False) -> None:
    """Make an operation of the user's own known under a name that search spaces can use.

    Args:
        name: The name, one that is not taken.
        factory: Makes the module of one edge from ``(channels, stride, affine)``; the module keeps the number
            of channels, divides the size by the stride, rounding up, and does not write into its input.
        parameter_free: Whether it has no weights to train but those of BatchNorm: then the verdict counts it with
            skip connections and poolings.

    Raises:
        ValueError: If the name is taken by another factory, or is no identifier.
    """
    known = _KNOWN.get(name)
    # A module that is loaded again, or a notebook's cell, brings a new object of the same name.
    same = isinstance(known, partial) and known.func is Modules and _path(known.keywords["factory"]) == _path(factory)
    if name == "none" or not name.isidentifier() or not (known is None or same):
        raise ValueError(f"Expected `name` to be an identifier that is not in use, but got {name!r}.")
    _KNOWN[name] = partial(Modules, factory=factory, name=name)
    (PARAMETER_FREE.add if parameter_free else PARAMETER_FREE.discard)(name)


def _path(factory: Callable[[int, int, bool], nn.Module]) -> tuple[str, str]:
    return getattr(factory, "__module__", ""), getattr(factory, "__qualname__", repr(factory))


def build_operation(name: str, bundle: Bundle) -> Operation:
    """Build the candidate operation of a name on a bundle of edges."""
    if name not in _KNOWN:
        raise ValueError(
            f"Expected every operation of the space to be one of {sorted(_KNOWN)} or registered with "
            f"`register_operation`, but got {name!r}."
        )
    return _KNOWN[name](bundle)
