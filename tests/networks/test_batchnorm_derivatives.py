"""The closed second derivative of BatchNorm: by torch's own, by differences, and where the mean is large."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import grad, gradcheck, gradgradcheck

from robustnas.networks.batchnorm_derivatives import untracked_batch_norm

EPS = 1e-5


def drawn(dtype: torch.dtype = torch.float64, mean: float = 1.0) -> list[Tensor]:
    """Images, γ and β."""
    torch.manual_seed(0)
    x, weight, bias = torch.randn(4, 3, 5, 6) * 2 + mean, torch.rand(3) + 0.5, torch.randn(3)
    return [one.to(dtype).requires_grad_() for one in (x, weight, bias)]


def by_torch(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    return F.batch_norm(x, None, None, weight, bias, True, eps=eps)


def derivatives(norm: Any, given: list[Tensor]) -> list[Tensor]:
    """Of a loss that is curved in y: its gradients, and those of their product with directions."""
    x, *rest = given
    y = norm(x, *(rest or (None, None)), EPS)
    first = grad(y.pow(3).sum(), given, create_graph=True)
    torch.manual_seed(1)
    inner = torch.stack([(one * torch.randn_like(one)).sum() for one in first]).sum()
    return [y, *first, *grad(inner, given)]


@pytest.mark.parametrize("affine", [True, False])
def test_both_derivatives_are_those_of_differences(affine: bool) -> None:
    x, *rest = drawn()
    given = [x, *rest] if affine else [x]

    def norm(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        return untracked_batch_norm(x, weight, bias, EPS)

    assert gradcheck(norm, given)
    assert gradgradcheck(norm, given)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_values_and_slopes_are_torchs_bit_for_bit_and_curvature_to_rounding(affine: bool, layout: Any) -> None:
    x, *rest = drawn()
    given = [x.detach().to(memory_format=layout).requires_grad_(), *(rest if affine else [])]
    found, expected = derivatives(untracked_batch_norm, given), derivatives(by_torch, given)
    half = 1 + len(given)
    assert all(torch.equal(a, b) for a, b in zip(found[:half], expected[:half], strict=True))
    for one, other in zip(found[half:], expected[half:], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11 * float(other.abs().max()))


@pytest.mark.parametrize("mean", [0.0, 300.0])
def test_in_single_precision_it_is_as_exact_as_torchs(mean: float) -> None:
    given = drawn(torch.float32, mean)
    exact = derivatives(by_torch, [one.detach().double().requires_grad_() for one in given])

    def errors(norm: Any) -> list[float]:
        pairs = zip(derivatives(norm, given), exact, strict=True)
        return [float((one.double() - other).detach().abs().max() / other.detach().abs().max()) for one, other in pairs]

    for ours, theirs in zip(errors(untracked_batch_norm), errors(by_torch), strict=True):
        assert ours <= 2 * theirs + 1e-6


def third(norm: Any, given: list[Tensor]) -> tuple[Tensor, ...]:
    first = grad(norm(*given, EPS).pow(3).sum(), given, create_graph=True)
    inner = torch.stack([one.square().sum() for one in first]).sum()
    second = grad(inner, given, create_graph=True)
    return grad(torch.stack([one.square().sum() for one in second]).sum(), given)


def elementary(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    deviation = (x.var((0, 2, 3), correction=0, keepdim=True) + eps).sqrt()
    return weight[:, None, None] * (x - x.mean((0, 2, 3), keepdim=True)) / deviation + bias[:, None, None]


def test_a_third_derivative_is_that_of_elementary_functions() -> None:
    """Torch's own is not: it takes mean and deviation for constants."""
    given = drawn()
    for one, other in zip(third(untracked_batch_norm, given), third(elementary, given), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9 * float(other.abs().max()))
