"""Depthwise convolutions have the values and all derivatives of the plain ones."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from robustnas.networks.convolutions import depthwise_conv, from_phases, grouped_conv, to_phases


def plain(x: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
    padding = dilation * (weight.shape[-1] // 2)
    return F.conv2d(x, weight, None, stride, padding, dilation, groups=x.shape[1])


STEPS = [(1, 1), (1, 2), (2, 1), (2, 2)]  # stride, dilation
SIZES = [(8, 8), (7, 8), (5, 3), (2, 2)]
# Each two values of different columns come together at least once.
PAIRWISE = [((3, 5, 7)[(i + j) % 3], *STEPS[i], SIZES[j], bool((i + j // 2) % 2)) for i in range(4) for j in range(4)]


@pytest.mark.parametrize(("taps", "stride", "dilation", "size", "last"), PAIRWISE)
def test_first_and_second_derivatives(taps: int, stride: int, dilation: int, size: tuple[int, int], last: bool) -> None:
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    x = x.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format).requires_grad_()
    weight = torch.randn(3, 1, taps, taps, dtype=torch.float64, requires_grad=True)
    expected, found = plain(x, weight, stride, dilation), depthwise_conv(x, weight, stride, dilation)
    upstream = torch.randn_like(expected, requires_grad=True)
    first = [torch.autograd.grad(y, (x, weight), upstream, create_graph=True) for y in (expected, found)]
    cubes = [sum((slope**3).sum() for slope in slopes) for slopes in first]
    second = [torch.autograd.grad(cube, (x, weight, upstream)) for cube in cubes]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    for slope, target in zip((*first[1], *second[1]), (*first[0], *second[0]), strict=True):
        torch.testing.assert_close(slope, target, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("wanted", ["x", "weight"])
@pytest.mark.parametrize("dilation", [1, 2])
def test_one_gradient_alone(wanted: str, dilation: int) -> None:
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64, requires_grad=wanted == "x")
    weight = torch.randn(3, 1, 5, 5, dtype=torch.float64, requires_grad=wanted == "weight")
    of = x if wanted == "x" else weight
    slopes = [torch.autograd.grad(f(x, weight, 1, dilation).pow(2).sum(), of)[0] for f in (plain, depthwise_conv)]
    torch.testing.assert_close(*slopes)


@pytest.mark.parametrize(
    ("precision", "taps", "stride", "dilation"),
    [
        (torch.bfloat16, 3, 1, 1), (torch.float32, 3, 2, 1), (torch.bfloat16, 5, 2, 1), (torch.float32, 5, 1, 1),
        (torch.bfloat16, 5, 1, 2), (torch.float32, 3, 1, 2), (torch.bfloat16, 3, 2, 2), (torch.float32, 7, 1, 1),
    ],
)  # fmt: skip
def test_reduced_precision_stays_near(precision: torch.dtype, taps: int, stride: int, dilation: int) -> None:
    x = torch.randn(4, 8, 16, 16).to(precision, memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(8, 1, taps, taps).to(precision).requires_grad_()
    found = depthwise_conv(x, weight, stride, dilation)
    exact = plain(x.double(), weight.double(), stride, dilation)
    upstream = torch.randn_like(exact).to(precision)
    slopes = torch.autograd.grad(found, (x, weight), upstream)
    targets = torch.autograd.grad(exact, (x, weight), upstream.double())
    limit = 2e-6 if precision == torch.float32 else 2e-2
    for value, target in zip((found, *slopes), (exact, *targets), strict=True):
        assert value.dtype == precision
        assert (value.double() - target).abs().max() < limit * target.abs().max()


def test_autocast_lowers_the_precision_and_gives_gradients_in_full() -> None:
    x = torch.randn(2, 8, 8, 8, requires_grad=True)
    weight = torch.randn(8, 1, 5, 5, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        found = depthwise_conv(x, weight)
    assert found.dtype == torch.bfloat16
    slopes = torch.autograd.grad(found.float().square().sum(), (x, weight))
    assert [slope.dtype for slope in slopes] == [torch.float32] * 2
    torch.testing.assert_close(found.float(), plain(x, weight, 1, 1), rtol=0.05, atol=0.1)


def test_phases_are_woven_back_with_their_gradient() -> None:
    x = torch.randn(2, 3, 6, 4, dtype=torch.float64, requires_grad=True)
    phases = to_phases(x)
    for index, (row, column) in enumerate(itertools.product((0, 1), repeat=2)):
        assert torch.equal(phases.unflatten(0, (4, 2))[index], x[..., row::2, column::2])
    assert torch.equal(from_phases(phases), x)
    upstream = torch.randn_like(x)
    assert torch.equal(torch.autograd.grad(from_phases(phases), x, upstream)[0], upstream)


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
@pytest.mark.parametrize(("groups", "taps", "stride"), [(4, 1, 1), (8, 3, 1), (2, 3, 2)])
def test_grouped_convolutions_are_those_of_torch_bit_for_bit(
    groups: int, taps: int, stride: int, precision: torch.dtype
) -> None:
    x = torch.randn(3, 8, 7, 8, dtype=precision).contiguous(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(16, 8 // groups, taps, taps, dtype=precision, requires_grad=True)
    options = (stride, taps // 2, 1, groups)
    outputs = [F.conv2d(x, weight, None, *options), grouped_conv(x, weight, *options)]
    upstream = torch.randn_like(outputs[0])
    slopes = [torch.autograd.grad(y, (x, weight), upstream, retain_graph=True) for y in outputs]
    assert all(
        torch.equal(one, other) for one, other in zip((outputs[0], *slopes[0]), (outputs[1], *slopes[1]), strict=True)
    )
    for wanted in (x, weight):
        alone = [torch.autograd.grad(y, wanted, upstream, retain_graph=True)[0] for y in outputs]
        assert torch.equal(*alone)


@pytest.mark.parametrize("stride", [1, 2])
def test_grouped_convolutions_have_second_and_third_derivatives(stride: int) -> None:
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(6, 2, 3, 3, dtype=torch.float64, requires_grad=True)

    def conv(x: Tensor, weight: Tensor) -> Tensor:
        return grouped_conv(x, weight, stride, 1, 1, 2)

    assert torch.autograd.gradgradcheck(conv, (x, weight))
    found = []
    for one in (conv, lambda x, weight: F.conv2d(x, weight, None, stride, 1, 1, 2)):
        value = one(x, weight).tanh().sum()
        for _ in range(2):
            value = sum(slope.square().sum() for slope in torch.autograd.grad(value, (x, weight), create_graph=True))
        found.append(torch.autograd.grad(value, (x, weight)))
    for slope, target in zip(*found, strict=True):
        torch.testing.assert_close(slope, target, rtol=1e-9, atol=1e-9)
