"""1 x 1 convolutions of any stride, without the strided kernel that damages memory on CPUs."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from robustnas.networks.memory_format import lay_gradient_out


def pointwise_conv(x: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    """Convolve with 1 x 1 kernels, ``[out, channels, 1, 1]``, on the pixels that the stride reaches."""
    # Where torch sees the stride, a weight gradient is written beyond its memory on CPUs (docs/guides/precision.md).
    return F.conv2d(x if stride == 1 else lay_gradient_out(x)[..., ::stride, ::stride], weight)


def strided_pointwise(module: nn.Module) -> bool:
    """Whether a module is a strided 1 x 1 convolution, which torch should not get."""
    return isinstance(module, nn.Conv2d) and max(module.kernel_size) == 1 and max(module.stride) > 1
