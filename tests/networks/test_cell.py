"""What is left out costs nothing, edges have weights of their own and are dropped as a whole."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustnas.networks import Mixture, Supernet, SupernetConfig, one_hot
from robustnas.networks.bundle import Convolution
from robustnas.networks.cell import Candidate, Cell, MixtureWeights
from robustnas.networks.normalisation import BundleNorm
from robustnas.networks.operations import SepConv
from robustnas.spaces import DARTS, CellSpace, Edge, NASBench201, SearchSpace


def cell_of(*edges: Edge, channels: int = 4, config: SupernetConfig = SupernetConfig(pool_norm=False)) -> Cell:
    """A cell with one input, used as it is."""
    space = CellSpace(1, edges, (edges[-1].node,))
    candidates = [
        Candidate(row, column, edge.source, edge.node, name)
        for row, edge in enumerate(space.edges)
        for column, name in enumerate(edge.operations)
    ]
    return Cell(space, candidates, (channels,), channels, (), config)


def small(space: SearchSpace, convolution: Convolution = "separable") -> Supernet:
    depth: dict[str, Any] = {str(space.rules.depth): space.rules.least_depth}
    return Supernet(space, channels=4, num_classes=4, convolution=convolution, **depth).double()


def sampled(space: SearchSpace, chance: float) -> dict[str, Tensor]:
    return {kind: torch.rand(cell.shape) < chance for kind, cell in space.cells.items()}


def gradients(network: Supernet, images: Tensor, mixtures: dict[str, Mixture], wanted: list[Tensor]) -> list[Tensor]:
    loss = network(images, mixtures).square().sum()
    return [loss, *torch.autograd.grad(loss, wanted, materialize_grads=True)]


@pytest.mark.parametrize(
    ("space", "convolution", "chance"),
    [
        (DARTS, "separable", 0.1), (DARTS, "dense", 0.5), (NASBench201, "separable", 0.5), (NASBench201, "dense", 0.1),
    ],
    ids=lambda value: getattr(value, "name", None),
)  # fmt: skip
def test_inactive_operations_are_those_of_weight_zero(
    space: SearchSpace, convolution: Convolution, chance: float
) -> None:
    network, images = small(space, convolution), torch.randn(3, 3, 8, 8, dtype=torch.float64)
    active = sampled(space, chance)
    weights = {k: (torch.rand(mask.shape, dtype=torch.float64) * mask).requires_grad_() for k, mask in active.items()}
    own = list(network.parameters())
    all_computed = gradients(network, images, {k: Mixture(w) for k, w in weights.items()}, [*weights.values(), *own])
    mixtures = {k: Mixture(w, active=active[k]) for k, w in weights.items()}
    few_computed = gradients(network, images, mixtures, [*weights.values(), *own])
    torch.testing.assert_close(few_computed[0], all_computed[0], rtol=1e-10, atol=1e-12)
    for kind, few, every in zip(weights, few_computed[1:], all_computed[1:], strict=False):
        torch.testing.assert_close(few, every * active[kind], rtol=1e-9, atol=1e-11)
    for few, every in zip(few_computed[3:], all_computed[3:], strict=True):
        torch.testing.assert_close(few, every, rtol=1e-9, atol=1e-11)


def test_inactive_operations_are_not_computed() -> None:
    network = small(DARTS)
    calls = []
    for module in network.modules():
        if isinstance(module, SepConv):
            module.bn2.register_forward_hook(lambda _, args, __: calls.append(args[1]))
    mixtures = {
        kind: one_hot(cell, {row: 4 if row == 3 else 3 for row in range(len(cell.edges))}, torch.zeros(1).double())
        for kind, cell in DARTS.cells.items()
    }
    network(torch.randn(2, 3, 8, 8, dtype=torch.float64), mixtures)
    assert len(calls) == 3  # one edge in each of three cells
    assert all(len(group) == 1 for group in calls)


def test_statistics_of_inactive_operations_stay() -> None:
    network = small(DARTS)
    mixtures = {kind: one_hot(cell, {0: 4}, torch.zeros(1).double()) for kind, cell in DARTS.cells.items()}
    network(torch.randn(2, 3, 8, 8, dtype=torch.float64), mixtures)
    for name, value in network.edgewise_state_dict().items():
        if ".edge." in name and name.endswith("running_mean") and "pool" not in name:
            assert value.any() == name.startswith(tuple(f"cells.{k}.edge.0-2.sep_conv_3x3" for k in range(3))), name


@pytest.mark.parametrize("convolution", ["separable", "dense"])
def test_a_node_that_nothing_enters_is_zero(convolution: Convolution) -> None:
    cell = cell_of(Edge(0, 1, ("nor_conv_1x1", "none")), Edge(0, 2, ("none", "skip_connect")), Edge(1, 2, ("none",)))
    images = torch.randn(2, 4, 5, 5)
    active = torch.tensor([[True, True], [True, True], [True, False]])
    assert torch.equal(cell((images,), MixtureWeights(Mixture(torch.ones(3, 2), active=active))), images)
    nothing = MixtureWeights(Mixture(torch.zeros(3, 2), active=torch.zeros(3, 2, dtype=torch.bool)))
    assert torch.equal(cell((images,), nothing), torch.zeros(2, 4, 5, 5))
    network = small(DARTS, convolution)
    mixtures = {kind: one_hot(cell, {}, torch.zeros(1).double()) for kind, cell in DARTS.cells.items()}
    logits = network(torch.randn(2, 3, 9, 8, dtype=torch.float64), mixtures)
    torch.testing.assert_close(logits, network.body.classifier.bias.expand(2, -1))


def test_edge_weights_multiply_those_of_the_operations() -> None:
    network, images = small(DARTS), torch.randn(3, 3, 8, 8, dtype=torch.float64)
    operations = {k: torch.rand(c.shape, dtype=torch.float64).requires_grad_() for k, c in DARTS.cells.items()}
    edges = {k: torch.rand(c.shape[0], dtype=torch.float64).requires_grad_() for k, c in DARTS.cells.items()}
    wanted = [*operations.values(), *edges.values()]
    split = gradients(network, images, {k: Mixture(operations[k], edges[k]) for k in edges}, wanted)
    products = {k: Mixture(operations[k] * edges[k][:, None]) for k in edges}
    for found, expected in zip(split, gradients(network, images, products, wanted), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    assert all(gradient.any() for gradient in split)


def test_offsets_are_added_to_every_element_of_an_edge() -> None:
    cell = cell_of(Edge(0, 1, ("skip_connect",)), Edge(0, 2, ("none",)), Edge(1, 2, ("skip_connect",)))
    images = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    offsets = torch.tensor([2.0, 3.0, 5.0], dtype=torch.float64, requires_grad=True)
    edges = torch.tensor([1.0, 10.0, 0.5], dtype=torch.float64)
    ones = torch.ones(3, 1, dtype=torch.float64)
    output = cell((images,), MixtureWeights(Mixture(ones, edges, offsets=offsets)))
    torch.testing.assert_close(output, (images + 2 + 5) * 0.5 + 30)
    slope = torch.randn_like(images)
    (gradient,) = torch.autograd.grad(output, offsets, slope)
    torch.testing.assert_close(gradient, slope.sum() * torch.tensor([0.5, 10.0, 0.5], dtype=torch.float64))
    nothing = torch.zeros(3, 1, dtype=torch.bool)  # an edge counts even if nothing on it is computed
    output = cell((images,), MixtureWeights(Mixture(0 * ones, edges, nothing, offsets)))
    torch.testing.assert_close(output, torch.full_like(images, 30 + 2.5))


def test_drop_path_drops_an_edge_for_whole_samples() -> None:
    cell = cell_of(Edge(0, 1, ("skip_connect", "max_pool_3x3")), Edge(0, 2, ("skip_connect",)), Edge(1, 2, ("none",)))
    weights = MixtureWeights(Mixture(torch.tensor([[0.25, 0.5], [0.5, 0], [1.0, 0]])))
    cell.space = CellSpace(1, cell.space.edges, (1, 2))
    first, second = cell((torch.ones(4000, 4, 2, 2),), weights, drop_path=0.2).split(4, dim=1)
    for output, weight in ((first, 0.75), (second, 0.5)):
        samples = output.flatten(1)
        assert torch.equal(samples, samples[:, :1].expand_as(samples))
        values = samples[:, 0].unique()
        torch.testing.assert_close(values, torch.tensor([0, weight / 0.8]))  # never the weight of one operation
        assert abs(samples.mean().item() - weight) < 0.02
    together = (first[:, 0, 0, 0] * second[:, 0, 0, 0] > 0).float().mean().item()
    assert abs(together - 0.64) < 0.03  # edges are dropped independently


def test_drop_path_repeats_with_its_seed_and_rests_in_evaluation() -> None:
    network, images = small(NASBench201), torch.randn(4, 3, 8, 8, dtype=torch.float64)
    mixtures = {"cell": Mixture(torch.full((6, 5), 0.2, dtype=torch.float64))}
    outputs = []
    for _ in range(2):
        torch.manual_seed(1)
        outputs.append(network(images, mixtures, drop_path=0.5))
    assert torch.equal(*outputs)
    assert not torch.equal(outputs[0], network(images, mixtures))
    network.eval()
    assert torch.equal(network(images, mixtures, drop_path=0.5), network(images, mixtures))


def test_drop_path_spares_the_identity_of_a_discrete_cell_only() -> None:
    cell = cell_of(Edge(0, 1, ("skip_connect",)), config=SupernetConfig(affine=True, pool_norm=False))
    images = torch.ones(200, 4, 2, 2)
    assert torch.equal(cell((images,), None, drop_path=0.5), images)
    assert not torch.equal(cell((images,), MixtureWeights(Mixture(torch.ones(1, 1))), drop_path=0.5), images)


def test_checkpointed_drop_path_draws_the_same_mask_again() -> None:
    images = torch.randn(4, 3, 8, 8)
    mixtures = {kind: Mixture(torch.full(cell.shape, 0.2)) for kind, cell in DARTS.cells.items()}
    found = []
    for checkpointing in (False, True):
        torch.manual_seed(2)
        network = Supernet(DARTS, channels=2, layers=3, checkpointing=checkpointing)
        loss = nn.functional.cross_entropy(network(images, mixtures, drop_path=0.5), torch.tensor([0, 1, 2, 3]))
        found.append(torch.autograd.grad(loss, list(network.parameters())))
    for kept, again in zip(*found, strict=True):
        torch.testing.assert_close(again, kept)


def test_gradients_reach_batch_norm_laid_out_as_the_images() -> None:
    network, seen = Supernet(DARTS, channels=4, layers=3), []
    for module in network.modules():
        if isinstance(module, BundleNorm):
            module.register_forward_hook(
                lambda _, __, output: output.register_hook(lambda gradient: seen.append((output, gradient))) and None
            )
    mixtures = {kind: Mixture(torch.full(cell.shape, 0.2)) for kind, cell in DARTS.cells.items()}
    network(torch.randn(2, 3, 16, 16), mixtures).square().sum().backward()
    assert len(seen) > 100
    assert all(gradient.is_contiguous(memory_format=torch.channels_last) for _, gradient in seen)
    assert all(output.is_contiguous(memory_format=torch.channels_last) for output, _ in seen)
