"""The inverted bottleneck of MobileNetV2 (arXiv:1801.04381), as ProxylessNAS searches it."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from robustnas.networks.bundle import Bundle, Operation, State, spread
from robustnas.networks.depthwise import depthwise_conv
from robustnas.networks.normalisation import BundleNorm, Group, take

EPSILON = 1e-3  # of every BatchNorm, as in the original


class MBConv(Operation):
    """1 x 1 to more channels, depthwise k x k, 1 x 1 to those that leave; BatchNorm after each, ReLU6 between."""

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
        normalised: Tensor = self.project_bn(x, group, scale)
        return normalised

    def edgewise(self, name: str, position: int) -> tuple[str, int | None] | None:
        return name.replace("_bn.", ".bn."), position
