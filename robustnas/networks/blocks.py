"""Fixed parts of networks: stems, residual blocks, the auxiliary head."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

Stem = Literal["cifar", "imagenet"]


def conv_norm(
    before: int, after: int, size: int = 3, stride: int = 1, eps: float = 1e-5, relu6: bool = False
) -> nn.Module:
    """Convolution and BatchNorm, and ReLU6 after them if it is asked for."""
    parts: dict[str, nn.Module] = {"conv": nn.Conv2d(before, after, size, stride, size // 2, bias=False)}
    parts["bn"] = nn.BatchNorm2d(after, eps)
    if relu6:
        parts["act"] = nn.ReLU6(inplace=True)
    return nn.Sequential(OrderedDict(parts))


def imagenet_stem(image_channels: int, channels: int) -> tuple[nn.Module, nn.Module]:
    """Two modules that divide the resolution by 4 and by another 2."""

    def half(before: int, after: int) -> list[nn.Module]:
        return [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after)]

    first = nn.Sequential(*half(image_channels, channels // 2), nn.ReLU(inplace=True), *half(channels // 2, channels))
    return first, nn.Sequential(nn.ReLU(), *half(channels, channels))


class ResidualBlock(nn.Module):
    """ReLU, 3 x 3 convolution of stride 2, BatchNorm, and the same with stride 1, beside a pooled shortcut."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv_a = nn.Conv2d(before, after, 3, 2, 1, bias=False)
        self.bn_a = nn.BatchNorm2d(after)
        self.conv_b = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn_b = nn.BatchNorm2d(after)
        self.downsample = nn.Conv2d(before, after, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, before, h, w]`` to ``[batch, after, h / 2, w / 2]``."""
        inner = self.bn_a(self.conv_a(F.relu(x)))
        pooled = F.avg_pool2d(x, 2, 2, ceil_mode=True, count_include_pad=False)
        outer: Tensor = self.bn_b(self.conv_b(F.relu(inner))) + self.downsample(pooled)
        return outer


class AuxiliaryHead(nn.Module):
    """A second classifier on an intermediate cell, for training only; with the stem ``imagenet`` as in the original."""

    def __init__(self, channels: int, num_classes: int, stem: Stem) -> None:
        super().__init__()
        self.stride = 2 if stem == "imagenet" else 3
        self.conv1 = nn.Conv2d(channels, 128, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(128)
        self.conv2 = nn.Conv2d(128, 768, 2, bias=False)
        self.bn2 = nn.Identity() if stem == "imagenet" else nn.BatchNorm2d(768)
        self.width = 768  # of what its classifier reads
        self.classifier = nn.Linear(self.width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, channels, h, w]`` to ``[batch, num_classes]``."""
        x = F.relu(x)
        if min(x.shape[-2:]) < 5 + self.stride:  # smaller than the head was made for
            x = F.adaptive_avg_pool2d(x, 2)
        else:
            x = F.avg_pool2d(x, 5, self.stride, count_include_pad=False)
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        logits: Tensor = self.classifier(x.mean(dim=(2, 3)))
        return logits
