"""BatchNorm whose second derivative is cheap on CPUs, where torch goes over the images some thirty times."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Grads = tuple[Tensor | None, ...]


def untracked_batch_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    r"""Normalise by the statistics of the batch, :math:`y = \gamma \hat x + \beta`, and keep none.

    Value and first derivative are those of torch, bit for bit. In float32 and float64 on a CPU the second derivative is
    a closed form.

    Args:
        x: Images ``[batch, channels, height, width]``.
        weight: :math:`\gamma`, ``[channels]``, or ``None`` for one.
        bias: :math:`\beta`, ``[channels]``, or ``None`` for zero.
        eps: What is added to the variance.

    Returns:
        As ``x``.
    """
    closed = x.is_cpu and x.dtype in (torch.float32, torch.float64) and not torch.compiler.is_compiling()
    if not closed or not torch.is_grad_enabled():
        return F.batch_norm(x, None, None, weight, bias, True, eps=eps)
    result: Tensor = _BatchNorm.apply(x, weight, bias, eps)[0]  # type: ignore[no-untyped-call]
    return result


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = torch.native_batch_norm(x, weight, bias, None, None, True, 0.0, eps)
        return found

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        x, weight, _, ctx.eps = inputs
        _, mean, invstd = output
        ctx.mark_non_differentiable(mean, invstd)
        ctx.save_for_backward(x, weight, mean, invstd)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> Grads:
        by_x, by_weight, by_bias = _Gradients.apply(grad, *ctx.saved_tensors, ctx.eps)  # type: ignore[no-untyped-call]
        wanted = ctx.needs_input_grad
        return by_x if wanted[0] else None, by_weight if wanted[1] else None, by_bias if wanted[2] else None, None


class _Gradients(torch.autograd.Function):
    """The gradients of x, γ and β, which are linear in that of y."""

    @staticmethod
    def forward(
        grad: Tensor, x: Tensor, weight: Tensor | None, mean: Tensor, invstd: Tensor, eps: float
    ) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = torch.ops.aten.native_batch_norm_backward(
            grad, x, weight, None, None, mean, invstd, True, eps, [True, True, True]
        )
        return found

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        *tensors, ctx.eps = inputs
        ctx.save_for_backward(*tensors, *output[1:])

    @staticmethod
    def backward(ctx: Any, u: Tensor, t: Tensor, s: Tensor) -> Grads:
        # The gradient of <u, g_x> + <t, g_γ> + <s, g_β>, where over the n numbers of a channel, with g the slope of y,
        # g_β = Σ g, g_γ = Σ g x̂ and g_x = γ (g - g_β / n - x̂ g_γ / n) / σ.
        grad, x, weight, mean, invstd, by_weight, by_bias = ctx.saved_tensors
        if torch.is_grad_enabled():  # a third derivative may follow, which asks how these depend on x
            mean, invstd, by_weight, by_bias = _statistics(grad, x, ctx.eps)
        n = x.numel() // x.shape[1]
        centred = x - _wide(mean)
        scale = invstd if weight is None else weight * invstd
        u_mean, u_hat = u.sum((0, 2, 3)) / n, _dot(u, centred) * invstd / n
        inner = _dot(u, grad) - u_mean * by_bias - u_hat * by_weight  # <u, g_x> without its factor
        of_grad = of_x = None
        if ctx.needs_input_grad[0]:
            of_grad = torch.addcmul(_wide(s - scale * u_mean), u, _wide(scale))
            of_grad.addcmul_(centred, _wide((t - scale * u_hat) * invstd))
        if ctx.needs_input_grad[1]:
            along_u, along_grad = -scale * invstd * by_weight / n, (t - scale * u_hat) * invstd
            level = -along_u * u_mean - along_grad * by_bias / n
            slope = (2 * scale * u_hat * by_weight - t * by_weight - scale * inner) * invstd.square() / n
            of_x = torch.addcmul(_wide(level), u, _wide(along_u))
            of_x.addcmul_(grad, _wide(along_grad)).addcmul_(centred, _wide(slope))
        return of_grad, of_x, inner * invstd if ctx.needs_input_grad[2] else None, None, None, None


def _statistics(grad: Tensor, x: Tensor, eps: float) -> tuple[Tensor, ...]:
    """Mean, inverse deviation and the gradients of γ and β, as functions of ``grad`` and ``x``."""
    mean, invstd = x.mean((0, 2, 3)), (x.var((0, 2, 3), correction=0) + eps).rsqrt()
    return mean, invstd, _dot(grad, x - _wide(mean)) * invstd, grad.sum((0, 2, 3))


def _wide(channels: Tensor) -> Tensor:
    return channels[:, None, None]


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """The sum of products in each channel."""
    if not (a.is_contiguous() and b.is_contiguous()):
        return (a * b).sum((0, 2, 3))
    products: Tensor = torch.linalg.vecdot(a.flatten(2), b.flatten(2))
    return products.sum(0)
