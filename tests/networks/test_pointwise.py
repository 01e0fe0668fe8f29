"""torch never gets a strided 1 x 1 convolution, in whose weight gradient it damages memory on some CPUs."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from robustnas.networks import DiscreteNetwork, Mixture, ResNet, Supernet, operations, register_operation
from robustnas.networks.bundle import Bundle, Convolution, State
from robustnas.networks.connection import Connection, Full, PartialChannels
from robustnas.networks.convolutions import pointwise_conv, strided_pointwise
from robustnas.spaces import DARTS, SearchSpace, complete_cell, random_genotype
from robustnas.spaces.find import KNOWN
from robustnas.verification.per_edge import edge_by_edge

ROOT = Path(__file__).resolve().parents[2]


class Watch(TorchDispatchMode):
    """Notes the weights of strided 1 x 1 convolutions, and how many convolutions there were at all."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, torch.Size]] = []
        self.seen = 0

    def __torch_dispatch__(self, function: Any, types: Any, given: Any = (), named: Any = None) -> Any:
        if "convolution" in (name := function.overloadpacket.__name__):
            backward = name == "convolution_backward"
            weight, stride = given[2 if backward else 1], given[4 if backward else 3]
            self.seen += 1
            if set(weight.shape[2:]) == {1} and max(stride) > 1:
                self.found.append((name, weight.shape))
        return function(*given, **(named or {}))


def watch(network: nn.Module, run: Callable[[], Tensor], backward: bool = False) -> Watch:
    """A pass under watch; modules that were not called are looked at, too."""
    with Watch() as watching, torch.set_grad_enabled(backward):
        output = run()
        if backward:
            output.square().sum().backward()
    watching.found += [(name, one.weight.shape) for name, one in network.named_modules() if strided_pointwise(one)]
    return watching


def mixtures(space: SearchSpace) -> dict[str, Mixture]:
    return {kind: Mixture(torch.rand(cell.shape)) for kind, cell in space.cells.items()}


def own_space() -> SearchSpace:
    """Every 1 x 1 operation on edges that reduce."""
    names = ("nor_conv_1x1", "skip_connect", "conv_7x1_1x7", "mbconv_3x3_3")
    cells = {
        kind: complete_cell(2, 2, names, outputs=(2, 3), reduction=kind == "reduce") for kind in ("normal", "reduce")
    }
    return SearchSpace("pointwise", cells)


EVERY = {**KNOWN, "pointwise": own_space()}


def cases() -> list[Any]:
    """Every space with every stem its skeleton has, and with both forms of a convolution."""
    found = []
    for number, (name, space) in enumerate(EVERY.items()):
        stems = ("cifar", "cifar") if space.skeleton == "nasbench201" else ("cifar", "imagenet")
        forms: tuple[Convolution, Convolution] = ("dense", "separable") if number % 2 else ("separable", "dense")
        found += [pytest.param(space, *one, id="-".join((name, *one))) for one in zip(stems, forms, strict=True)]
    return found


def settings(space: SearchSpace, stem: str) -> dict[str, Any]:
    depth = {space.rules.depth: space.rules.least_depth} if space.rules.depth else {}
    return {"channels": 4, "num_classes": 3, "stem": stem, **depth}


def images(space: SearchSpace, stem: str) -> Tensor:
    return torch.randn(2, 3, *((32, 34) if stem == "imagenet" or space.skeleton == "mobile" else (8, 9)))


def test_the_watch_sees_what_it_is_there_to_see() -> None:
    x = torch.randn(2, 4, 8, 8)
    for network in (nn.Conv2d(4, 4, 1, 2), nn.Sequential(nn.Conv2d(4, 4, 1, (1, 2)))):
        assert len(watch(network, lambda network=network: network(x), backward=True).found) == 3
    weight = torch.randn(4, 4, 1, 1, requires_grad=True)
    watching = watch(nn.Identity(), lambda: nn.functional.conv2d(x, weight, stride=2), backward=True)
    assert [name for name, _ in watching.found] == ["convolution", "convolution_backward"]
    assert not watch(nn.Conv2d(4, 4, 3, 2, 1), lambda: pointwise_conv(x, weight, 2), backward=True).found


@pytest.mark.parametrize(("space", "stem", "convolution"), cases())
def test_no_network_asks_torch_for_a_strided_pointwise_convolution(
    space: SearchSpace, stem: str, convolution: Convolution
) -> None:
    given = {**settings(space, stem), "convolution": convolution}
    partial: list[Connection] = [PartialChannels(2)] if space.skeleton == "darts" else []
    for connection in (Full(), *partial):
        supernet, at, x = Supernet(space, connection=connection, **given), mixtures(space), images(space, stem)
        backward = space is DARTS and stem == "cifar"  # of the depthwise convolutions some are written here
        watching = watch(supernet, lambda net=supernet, at=at, x=x: net(x, at), backward)
        assert watching.seen > 20
        assert not watching.found
    with edge_by_edge(supernet, at):
        assert not watch(supernet, lambda: supernet(x, at)).found
    discrete = DiscreteNetwork(space, random_genotype(space, random.Random(0)), **given)
    watching = watch(discrete, lambda: discrete(x))
    assert watching.seen > 5
    assert not watching.found


def test_nor_does_the_resnet() -> None:
    resnet = ResNet(channels=2, blocks=2)
    watching = watch(resnet, lambda: resnet(torch.randn(2, 3, 8, 8)))
    assert watching.seen == 15
    assert not watching.found


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [(8, 8), (7, 4), (1, 1)], ids=str)
def test_slicing_first_is_the_strided_convolution(size: tuple[int, int], stride: int) -> None:
    x = torch.randn(2, 5, *size, dtype=torch.float64).contiguous(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(3, 5, 1, 1, dtype=torch.float64, requires_grad=True)
    outputs = pointwise_conv(x, weight, stride), nn.functional.conv2d(x, weight, stride=stride)
    torch.testing.assert_close(*outputs)
    slopes = [torch.autograd.grad(output.pow(3).sum(), (x, weight), create_graph=True) for output in outputs]
    torch.testing.assert_close(*slopes)
    curved = [torch.autograd.grad(sum(g.pow(2).sum() for g in slope), (x, weight)) for slope in slopes]
    torch.testing.assert_close(*curved)


@pytest.mark.slow
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the fault is in kernels of x86 processors")
def test_small_searches_survive_where_the_kernel_is_faulty() -> None:
    """On a CPU with AVX-512, oneDNN is asked to take the kernels of AVX2, where few channels and pixels suffice."""
    code = (
        "import torch; from robustnas.networks import Mixture, Supernet; from robustnas.spaces import DARTS\n"
        "torch.set_num_threads(1); net = Supernet(DARTS, channels=2, layers=3)\n"
        "for _ in range(8):\n"
        "    at = {kind: Mixture(torch.rand(cell.shape)) for kind, cell in DARTS.cells.items()}\n"
        "    torch.autograd.grad(net(torch.randn(4, 3, 16, 16), at).square().sum(), list(net.parameters()))\n"
    )
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "MALLOC_PERTURB_": "165"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


class Own(nn.Module):
    """A user's operation with strided 1 x 1 convolutions; it notes the format of its images."""

    def __init__(self, channels: int, stride: int, affine: bool) -> None:
        super().__init__()
        self.inner = nn.Conv2d(channels, channels, 1, 2 if stride == 1 else stride)
        self.stride, self.formats = stride, list[bool]()

    def forward(self, x: Tensor) -> Tensor:
        self.formats.append(x.is_contiguous(memory_format=torch.channels_last))
        small: Tensor = self.inner(x)
        return small if self.stride == 2 else nn.functional.interpolate(small, x.shape[-2:])


@pytest.mark.parametrize("stride", [1, 2])
def test_a_users_strided_convolution_gets_images_it_is_safe_with(stride: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "_KNOWN", dict(operations._KNOWN))
    register_operation("own", Own)
    operation = operations.build_operation("own", Bundle(2, 4, 4, stride=stride))
    x = torch.randn(2, 4, 8, 8).contiguous(memory_format=torch.channels_last).requires_grad_()
    with Watch() as watching:
        output = operation(State(x), (0, 1), torch.tensor([0.5, 2.0]))
        (slope,) = torch.autograd.grad(output.square().sum(), x)
    assert watching.found  # torch got it, but not in the format in which it fails
    assert [one.formats for one in operation.each] == [[False], [False]]
    assert output.is_contiguous(memory_format=torch.channels_last)
    expected = torch.cat([0.5 * operation.each[0](x), 2 * operation.each[1](x)], dim=1)
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(slope, torch.autograd.grad(expected.square().sum(), x)[0])


def test_a_users_other_operations_get_the_images_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "_KNOWN", dict(operations._KNOWN))
    register_operation("plain", lambda channels, stride, affine: nn.Conv2d(channels, channels, 3, stride, 1))
    operation = operations.build_operation("plain", Bundle(1, 4, 4))
    x = torch.randn(2, 4, 8, 8).contiguous(memory_format=torch.channels_last)
    assert torch.equal(operation(State(x), (0,), None), operation.each[0](x))
