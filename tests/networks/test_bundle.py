"""Bundles of edges compute exactly what the edges compute one by one."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from references import ReferenceSupernet
from torch import Tensor, nn

from robustnas.networks import Mixture, Supernet
from robustnas.networks.bundle import Convolution
from robustnas.spaces import (
    DARTS,
    S1,
    S2,
    S3,
    S4,
    CellSpace,
    DARTSAllEdges,
    DARTSSingleCellWithoutSkip,
    DARTSWithoutNone,
    Edge,
    NASBench201,
    SearchSpace,
    darts_like,
)

DARTS_OPERATIONS = (
    "none", "skip_connect", "max_pool_3x3", "avg_pool_3x3", "sep_conv_3x3", "sep_conv_5x5", "sep_conv_7x7",
    "dil_conv_3x3", "dil_conv_5x5",
)  # fmt: skip
NASBENCH201_OPERATIONS = ("none", "skip_connect", "avg_pool_3x3", "nor_conv_1x1", "nor_conv_3x3", "sep_conv_5x5")


NORMAL_ONLY = darts_like("NormalOnly", ("none", "skip_connect", "sep_conv_3x3"), nodes=3, reduction=False)


def random_cell(draw: random.Random, inputs: int, reduction: bool, operations: tuple[str, ...]) -> CellSpace:
    """A cell of any edges, each with operations of its own, in an order of its own."""
    last = inputs + draw.randint(0, 2)
    edges = []
    for node in range(inputs, last + 1):
        for source in draw.sample(range(node), draw.randint(1, node)):
            chosen = draw.sample(operations, draw.randint(1, 5))
            edges.append(Edge(source, node, (*chosen, "skip_connect") if chosen == ["none"] else tuple(chosen)))
    outputs = (last,) if inputs == 1 else tuple(sorted({last, draw.randint(inputs, last)}))
    return CellSpace(inputs, tuple(edges), outputs, reduction, never_selected=frozenset({"none"}))


def random_space(seed: int) -> SearchSpace:
    draw = random.Random(seed)
    if seed % 3 == 2:
        return SearchSpace("any", {"cell": random_cell(draw, 1, False, NASBENCH201_OPERATIONS)}, "nasbench201")
    outputs = {kind: random_cell(draw, 2, kind == "reduce", DARTS_OPERATIONS) for kind in ("normal", "reduce")}
    return SearchSpace("any", outputs)


def mixtures_of(space: SearchSpace) -> dict[str, Tensor]:
    """Random weights; zero for noise, which no two networks draw alike."""
    weights = {kind: torch.rand(cell.shape, dtype=torch.float64) for kind, cell in space.cells.items()}
    for kind, cell in space.cells.items():
        for row, edge in enumerate(cell.edges):
            if "noise" in edge.operations:
                weights[kind][row, edge.operations.index("noise")] = 0
    return {kind: values.requires_grad_() for kind, values in weights.items()}


def assert_relative(found: Tensor, expected: Tensor, name: str) -> None:
    """Within 1e-10 of the largest entry."""
    difference, scale = (found - expected).abs().max(), expected.abs().max()
    assert difference <= 1e-10 * scale + 1e-14, f"{name}: {difference / scale:.1e}"


def assert_same(
    space: SearchSpace, convolution: Convolution, train: bool, size: tuple[int, int], image_channels: int
) -> None:
    depth: dict[str, Any] = {str(space.rules.depth): space.rules.least_depth}
    settings: dict[str, Any] = {**depth, "num_classes": 4, "image_channels": image_channels}
    reference = ReferenceSupernet(space, 4, **settings).double()
    network = Supernet(space, 4, convolution=convolution, **settings).double()
    network.load_edgewise_state_dict(reference.edgewise_state_dict())
    images = torch.randn(5, image_channels, *size, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(4, (5,))
    weights = mixtures_of(space)
    mixtures = {kind: Mixture(values) for kind, values in weights.items()}
    if not train:  # after a pass that moves the running statistics
        reference(images, weights), network(images, mixtures)
        reference.eval(), network.eval()

    expected = nn.functional.cross_entropy(reference(images, weights), labels)
    found = nn.functional.cross_entropy(network(images, mixtures), labels)
    assert_relative(found, expected, "loss")
    shared = [images, *weights.values()]
    by_name = reference.edgewise_state_dict()
    wanted = torch.autograd.grad(expected, [*shared, *by_name.values()], materialize_grads=True)
    names, own = zip(*network.named_parameters(), strict=True)
    gradients = torch.autograd.grad(found, [*shared, *own], materialize_grads=True)
    for name, gradient, target in zip(("images", *weights), gradients, wanted, strict=False):
        noise = [edge.operations.index("noise") for _, edge in space if "noise" in edge.operations and name in weights]
        if name in weights and noise:
            gradient, target = (torch.cat([g[:, : noise[0]], g[:, noise[0] + 1 :]], dim=1) for g in (gradient, target))
        assert_relative(gradient, target, name)
    edgewise = network.edgewise_state_dict(of=dict(zip(names, gradients[len(shared) :], strict=True)))
    for name, target in zip(by_name, wanted[len(shared) :], strict=True):
        assert_relative(edgewise[name], target, name)


SPACES = [DARTS, DARTSWithoutNone, DARTSAllEdges, S1, S2, S3, S4, NASBench201, DARTSSingleCellWithoutSkip, NORMAL_ONLY]


# Every space with both forms of a convolution, in training and in evaluation.
CASES: list[tuple[SearchSpace, Convolution, bool]] = [
    case
    for number, space in enumerate(SPACES)
    for case in ((space, "separable", bool(number % 2)), (space, "dense", not number % 2))
]


@pytest.mark.parametrize(("space", "convolution", "train"), CASES, ids=lambda value: getattr(value, "name", None))
def test_bundles_equal_edges_one_by_one(space: SearchSpace, convolution: Convolution, train: bool) -> None:
    assert_same(space, convolution, train, (8, 8), image_channels=3)


@pytest.mark.parametrize(
    ("size", "space", "convolution"),
    [
        ((9, 13), DARTS, "separable"), ((9, 13), NASBench201, "dense"),
        ((10, 7), DARTS, "dense"), ((10, 7), NASBench201, "separable"),
    ],
    ids=lambda value: getattr(value, "name", None),
)  # fmt: skip
def test_odd_sizes_and_grey_images(space: SearchSpace, convolution: Convolution, size: tuple[int, int]) -> None:
    assert_same(space, convolution, True, size, image_channels=1)


@pytest.mark.parametrize("seed", range(12))
def test_any_space_computes_as_its_edges_one_by_one(seed: int) -> None:
    convolution: Convolution = "dense" if seed % 2 else "separable"
    assert_same(random_space(seed), convolution, seed % 4 < 2, (8 + seed % 3, 8), image_channels=3)


@pytest.mark.parametrize("convolution", ["separable", "dense"])
@pytest.mark.parametrize("space", [DARTS, S4, NORMAL_ONLY, NASBench201], ids=lambda space: space.name)
def test_curvature_equals_that_of_edges_one_by_one(space: SearchSpace, convolution: Convolution) -> None:
    """Hessian-vector products over weights and mixtures together, as unrolled steps need them."""
    depth: dict[str, Any] = {str(space.rules.depth): space.rules.least_depth}
    reference = ReferenceSupernet(space, 2, num_classes=4, **depth).double()
    network = Supernet(space, 2, num_classes=4, convolution=convolution, **depth).double()
    network.load_edgewise_state_dict(reference.edgewise_state_dict())
    images, labels = torch.randn(4, 3, 8, 8, dtype=torch.float64), torch.randint(4, (4,))
    weights = mixtures_of(space)
    directions = [torch.randn_like(values) for values in weights.values()]
    if space is S4:
        directions = [direction * torch.tensor([0.0, 1.0]) for direction in directions]

    def product(loss: Tensor, of: list[Tensor]) -> tuple[Tensor, ...]:
        slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        along = sum((slope * direction).sum() for slope, direction in zip(slopes, directions, strict=True))
        return torch.autograd.grad(along, of, materialize_grads=True)

    by_name = reference.edgewise_state_dict()
    expected = nn.functional.cross_entropy(reference(images, weights), labels)
    wanted = product(expected, [*weights.values(), *by_name.values()])
    mixtures = {kind: Mixture(values) for kind, values in weights.items()}
    names, own = zip(*network.named_parameters(), strict=True)
    products = product(nn.functional.cross_entropy(network(images, mixtures), labels), [*weights.values(), *own])
    for kind, found, target in zip(weights, products, wanted, strict=False):
        start = 1 if space is S4 else 0
        assert_relative(found[:, start:], target[:, start:], kind)
    edgewise = network.edgewise_state_dict(of=dict(zip(names, products[len(weights) :], strict=True)))
    for name, target in zip(by_name, wanted[len(weights) :], strict=True):
        assert_relative(edgewise[name], target, name)
