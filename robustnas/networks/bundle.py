"""What all candidate operations share: the state they read, the bundle of edges they stand on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustnas.networks.depthwise import depthwise_conv
from robustnas.networks.normalisation import BundleNorm, Group

Form = Literal["auto", "separable", "dense"]
Scale = Callable[[Group], Tensor | None]


class State:
    """Images of one state of a cell, and what several operations derive from them, computed once.

    Args:
        images: ``[batch, channels, h, w]``.
    """

    def __init__(self, images: Tensor) -> None:
        self.images = images

    @cached_property
    def relu(self) -> Tensor:
        """The images after a ReLU."""
        return F.relu(self.images)


@dataclass(frozen=True)
class Bundle:
    """Where an operation stands.

    Args:
        edges: Edges of the bundle.
        channels: Channels that enter.
        out_channels: Channels that leave, on every edge.
        stride: Step of the operation.
        affine: Whether BatchNorm learns a scale and an offset.
        pool_norm: Whether BatchNorm follows pooling, as it does in the DARTS supernet.
        form: How depthwise and pointwise kernels are applied: ``separable`` one after the other, edge by edge;
            ``dense`` multiplied into one kernel, for all edges at once; ``auto`` by device.
    """

    edges: int
    channels: int
    out_channels: int
    stride: int = 1
    affine: bool = False
    pool_norm: bool = True
    form: Form = "auto"

    def norm(self) -> BundleNorm:
        """A BatchNorm after the operation, for all edges of the bundle."""
        return BundleNorm(self.edges, self.out_channels, self.affine)

    def kernel(self, out_channels: int, in_channels: int, height: int, width: int) -> nn.Parameter:
        """Kernels of all edges, drawn as ``torch.nn.Conv2d`` draws them."""
        bound = (in_channels * height * width) ** -0.5
        stacked = torch.empty(self.edges, out_channels, in_channels, height, width)
        return nn.Parameter(stacked.uniform_(-bound, bound))


class Operation(nn.Module, ABC):
    """A candidate operation on a bundle of edges. Every parameter and buffer is stacked over the edges.

    Args:
        bundle: Where the operation stands.
    """

    parameter_free = False
    identity = False

    def __init__(self, bundle: Bundle) -> None:
        super().__init__()
        self.bundle = bundle

    @abstractmethod
    def compute(self, state: State, group: Group, scale: Tensor | None) -> Tensor:
        """Apply the operation on some edges at once.

        Args:
            state: The state that the edges leave.
            group: Positions of the edges in the bundle.
            scale: Weights of the mixture, ``[len(group)]``, or ``None`` for ones.

        Returns:
            Weighted output, channels stacked edge by edge, ``[batch, len(group) * out_channels, h, w]``.
        """

    def forward(self, state: State, chosen: Group, scale: Scale) -> list[tuple[Group, Tensor]]:
        """Apply the operation on the chosen edges.

        Args:
            state: The state that the edges leave.
            chosen: Positions of the edges in the bundle.
            scale: Gives the weights of the mixture on a group of edges.

        Returns:
            Groups of edges, each with its weighted output as :meth:`compute` returns it.
        """
        return [(group, self.compute(state, group, scale(group))) for group in self.groups(chosen, state.images)]

    def groups(self, chosen: Group, images: Tensor) -> list[Group]:
        """Which of the chosen edges are computed together."""
        return [chosen] if dense(self.bundle.form, images) else [(position,) for position in chosen]

    def edgewise(self, name: str, position: int) -> tuple[str, int | None] | None:
        """Which part of a parameter or buffer belongs to one edge.

        Args:
            name: Name of the parameter or buffer.
            position: Position of the edge in the bundle.

        Returns:
            Its name on the edge and its index in the stack; ``None`` if it belongs to another edge.
        """
        return name, position


def dense(form: Form, images: Tensor) -> bool:
    """Whether kernels are multiplied out: measured to be slower on CPUs, and fewer launches on GPUs."""
    return form == "dense" or (form == "auto" and not images.is_cpu)


def separable(x: Tensor, depthwise: Tensor, pointwise: Tensor, bundle: Bundle, stride: int, dilation: int) -> Tensor:
    """Depthwise, then pointwise convolution on a group of edges.

    Args:
        x: Images that the edges share, ``[batch, c, h, w]``, or of each edge, ``[batch, edges * c, h, w]``.
        depthwise: Kernels, ``[edges, c, 1, k, k]``.
        pointwise: Kernels, ``[edges, out, c, 1, 1]``.
        bundle: Tells the form.
        stride: Step of the depthwise kernels.
        dilation: Spacing of their taps.

    Returns:
        ``[batch, edges * out, h, w]``.
    """
    edges, _, channels = pointwise.shape[:3]
    if edges == 1 and not dense(bundle.form, x):
        return F.conv2d(depthwise_conv(x, depthwise[0], stride, dilation), pointwise[0])
    kernel = (pointwise * depthwise.transpose(1, 2)).flatten(0, 1)  # [edges * out, c, k, k]
    padding = dilation * (kernel.shape[-1] // 2)
    return F.conv2d(x, kernel, None, stride, padding, dilation, groups=x.shape[1] // channels)
