"""The auxiliary skip connection: values of the original, and those of a network that adds it edge by edge."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from golden import check, golden, part
from reference_operations import operation
from references import Cell as ReferenceCell
from references import ReferenceSupernet
from torch import Tensor, nn

from robustnas.networks import AuxiliarySkip, DiscreteNetwork, Full, Mixture, PartialChannels, Supernet
from robustnas.networks.mixture import one_hots
from robustnas.spaces import DARTS, S1, NASBench201, find_space, parse_genotype

SPACES = {"s3": "S3", "s5": "DARTS"}
CELL = (
    "DARTS normal: 0-2 sep_conv_3x3, 1-2 skip_connect, 0-3 max_pool_3x3, 1-3 dil_conv_5x5, 0-4 skip_connect, "
    "2-4 sep_conv_5x5, 1-5 avg_pool_3x3, 3-5 dil_conv_3x3"
)
GENOTYPE = parse_genotype(f"{CELL} | {CELL.removeprefix('DARTS ').replace('normal', 'reduce')}")


@pytest.mark.parametrize("case", SPACES)
@pytest.mark.parametrize("beta", [1.0, 0.37, 0.0])
def test_values_and_gradients_are_those_of_the_original(case: str, beta: float) -> None:
    arrays, meta = golden("darts_minus")
    held, space = part(arrays, f"{case}/"), find_space(SPACES[case])
    for kind, cell in space.cells.items():
        assert [list(edge.operations) for edge in cell.edges] == list(held[f"ops/{kind}"])
    channels = part(held, "w/")["stem.conv"].shape[0] // 3
    network = Supernet(space, channels, 3, connection=AuxiliarySkip()).double()
    network.load_edgewise_state_dict(part(held, "w/"))
    alphas = {kind: held[f"alpha/{kind}"].clone().requires_grad_() for kind in space.cells}
    names, weights = zip(*network.named_parameters(), strict=True)

    logits = network(held["x_train"], {k: Mixture(a.softmax(dim=1), auxiliary=beta) for k, a in alphas.items()})
    loss = nn.functional.cross_entropy(logits, held["y_train"])
    gradients = torch.autograd.grad(loss, [*alphas.values(), *weights], materialize_grads=True)

    expected = part(held, f"out/beta_{beta}/")
    check(logits, expected["logits"], **meta["tolerances"]["forward"])
    check(loss, expected["loss"], **meta["tolerances"]["forward"])
    for kind, gradient in zip(alphas, gradients, strict=False):
        check(gradient, expected[f"grad_alpha/{kind}"], **meta["tolerances"]["gradient"])
    of_weights = network.edgewise_state_dict(of=dict(zip(names, gradients[2:], strict=True)))
    for name, gradient in part(expected, "grad_w/").items():
        check(of_weights[name], gradient, **meta["tolerances"]["gradient"])
    assert of_weights.keys() == part(held, "w/").keys()
    added = [gradient for name, gradient in of_weights.items() if ".auxiliary." in name]
    assert len(added) == 2 * 2 * 8
    assert all((gradient == 0).all() for gradient in added) == (beta == 0)


def test_the_linear_schedule_is_that_of_the_original_but_ends_at_zero() -> None:
    """The recorded one divides by one epoch more."""
    arrays, _ = golden("darts_minus")
    recorded = arrays["out/schedules"]["linear, base 1.0, max 50, start 0, stop 50"][1:]
    found = [AuxiliarySkip().auxiliary_weight(epoch, len(recorded) + 1) for epoch in range(len(recorded))]
    assert found == pytest.approx(recorded, abs=1e-12)


@pytest.mark.parametrize("epochs", [2, 3, 50])
def test_schedules_fall_from_the_start_to_exactly_zero(epochs: int) -> None:
    linear = [AuxiliarySkip(0.8).auxiliary_weight(epoch, epochs) for epoch in range(epochs + 3)]
    cosine = [AuxiliarySkip(0.8, "cosine").auxiliary_weight(epoch, epochs) for epoch in range(epochs + 3)]
    for values in (linear, cosine):
        assert values[0] == pytest.approx(0.8)
        assert values[epochs - 1 :] == [0.0] * 4
        assert all(one > other for one, other in pairwise(values[:epochs]))
    assert linear[: epochs - 1] == pytest.approx([0.8 * (1 - epoch / (epochs - 1)) for epoch in range(epochs - 1)])
    if epochs == 3:
        assert cosine[1] == pytest.approx(0.4)
    assert AuxiliarySkip().auxiliary_weight(0, 1) == 0.0


class SkippedCell(ReferenceCell):
    """Every edge adds a module of its own, times β."""

    beta = 0.6

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        for name, modules in self.edge.items():
            stride = 2 if self.space.reduction and int(name.split("-")[0]) < self.space.inputs else 1
            modules["auxiliary"] = operation("skip_connect", given[2][2], stride, False, True)

    def forward(self, states: list[Tensor], mixture: Any, probability: float) -> Tensor:
        edges = len(mixture)
        return super().forward(states, torch.cat([mixture, mixture.new_full((edges, 1), self.beta)], dim=1), 0.0)


class SkippedReference(ReferenceSupernet):
    def make_cell(self, kind: str, sizes: tuple[int, int, int], reduction_before: bool) -> ReferenceCell:
        cell = self.space.cells[kind]
        edges = [(edge.source, edge.node, edge.operations) for edge in cell.edges]
        return SkippedCell(cell, edges, sizes, reduction_before, False, self.space.skeleton == "darts")


@pytest.mark.parametrize(
    ("space", "size", "options"),
    [
        (DARTS, 8, {"layers": 3, "convolution": "dense", "checkpointing": True}),
        (S1, 11, {"layers": 3, "channels_last": True}),
        (NASBench201, 11, {"cells": 1, "channels_last": False}),
    ],
    ids=["DARTS", "S1", "NASBench201"],
)
def test_what_is_added_is_that_of_a_network_edge_by_edge(space: Any, size: int, options: dict[str, Any]) -> None:
    depth = {name: options[name] for name in ("layers", "cells") if name in options}
    reference = SkippedReference(space, 4, **depth).double()
    network = Supernet(space, 4, **options, connection=AuxiliarySkip()).double()
    network.load_edgewise_state_dict(reference.edgewise_state_dict())
    weights = {kind: torch.rand(cell.shape).double().requires_grad_() for kind, cell in space.cells.items()}
    images = torch.randn(3, 3, size, size + 4).double()
    logits = network(images, {kind: Mixture(weight, auxiliary=SkippedCell.beta) for kind, weight in weights.items()})
    expected = reference(images, weights)
    check(logits, expected, rtol=1e-9, atol=1e-9)
    slopes, wanted = (
        torch.autograd.grad(output.square().sum(), [*weights.values(), *list(model.parameters())[:1]])
        for output, model in ((logits, network), (expected, reference))
    )
    for one, other in zip(slopes, wanted, strict=True):
        check(one, other, rtol=1e-8, atol=1e-9 * float(other.abs().max()))


def mixtures(space: Any, **fields: Any) -> dict[str, Mixture]:
    return {kind: Mixture(torch.rand(cell.shape).double(), **fields) for kind, cell in space.cells.items()}


def test_with_stride_one_it_is_one_more_skip_connection() -> None:
    network = Supernet(NASBench201, 4, cells=1, connection=AuxiliarySkip()).double()
    images, column = (
        torch.randn(4, 3, 8, 8).double(),
        NASBench201.cells["cell"].edges[0].operations.index("skip_connect"),
    )
    (mixture,) = mixtures(NASBench201).values()
    moved = mixture.operations.clone()
    moved[:, column] += 0.3
    check(network(images, {"cell": replace(mixture, auxiliary=0.3)}), network(images, {"cell": Mixture(moved)}))


def test_an_edge_is_weighed_as_a_whole_and_has_nothing_where_no_operation_is_computed() -> None:
    network = Supernet(DARTS, 4, 3, connection=AuxiliarySkip()).double()
    images, active = torch.randn(4, 3, 8, 8).double(), torch.ones(14, 8, dtype=torch.bool)
    active[3] = False
    edges = torch.rand(14).double()
    plain = mixtures(DARTS, auxiliary=0.5)
    masked = {kind: replace(m, edges=edges).restricted(active) for kind, m in plain.items()}
    without = {kind: replace(m, edges=edges * active.any(dim=1)) for kind, m in plain.items()}
    check(network(images, masked), network(images, without))
    assert (network(images, masked) - network(images, plain)).abs().max() > 1e-3


@pytest.mark.parametrize("channels", [Full(), PartialChannels(2)], ids=["full", "partial"])
def test_at_zero_it_is_the_network_without_and_draws_the_same_weights(channels: Any) -> None:
    networks = []
    for connection in (channels, AuxiliarySkip(0.0, channels=channels), AuxiliarySkip(channels=channels)):
        torch.manual_seed(3)
        networks.append((Supernet(DARTS, 4, 3, connection=connection), torch.randn(5)))
    (plain, after), (neutral, neutral_after), (added, added_after) = networks
    assert torch.equal(after, neutral_after)
    assert torch.equal(after, added_after)
    assert plain.state_dict().keys() == neutral.state_dict().keys()
    held = added.state_dict()
    assert all(torch.equal(tensor, held[name]) for name, tensor in plain.state_dict().items())
    assert len(held) > len(plain.state_dict())
    kernels = [tensor for name, tensor in held.items() if ".auxiliary." in name and "conv" in name]
    assert len({float(kernel.flatten()[0]) for kernel in kernels}) == len(kernels)
    images, given = (
        torch.randn(4, 3, 8, 8),
        {k: replace(m, operations=m.operations.float()) for k, m in mixtures(DARTS).items()},
    )
    assert torch.equal(plain(images, given), added(images, given))
    beside = {kind: replace(mixture, auxiliary=0.5) for kind, mixture in given.items()}
    assert (plain(images, given) - added(images, beside)).abs().max() > 1e-3


def test_partial_channels_bypass_it_too() -> None:
    """Only channels that pass through the operations take the auxiliary skip connection."""
    network = Supernet(NASBench201, 8, cells=1, connection=AuxiliarySkip(channels=PartialChannels(4))).double()
    seen: list[Tensor] = []
    for module in network.modules():
        if type(module).__name__ == "Identity" and hasattr(module, "bundle"):
            module.register_forward_pre_hook(lambda _, given: seen.append(given[0].images))
    network(torch.randn(2, 3, 8, 8).double(), mixtures(NASBench201, auxiliary=0.5))
    assert {images.shape[1] for images in seen} == {2, 4, 8}


def test_a_genotype_is_computed_without_it_and_inherits_the_other_weights() -> None:
    network = Supernet(DARTS, 4, 3, connection=AuxiliarySkip(), pool_norm=False).double()
    discrete = DiscreteNetwork(DARTS, GENOTYPE, 4, 3).double()
    discrete.load_edgewise_state_dict(network.edgewise_state_dict(), strict=False)
    images = torch.randn(4, 3, 8, 8).double()
    check(network(images, one_hots(DARTS, GENOTYPE, images)), discrete(images))
    assert not [name for name in discrete.edgewise_state_dict() if "auxiliary" in name]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_reduced_precision_stays_near(precision: torch.dtype) -> None:
    network = Supernet(DARTS, 16, 3, connection=AuxiliarySkip()).double()
    images, given = torch.randn(8, 3, 16, 16).double(), mixtures(DARTS, auxiliary=0.7)
    exact = network(images, given)
    single = {kind: replace(mixture, operations=mixture.operations.float()) for kind, mixture in given.items()}
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        logits = network.float()(images.float(), single)
    assert (logits.double() - exact).abs().max() < (1e-5 if precision == torch.float32 else 5e-2) * exact.abs().max()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AuxiliarySkip(-1.0), "Expected `weight_start` to be zero or more, but got -1.0."),
        (lambda: AuxiliarySkip(float("nan")), "Expected `weight_start` to be zero or more, but got nan."),
        (lambda: AuxiliarySkip(schedule="step"), "Expected `schedule` to be 'linear' or 'cosine', but got 'step'."),
        (
            lambda: AuxiliarySkip(channels=AuxiliarySkip()),
            "Expected `channels` to be a connection that adds no operation itself, but got AuxiliarySkip(",
        ),
        (lambda: Supernet("Mobile", connection=AuxiliarySkip()), "Expected `connection` to be `Full` in the space"),
        (
            lambda: Supernet(DARTS, 18, connection=AuxiliarySkip(channels=PartialChannels(4))),
            "Expected `channels` to be divisible by the `k` of `PartialChannels`, 4, but got 18.",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


@pytest.mark.slow
def test_compiled_cells_compute_the_same() -> None:
    """Two operations of stride two read one state: with hooks on it torch 2.13 would lose the sums behind them."""
    torch._dynamo.reset()
    networks = [Supernet("S2", 4, 3, connection=AuxiliarySkip()) for _ in range(2)]
    networks[1].load_state_dict(networks[0].state_dict())
    for cell in networks[1].body.cells:
        cell.compile(backend="aot_eager", dynamic=False)
    images, space = torch.randn(4, 3, 8, 8), networks[0].space
    for beta in (0.5, 0.0):
        given = {k: Mixture(torch.rand(cell.shape), auxiliary=beta) for k, cell in space.cells.items()}
        plain, compiled = (network(images, given) for network in networks)
        torch.testing.assert_close(compiled, plain, rtol=1e-5, atol=1e-5)
        slopes = [
            torch.autograd.grad(out.square().sum(), network.body.stem.conv.weight)
            for out, network in zip((plain, compiled), networks, strict=True)
        ]
        torch.testing.assert_close(slopes[1], slopes[0], rtol=1e-3, atol=1e-3 * float(slopes[0][0].abs().max()))
