"""Operations and blocks of the slow reference networks, each a plain module whose layers have the golden names."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def conv(c_in: int, c_out: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1) -> nn.Conv2d:
    padding = dilation * (kernel // 2)
    return nn.Conv2d(c_in, c_out, kernel, stride, padding, dilation, groups, bias=False)


class Zero(nn.Module):
    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :: self.stride, :: self.stride] * 0.0


class Noise(nn.Module):
    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return torch.randn_like(x[:, :, :: self.stride, :: self.stride])


class ReLUConvBN(nn.Module):
    def __init__(self, c_in: int, c_out: int, kernel: int, affine: bool) -> None:
        super().__init__()
        self.conv = conv(c_in, c_out, kernel)
        self.bn = nn.BatchNorm2d(c_out, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(torch.relu(x)))


class FactorizedReduce(nn.Module):
    """Halves the resolution; an odd image is padded after the shift, so that both halves have ceil(size / 2).

    Every other pixel is taken before the convolutions: torch damages memory in strided ones of 1 x 1
    (docs/guides/precision.md).
    """

    def __init__(self, c_in: int, c_out: int, affine: bool) -> None:
        super().__init__()
        self.conv1 = conv(c_in, c_out // 2, 1)
        self.conv2 = conv(c_in, c_out // 2, 1)
        self.bn = nn.BatchNorm2d(c_out, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(x)
        odd_height, odd_width = x.shape[2] % 2, x.shape[3] % 2
        shifted = nn.functional.pad(x[:, :, 1:, 1:], (0, odd_width, 0, odd_height))
        return self.bn(torch.cat([self.conv1(x[:, :, ::2, ::2]), self.conv2(shifted[:, :, ::2, ::2])], dim=1))


class SepConv(nn.Module):
    def __init__(self, c: int, kernel: int, stride: int, affine: bool) -> None:
        super().__init__()
        self.dw1 = conv(c, c, kernel, stride, groups=c)
        self.pw1 = conv(c, c, 1)
        self.bn1 = nn.BatchNorm2d(c, affine=affine)
        self.dw2 = conv(c, c, kernel, groups=c)
        self.pw2 = conv(c, c, 1)
        self.bn2 = nn.BatchNorm2d(c, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.pw1(self.dw1(torch.relu(x))))
        return self.bn2(self.pw2(self.dw2(torch.relu(x))))


class DilConv(nn.Module):
    def __init__(self, c: int, kernel: int, stride: int, affine: bool) -> None:
        super().__init__()
        self.dw = conv(c, c, kernel, stride, dilation=2, groups=c)
        self.pw = conv(c, c, 1)
        self.bn = nn.BatchNorm2d(c, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.pw(self.dw(torch.relu(x))))


def operation(name: str, c: int, stride: int, affine: bool, pooling_bn: bool) -> nn.Module:
    if name == "none":
        return Zero(stride)
    if name == "noise":
        return Noise(stride)
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else FactorizedReduce(c, c, affine)
    if name == "max_pool_3x3" or name == "avg_pool_3x3":
        max_pool = nn.MaxPool2d(3, stride, 1)
        pool = max_pool if name == "max_pool_3x3" else nn.AvgPool2d(3, stride, 1, count_include_pad=False)
        return nn.Sequential(pool, nn.BatchNorm2d(c, affine=False)) if pooling_bn else pool
    kind, kernel = name.rsplit("_", 1)
    size = int(kernel.split("x")[0])
    if kind == "sep_conv":
        return SepConv(c, size, stride, affine)
    if kind == "dil_conv":
        return DilConv(c, size, stride, affine)
    if kind == "nor_conv" and stride == 1:
        return ReLUConvBN(c, c, size, affine)
    raise ValueError(name)


def drop_path(x: Tensor, probability: float) -> Tensor:
    keep = 1.0 - probability
    return x * torch.empty(len(x), 1, 1, 1, dtype=x.dtype).bernoulli_(keep) / keep


class ResidualBlock(nn.Module):
    """The block between two stages of NAS-Bench-201."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv_a = conv(c_in, c_out, 3, stride=2)
        self.conv_a_bn = nn.BatchNorm2d(c_out)
        self.conv_b = conv(c_out, c_out, 3)
        self.conv_b_bn = nn.BatchNorm2d(c_out)
        self.downsample = conv(c_in, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = nn.functional.avg_pool2d(x, 2, stride=2, ceil_mode=True)
        y = self.conv_a_bn(self.conv_a(torch.relu(x)))
        return self.downsample(pooled) + self.conv_b_bn(self.conv_b(torch.relu(y)))


class AuxiliaryHead(nn.Module):
    """The second classifier of the evaluation network, for 8x8 images of features."""

    def __init__(self, c: int, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c, 128, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(128)
        self.conv2 = nn.Conv2d(128, 768, 2, bias=False)
        self.bn2 = nn.BatchNorm2d(768)
        self.classifier = nn.Linear(768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.avg_pool2d(torch.relu(x), 5, stride=3, count_include_pad=False)
        x = torch.relu(self.bn1(self.conv1(x)))
        return self.classifier(torch.relu(self.bn2(self.conv2(x))).flatten(1))
