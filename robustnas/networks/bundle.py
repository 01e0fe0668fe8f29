"""What all candidate operations share: the state they read, the bundle of edges they stand on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustnas.networks.convolutions import depthwise_conv, grouped_conv, to_phases
from robustnas.networks.normalisation import BundleNorm, Group

Convolution = Literal["auto", "separable", "dense"]


class State:
    """Images of a state of a cell, ``[batch, channels, h, w]``, and what operations derive from them, computed once."""

    def __init__(self, images: Tensor) -> None:
        self.images = images
        self._relu: Tensor | None = None  # a cached property would hold a lock, which torch.compile cannot trace
        self._for_edges: dict[tuple[int, int], Tensor] = {}

    @property
    def relu(self) -> Tensor:
        """The images after a ReLU."""
        if self._relu is None:
            self._relu = F.relu(self.images)
        return self._relu

    def for_edges(self, edges: int) -> Tensor:
        """The images after a ReLU, once for every edge, ``[batch, edges * channels, h, w]``."""
        if (edges, 0) not in self._for_edges:
            self._for_edges[edges, 0] = spread(self.relu, edges)
        return self._for_edges[edges, 0]

    def for_dilated_edges(self, edges: int, stride: int) -> Tensor:
        """:meth:`for_edges` of every other pixel, or for stride 1 of all four phases, in which dilation 2 becomes 1."""
        if (edges, stride) not in self._for_edges:
            seen = to_phases(self.relu) if stride == 1 else self.relu[..., ::2, ::2]
            self._for_edges[edges, stride] = spread(seen, edges)
        return self._for_edges[edges, stride]


def spread(images: Tensor, edges: int, scale: Tensor | None = None) -> Tensor:
    """The same images for every edge, times ``scale`` if any: ``[batch, c, h, w]`` to ``[batch, edges * c, h, w]``."""
    if edges == 1:
        return images if scale is None else images * scale.to(images.dtype)
    if not images.is_cpu:
        weighted = images[:, None].expand(-1, edges, -1, -1, -1)
        return (weighted if scale is None else weighted * scale.to(images.dtype)[:, None, None, None]).flatten(1, 2)
    # On a CPU products with scaled identities are several times faster than broadcasting, and so are their gradients.
    identity = torch.eye(images.shape[1], dtype=images.dtype)
    weights = identity.new_ones(edges) if scale is None else scale.to(images.dtype)
    return F.conv2d(images, (weights[:, None, None] * identity).flatten(0, 1)[..., None, None])


@dataclass(frozen=True)
class Bundle:
    """Where an operation stands."""

    edges: int
    channels: int
    out_channels: int  # of each edge
    stride: int = 1
    affine: bool = False  # whether BatchNorm learns a scale and an offset
    pool_norm: bool = True  # whether BatchNorm follows pooling, as it does in the DARTS supernet
    convolution: Convolution = "auto"

    def norm(self) -> BundleNorm:
        """A BatchNorm after the operation, for all edges of the bundle."""
        return BundleNorm(self.edges, self.out_channels, self.affine)

    def dense(self, images: Tensor) -> bool:
        """Whether kernels are multiplied out: fewer launches on GPUs, and on CPUs faster for few short numbers."""
        if self.convolution != "auto" or not images.is_cpu:
            return self.convolution != "separable"
        precision = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else images.dtype
        return precision == torch.bfloat16 and self.channels <= 32

    def kernel(self, out_channels: int, in_channels: int, height: int, width: int) -> nn.Parameter:
        """Kernels of all edges, drawn as ``torch.nn.Conv2d`` draws them."""
        bound = (in_channels * height * width) ** -0.5
        return nn.Parameter(torch.empty(self.edges, out_channels, in_channels, height, width).uniform_(-bound, bound))


class Operation(nn.Module, ABC):
    """A candidate operation on a bundle of edges. Every parameter and buffer is stacked over the edges."""

    identity = False  # whether it hands on what it gets
    widens = True  # whether other channels may leave than enter

    def __init__(self, bundle: Bundle) -> None:
        super().__init__()
        self.bundle = bundle

    @abstractmethod
    def forward(self, state: State, group: Group, scale: Tensor | None) -> Tensor:
        """Weighted output on a group of edges, stacked edge by edge, ``[batch, len(group) * out_channels, h, w]``."""

    def edgewise(self, name: str, position: int) -> tuple[str, int | None] | None:
        """Name on an edge, and index in the stack, of a parameter or buffer; ``None`` if it belongs to another edge."""
        return name, position


def separable(x: Tensor, depthwise: Tensor, pointwise: Tensor, dense: bool, stride: int, dilation: int) -> Tensor:
    """Depthwise ``[edges, c, 1, k, k]`` and pointwise ``[edges, out, c, 1, 1]`` convolution on edges."""
    edges, _, channels = pointwise.shape[:3]
    if not dense:
        inner = depthwise_conv(x, depthwise.flatten(0, 1), stride, dilation)
        return grouped_conv(inner, pointwise.flatten(0, 1), groups=edges)
    # Images may be those that all edges share, ``[batch, c, h, w]``.
    kernel = (pointwise * depthwise.transpose(1, 2)).flatten(0, 1)  # [edges * out, c, k, k]
    padding = dilation * (kernel.shape[-1] // 2)
    return F.conv2d(x, kernel, None, stride, padding, dilation, groups=x.shape[1] // channels)
