"""Depthwise convolutions that are fast on CPUs, and strided 1 x 1 convolutions that do not damage memory there."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustnas.networks.memory_format import lay_gradient_out


def depthwise_conv(x: Tensor, weight: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
    """Convolve every channel with a kernel of its own, ``[channels, 1, k, k]`` with odd ``k``, as torch does."""
    padding = dilation * (weight.shape[-1] // 2)
    if x.is_cpu and torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        x, weight = x.to(dtype), weight.to(dtype)
    # On CPUs the weight gradient of a kernel wider than 3 is several times faster in pieces 3 wide.
    if x.is_cpu and torch.is_grad_enabled() and (weight.shape[-1] > 3 or (stride > 1 and x.dtype == torch.bfloat16)):
        result: Tensor = _DepthwiseOnCPU.apply(x, weight, stride, padding, dilation)  # type: ignore[no-untyped-call]
        return result
    return grouped_conv(x, weight, stride, padding, dilation, groups=x.shape[1])


def grouped_conv(
    x: Tensor, weight: Tensor, stride: int = 1, padding: int = 0, dilation: int = 1, groups: int = 1
) -> Tensor:
    """Convolve groups of channels, as torch does."""
    # On CPUs the second derivative of torch goes group by group. Where it is derived, nothing is compiled or reduced;
    # where nothing is derived, a traced network can be saved only without it.
    plain = groups == 1 or not x.is_cpu or not torch.is_grad_enabled()
    if plain or torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling():
        return F.conv2d(x, weight, None, stride, padding, dilation, groups)
    result: Tensor = _GroupedOnCPU.apply(x, weight, (stride, padding, dilation, groups))  # type: ignore[no-untyped-call]
    return result


class _GroupedOnCPU(torch.autograd.Function):
    """A convolution whose first derivative is that of torch, bit for bit."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, how: tuple[int, int, int, int]) -> Tensor:
        return F.conv2d(x, weight, None, *how)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, ctx.how = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        return *_GroupedGradients.apply(grad, x, weight, ctx.how, ctx.needs_input_grad[:2]), None  # type: ignore[no-untyped-call]


class _GroupedGradients(torch.autograd.Function):
    """Both gradients of a convolution; each is linear in two tensors, so that their derivatives are convolutions."""

    @staticmethod
    def forward(
        grad: Tensor, x: Tensor, weight: Tensor, how: tuple[int, int, int, int], wanted: tuple[bool, bool]
    ) -> tuple[Tensor | None, ...]:
        stride, padding, dilation, groups = how
        places = ([stride] * 2, [padding] * 2, [dilation] * 2, False, [0, 0], groups)
        found: tuple[Tensor | None, ...] = torch.ops.aten.convolution_backward(
            grad, x, weight, None, *places, [*wanted, False]
        )
        return found[:2]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        *tensors, ctx.how, _ = inputs
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, by_x: Tensor | None, by_weight: Tensor | None) -> tuple[Tensor | None, ...]:
        grad, x, weight = ctx.saved_tensors
        of_grad = of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            pairs = [(by_x, weight), (x, by_weight)]
            parts = [grouped_conv(a, b, *ctx.how) for a, b in pairs if a is not None and b is not None]
            of_grad = sum(parts[1:], parts[0]) if parts else None
        if ctx.needs_input_grad[1] and by_weight is not None:
            of_x = _GroupedGradients.apply(grad, x, by_weight, ctx.how, (True, False))[0]  # type: ignore[no-untyped-call]
        if ctx.needs_input_grad[2] and by_x is not None:
            of_weight = _GroupedGradients.apply(grad, by_x, weight, ctx.how, (False, True))[1]  # type: ignore[no-untyped-call]
        return of_grad, of_x, of_weight, None, None


class _DepthwiseOnCPU(torch.autograd.Function):
    """Ordinary forward pass; the backward pass is built of differentiable calls, so it can be derived again."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, stride: int, padding: int, dilation: int) -> Tensor:
        return F.conv2d(x, weight, None, stride, padding, dilation, groups=x.shape[1])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, ctx.stride, ctx.padding, ctx.dilation = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        dtype = x.dtype
        if ctx.stride > 1 and dtype == torch.bfloat16:  # strided bfloat16 has no fast kernel
            x, weight, grad = x.float(), weight.float(), grad.float()
        wanted = tuple(ctx.needs_input_grad[:2])
        found = _gradients(grad, x, weight, ctx.stride, ctx.padding, ctx.dilation, wanted)
        return *(None if gradient is None else gradient.to(dtype) for gradient in found), None, None, None


def _gradients(
    grad: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int, dilation: int, wanted: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    def native(x: Tensor, weight: Tensor, pad: int, wanted: tuple[bool, bool]) -> tuple[Tensor | None, Tensor | None]:
        how = (stride, pad, dilation, weight.shape[0])
        found: tuple[Tensor | None, Tensor | None] = _GroupedGradients.apply(grad, x, weight, how, wanted)  # type: ignore[no-untyped-call]
        return found

    taps = weight.shape[-1]
    if not wanted[1] or taps == 3 or dilation > 1:
        return native(x, weight, padding, wanted)
    grad_x = native(x, weight, padding, (True, False))[0] if wanted[0] else None
    seen = (grad.shape[-1] - 1) * stride + 3
    columns: list[Tensor] = []
    for first in range(0, taps, 3):
        start = min(first, taps - 3)
        ends = [padding - start, start + seen - padding - x.shape[-1]]  # columns that are added, or cut where negative
        piece = native(F.pad(x, [*ends, padding, padding]), weight[..., :3], 0, (False, True))[1]
        assert piece is not None
        columns.append(piece[..., first - start :])
    return grad_x, torch.cat(columns, dim=-1)


def to_phases(x: Tensor) -> Tensor:
    """Every other row and column as an image of its own: ``[b, c, h, w]`` to ``[4 b, c, h / 2, w / 2]``."""
    batch, channels, height, width = x.shape
    # Channels go last, so that pixels are moved as a whole.
    quarters = x.permute(0, 2, 3, 1).reshape(batch, height // 2, 2, width // 2, 2, channels)
    apart = quarters.permute(2, 4, 0, 1, 3, 5).reshape(4 * batch, height // 2, width // 2, channels)
    return apart.permute(0, 3, 1, 2)


def from_phases(x: Tensor) -> Tensor:
    """Weave what :func:`to_phases` took apart."""
    batch, channels, height, width = x.shape[0] // 4, *x.shape[1:]  # a traced network keeps no `len`
    quarters = x.permute(0, 2, 3, 1).reshape(2, 2, batch, height, width, channels)
    woven = quarters.permute(2, 3, 0, 4, 1, 5).reshape(batch, 2 * height, 2 * width, channels)
    return woven.permute(0, 3, 1, 2)


def pointwise_conv(x: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    """Convolve with 1 x 1 kernels, ``[out, channels, 1, 1]``, on the pixels that the stride reaches."""
    # Where torch sees the stride, a weight gradient is written beyond its memory on CPUs (docs/guides/precision.md).
    return F.conv2d(x if stride == 1 else lay_gradient_out(x)[..., ::stride, ::stride], weight)


def strided_pointwise(module: nn.Module) -> bool:
    """Whether a module is a strided 1 x 1 convolution, which torch should not get."""
    return isinstance(module, nn.Conv2d) and max(module.kernel_size) == 1 and max(module.stride) > 1
