"""Operations that are probed give their weights the gradient of operations that are computed, and hold no memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from robustnas.networks import Mixture, PartialChannels, Supernet
from robustnas.networks.batchnorm_statistics import frozen_batchnorm_statistics
from robustnas.networks.bundle import Convolution
from robustnas.networks.operations import Noise, SepConv
from robustnas.spaces import DARTS, MobileSmall, NASBench201, SearchSpace, darts_like
from robustnas.spaces.find import KNOWN

NORMAL_ONLY = darts_like("NormalOnly", DARTS.operations, nodes=3, reduction=False)
SPACES = list(KNOWN.values())
SKELETONS = [DARTS, NASBench201, MobileSmall, NORMAL_ONLY]  # one space of each
DEPTHS: dict[str, dict[str, int]] = {"darts": {"layers": 3}, "nasbench201": {"cells": 1}, "mobile": {}}
DEPTHS["darts_normal"] = {"layers": 2}


def small(space: SearchSpace, **options: Any) -> Supernet:
    return Supernet(space, channels=4, num_classes=4, **DEPTHS[space.skeleton], **options).double()


def sampled(
    space: SearchSpace, edges: bool = False, dtype: torch.dtype = torch.float64
) -> tuple[dict[str, Mixture], dict[str, Mixture], list[Tensor]]:
    """One path with all else probed, the same with all computed, and what both are made of."""
    torch.manual_seed(0)
    probed, computed, made_of = {}, {}, []
    for kind, cell in space.cells.items():
        widths = [len(edge.operations) for edge in cell.edges]
        chosen = torch.tensor([int(torch.randint(1, max(width, 2), ())) % width for width in widths])  # seldom none
        opened = nn.functional.one_hot(chosen, cell.shape[1]).bool()
        weights = opened.to(dtype).requires_grad_()
        of_edges = (torch.rand(len(widths), dtype=dtype) + 0.5).requires_grad_() if edges else None
        probed[kind] = Mixture(weights, of_edges, active=opened, probed=~opened)
        computed[kind] = Mixture(weights, of_edges)
        made_of += [weights] if of_edges is None else [weights, of_edges]
    return probed, computed, made_of


def gradients(
    network: Supernet, mixtures: dict[str, Mixture], wanted: list[Tensor], images: Tensor, **options: Any
) -> tuple[Tensor, ...]:
    loss = network(images, mixtures, **options).square().sum()
    return loss.detach(), *torch.autograd.grad(loss, wanted, materialize_grads=True)


def agree(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def images(seed: int = 0) -> Tensor:
    return torch.randn(3, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def same_noise(operation: Noise, like: Tensor, edges: int) -> Tensor:
    """The same noise on every edge of every bundle."""
    shape = (len(like), operation.bundle.out_channels, *like.shape[-2:])
    one = torch.randn(shape, dtype=like.dtype, generator=torch.Generator().manual_seed(2))
    return one[:, None].expand(-1, edges, -1, -1, -1)


# Every space with both forms of a convolution, and with weights of edges and without.
CASES = [
    pytest.param(*case, marks=pytest.mark.slow if space.name == "Mobile" else [])  # as in its smaller sibling
    for number, space in enumerate(SPACES)
    for case in ((space, bool(number % 2), "separable"), (space, not number % 2, "dense"))
]


@pytest.mark.parametrize(("space", "edges", "convolution"), CASES, ids=lambda value: getattr(value, "name", None))
def test_gradients_are_those_of_computed_operations(
    space: SearchSpace, edges: bool, convolution: Convolution, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Noise, "draw", same_noise)  # drawn in another order otherwise
    network = small(space, convolution=convolution)
    probed, computed, made_of = sampled(space, edges)
    wanted = [*made_of, *network.parameters()]
    expected = gradients(network, computed, wanted, images())
    agree(gradients(network, probed, wanted, images()), expected)
    left_out = expected[1][~next(iter(probed.values())).active]
    assert left_out.abs().max() > 1e-4


@pytest.mark.parametrize(
    ("space", "options"),
    [
        (DARTS, {"checkpointing": True}),
        (MobileSmall, {"checkpointing": True}),
        (DARTS, {"connection": PartialChannels(2)}),
    ],
    ids=str,
)
def test_so_are_those_of_other_networks(space: SearchSpace, options: dict[str, Any]) -> None:
    network = small(space, **options)
    probed, computed, made_of = sampled(space)
    agree(gradients(network, probed, made_of, images()), gradients(network, computed, made_of, images()))


@pytest.mark.parametrize("space", [NASBench201, MobileSmall], ids=lambda space: space.name)
def test_a_dropped_edge_gives_no_gradient(space: SearchSpace) -> None:
    network = small(space)
    probed, computed, made_of = sampled(space)
    found = []
    for mixtures in (probed, computed):
        torch.manual_seed(3)
        found.append(gradients(network, mixtures, made_of, images(), drop_path=0.5))
    agree(*found)
    assert not torch.allclose(found[0][1], gradients(network, probed, made_of, images())[1])


def test_an_edge_that_computes_nothing_is_probed_too() -> None:
    network, active = small(NASBench201), torch.zeros(6, 5, dtype=torch.bool)
    active[5, 3] = True
    weights = active.double().requires_grad_()
    probed = {"cell": Mixture(weights, active=active, probed=~active)}
    agree(
        gradients(network, probed, [weights], images()),
        gradients(network, {"cell": Mixture(weights)}, [weights], images()),
    )


@pytest.mark.parametrize("space", SKELETONS, ids=lambda space: space.name)
def test_second_derivatives_are_those_of_computed_operations(space: SearchSpace) -> None:
    network = small(space)
    probed, computed, made_of = sampled(space)
    wanted = [*made_of, *network.parameters()]
    directions = [torch.randn_like(one) for one in made_of]

    def twice(mixtures: dict[str, Mixture]) -> tuple[Tensor, ...]:
        loss = network(images(), mixtures).square().sum()
        slopes = torch.autograd.grad(loss, made_of, create_graph=True)
        along = sum((slope * way).sum() for slope, way in zip(slopes, directions, strict=True))
        return torch.autograd.grad(along, wanted, materialize_grads=True)

    names = [*(str(i) for i in range(len(made_of))), *(name for name, _ in network.named_parameters())]
    for name, one, other in zip(names, twice(probed), twice(computed), strict=True):
        assert other.abs().max() > 1e-6 or not name.isdigit()
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-9, msg=name)


def test_a_block_of_none_is_probed_too() -> None:
    network, chain = small(MobileSmall), MobileSmall.cells["chain"]
    columns = [len(edge.operations) - 1 for edge in chain.edges]  # `none` where there is one
    active = nn.functional.one_hot(torch.tensor(columns), chain.shape[1]).bool()
    weights = active.double().requires_grad_()
    probed = {"chain": Mixture(weights, active=active, probed=~active)}
    expected = gradients(network, {"chain": Mixture(weights)}, [weights], images())
    agree(gradients(network, probed, [weights], images()), expected)
    assert expected[1][2, :-1].abs().min() > 1e-4


@pytest.mark.parametrize("space", [NASBench201, MobileSmall], ids=lambda space: space.name)
def test_the_weights_are_those_of_the_call(space: SearchSpace) -> None:
    network = small(space)
    probed, computed, made_of = sampled(space)
    others = {name: weight.detach() * 1.5 + 0.1 for name, weight in network.named_parameters()}
    found = [
        torch.autograd.grad(functional_call(network, others, (images(), mixtures)).square().sum(), made_of)
        for mixtures in (probed, computed)
    ]
    agree(*found)
    assert not torch.allclose(found[0][0], gradients(network, probed, made_of, images())[1])


@pytest.mark.parametrize("space", [DARTS, MobileSmall], ids=lambda space: space.name)
def test_running_statistics_move_once_for_each_operation(space: SearchSpace) -> None:
    network = small(space)
    probed, computed, made_of = sampled(space)
    start = {name: buffer.clone() for name, buffer in network.named_buffers()}
    with frozen_batchnorm_statistics(network):
        gradients(network, probed, made_of, images())
    assert all(torch.equal(buffer, start[name]) for name, buffer in network.named_buffers())
    moved = []
    for mixtures in (probed, computed):
        network.load_state_dict(start, strict=False)
        gradients(network, mixtures, made_of, images())
        moved.append({name: buffer.clone() for name, buffer in network.named_buffers()})
    for name, buffer in moved[1].items():
        torch.testing.assert_close(moved[0][name], buffer, rtol=1e-10, atol=1e-12)
        assert not torch.equal(buffer, start[name]), name


def held(network: Supernet, mixtures: dict[str, Mixture]) -> int:
    """Bytes that the forward pass keeps for the backward pass."""
    sizes: dict[int, int] = {}
    kept = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)  # so that no other takes its place
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(images(), mixtures)
    return sum(sizes.values())


@pytest.mark.parametrize("space", SKELETONS, ids=lambda space: space.name)
def test_what_is_probed_holds_no_memory(space: SearchSpace) -> None:
    network = small(space)
    probed, computed, _ = sampled(space)
    alone = {kind: Mixture(mixture.operations, active=mixture.active) for kind, mixture in probed.items()}
    one_path = held(network, alone)
    assert held(network, computed) > 1.8 * one_path
    assert held(network, probed) <= 1.1 * one_path


def test_what_is_probed_is_computed_in_the_backward_pass_only() -> None:
    network = small(DARTS)
    probed, _, made_of = sampled(DARTS)
    calls: list[str] = []
    for module in network.modules():
        if isinstance(module, SepConv):
            module.register_forward_hook(lambda *_: calls.append("sep_conv"))
    with torch.no_grad():
        network(images(), probed)
    in_evaluation, loss = len(calls), network(images(), probed).sum()
    assert len(calls) == 2 * in_evaluation
    network(images(), {kind: mixture.detach() for kind, mixture in probed.items()}).sum().backward()
    assert len(calls) == 3 * in_evaluation
    torch.autograd.grad(loss, made_of)
    assert len(calls) > 4 * in_evaluation


def test_reduced_precision_stays_near() -> None:
    network = Supernet(DARTS, channels=4, layers=3)
    probed, computed, made_of = sampled(DARTS, dtype=torch.float32)
    found = []
    for mixtures in (probed, computed):
        with torch.autocast("cpu", torch.bfloat16):
            loss = network(images().float(), mixtures).square().sum()
            found.append(torch.autograd.grad(loss, made_of))
    for one, other in zip(*found, strict=True):
        assert (one - other).norm() < 0.05 * other.norm()


def test_a_weight_after_it_still_learns_in_reduced_precision() -> None:
    network = Supernet(NASBench201, channels=4, cells=1)
    probed, computed, made_of = sampled(NASBench201, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        torch.autograd.grad(network(images().float(), probed).sum(), made_of)
        loss = network(images().float(), computed).square().sum()
        found = torch.autograd.grad(loss, list(network.parameters()), allow_unused=True)
    assert all(gradient is not None for gradient in found)
