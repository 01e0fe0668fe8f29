"""1 x 1 convolutions of any stride, without the strided kernel that damages memory on CPUs."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from robustnas.networks.memory_format import lay_gradient_out


def pointwise_conv(x: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    """Convolve with 1 x 1 kernels, on the pixels that the stride reaches.

    Values and derivatives are those of ``torch.nn.functional.conv2d`` with that stride. torch never sees the stride:
    on CPUs the float32 weight gradient of a strided 1 x 1 convolution of ``channels_last`` images with few channels
    is written beyond its memory (docs/guides/precision.md has the versions).

    Args:
        x: Images, ``[batch, channels, h, w]``.
        weight: Kernels, ``[out, channels, 1, 1]``.
        stride: Step of the kernel.

    Returns:
        Images, ``[batch, out, ceil(h / stride), ceil(w / stride)]``.
    """
    return F.conv2d(x if stride == 1 else lay_gradient_out(x)[..., ::stride, ::stride], weight)


def strided_pointwise(module: nn.Module) -> bool:
    """Whether a module is a strided 1 x 1 convolution, which torch should not get."""
    return isinstance(module, nn.Conv2d) and max(module.kernel_size) == 1 and max(module.stride) > 1
