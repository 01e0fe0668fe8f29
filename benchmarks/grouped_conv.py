"""Convolutions of a few channels in very many groups on a GPU, where cuDNN computes one group after the other."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

COMPILED = (4, 8, 16)  # channels that the kernels are compiled for


def grouped_conv2d(x: Tensor, weight: Tensor, stride: int, groups: int) -> Tensor:
    """``F.conv2d`` with half the size as padding, ``[batch, groups * channels, h, w]``, sizes 1 and 3."""
    channels, out_channels = weight.shape[1], len(weight) // groups
    if x.is_cuda and stride == 1 and channels == out_channels and channels in COMPILED:
        out: Tensor = GroupedConv.apply(x, weight, groups)  # type: ignore[no-untyped-call]
        return out
    return by_matrix_products(x, weight, stride, groups)


def by_matrix_products(x: Tensor, weight: Tensor, stride: int, groups: int) -> Tensor:
    """The same as a matrix product for each group."""
    size, (batch, _, height, width) = weight.shape[-1], x.shape
    height, width = (height - 1) // stride + 1, (width - 1) // stride + 1
    padded = F.pad(x, [size // 2] * 4)
    rows, columns = ([slice(at, at + stride * (n - 1) + 1, stride) for at in range(size)] for n in (height, width))
    patches = torch.stack([padded[:, :, row, column] for row in rows for column in columns], 2)
    patches = (
        patches.view(batch, groups, -1, height * width).permute(1, 2, 0, 3).reshape(groups, -1, batch * height * width)
    )
    out = torch.bmm(weight.view(groups, len(weight) // groups, -1), patches)
    return out.view(groups, -1, batch, height * width).permute(2, 0, 1, 3).reshape(batch, len(weight), height, width)


class GroupedConv(torch.autograd.Function):
    """The kernels of `grouped_conv.cu`, as many channels in as out."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, groups: int) -> Tensor:
        x, weight = x.contiguous(), weight.contiguous()
        ctx.save_for_backward(x, weight)
        ctx.groups = groups
        return _run(x, weight, torch.empty_like(x), weight, groups, 0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        for_x = for_weight = None
        if ctx.needs_input_grad[0]:
            for_x = _run(gradient, weight, torch.empty_like(x), weight, ctx.groups, 1)
        if ctx.needs_input_grad[1]:
            for_weight = _run(x, gradient, torch.empty_like(weight), weight, ctx.groups, 2)
        return for_x, for_weight, None


def _run(a: Tensor, b: Tensor, out: Tensor, weight: Tensor, groups: int, what: int) -> Tensor:
    _kernels().run(a, b, out, groups, weight.shape[1], weight.shape[-1], what)
    return out


@cache
def _kernels() -> Any:
    from torch.utils.cpp_extension import load_inline

    return load_inline(
        "grouped_conv",
        cpp_sources="void run(torch::Tensor a, torch::Tensor b, torch::Tensor out, int64_t G, int64_t C, int64_t size, "
        "int64_t what);",
        cuda_sources=(Path(__file__).parent / "grouped_conv.cu").read_text(),
        functions=["run"],
        extra_cuda_cflags=["-O3", "--use_fast_math"],
    )
