"""Partial channels: the values of the original, and those of a network that joins the channels edge by edge."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from golden import check, golden, part, tolerance
from reference_operations import operation
from references import Cell as ReferenceCell
from references import ReferenceSupernet
from torch import Tensor, nn

from robustnas.networks import Connection, Full, Mixture, PartialChannels, Supernet
from robustnas.networks.bundle import Convolution
from robustnas.networks.connection import shuffle
from robustnas.spaces import DARTS, S1, NASBench201, SearchSpace
from robustnas.strategies import Softmax
from robustnas.training.architecture_parameters import by_node

DEPTH: dict[str, dict[str, int]] = {"darts": {"layers": 3}, "nasbench201": {"cells": 1}}


class PartialCell(ReferenceCell):
    """Every edge divides, pools, concatenates and shuffles by itself, channel by channel."""

    def __init__(self, space: Any, sizes: tuple[int, int, int], reduction_before: bool, pooling_bn: bool, k: int):
        super().__init__(space, (), sizes, reduction_before, False, pooling_bn)
        self.k, self.through = k, sizes[2] // k
        for edge in space.edges:
            stride = 2 if space.reduction and edge.source < space.inputs else 1
            made = {name: operation(name, self.through, stride, False, pooling_bn) for name in edge.operations}
            self.edge[f"{edge.source}-{edge.node}"] = nn.ModuleDict(made)

    def forward(self, states: list[Tensor], mixture: Mixture, probability: float) -> Tensor:
        states = [self.pre0(states[0]), self.pre1(states[1])] if self.space.inputs == 2 else states[-1:]
        for node in self.space.nodes:
            total = torch.zeros(())
            for row, edge in enumerate(self.space.edges):
                if edge.node == node:
                    weight = 1.0 if mixture.edges is None else mixture.edges[row]
                    total = total + weight * self.edge_output(row, edge, states[edge.source], mixture.operations)
            states.append(total)
        return torch.cat([states[node] for node in self.space.outputs], dim=1)

    def edge_output(self, row: int, edge: Any, x: Tensor, weights: Tensor) -> Tensor:
        modules = self.edge[f"{edge.source}-{edge.node}"].values()
        mixed = sum(weights[row, column] * module(x[:, : self.through]) for column, module in enumerate(modules))
        rest = x[:, self.through :]
        if mixed.shape[-1] != x.shape[-1]:
            rest = nn.functional.max_pool2d(rest, 2, 2, ceil_mode=True)
        joined = torch.cat([mixed, rest], dim=1)
        shuffled: list[Any] = [None] * joined.shape[1]
        for group in range(self.k):
            for i in range(self.through):
                shuffled[i * self.k + group] = joined[:, group * self.through + i]
        return torch.stack(shuffled, dim=1)


class PartialReference(ReferenceSupernet):
    def __init__(self, space: SearchSpace, channels: int, k: int, **depth: int) -> None:
        self.k = k
        super().__init__(space, channels, **depth)

    def make_cell(self, kind: str, sizes: tuple[int, int, int], reduction_before: bool) -> ReferenceCell:
        return PartialCell(self.space.cells[kind], sizes, reduction_before, self.space.skeleton == "darts", self.k)


def mixed(space: SearchSpace, alphas: Mapping[str, Tensor], betas: Mapping[str, Tensor]) -> dict[str, Mixture]:
    """Mixtures of a softmax of α, with edges weighed by β where there is one."""
    weights = {kind: by_node(space.cells[kind], beta, Softmax().edge_weights) for kind, beta in betas.items()}
    return {kind: Mixture(alpha.softmax(dim=1), weights.get(kind)) for kind, alpha in alphas.items()}


def architecture(space: SearchSpace, weigh: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """α and, if edges are weighed, β, far from zero."""
    draw = {"dtype": torch.float64, "requires_grad": True}
    alphas = {kind: torch.randn(cell.shape, **draw) for kind, cell in space.cells.items()}
    betas = {kind: torch.randn(len(cell.edges), **draw) for kind, cell in space.cells.items() if weigh}
    return alphas, betas


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "checkpointed"])
@pytest.mark.parametrize("convolution", ["separable", "dense"])
def test_values_and_gradients_are_those_of_the_original(convolution: Convolution, checkpointing: bool) -> None:
    arrays, meta = golden("pc_darts_forward")
    network = Supernet(
        DARTS,
        meta["C"],
        meta["layers"],
        convolution=convolution,
        checkpointing=checkpointing,
        connection=PartialChannels(meta["k"]),
    ).double()
    network.load_edgewise_state_dict(part(arrays, "w/"))
    given = {name: arrays[f"alpha/{name}"].clone().requires_grad_() for name in ("normal", "reduce")}
    betas = {name: arrays[f"alpha/beta_{name}"].clone().requires_grad_() for name in given}
    names, weights = zip(*network.named_parameters(), strict=True)

    logits = network(arrays["x_train"], mixed(DARTS, given, betas))
    loss = nn.functional.cross_entropy(logits, arrays["y_train"])
    gradients = torch.autograd.grad(loss, [*given.values(), *betas.values(), *weights])

    check(logits, arrays["out/logits"], **tolerance(meta, "out/logits"))
    check(loss, arrays["out/loss"], **tolerance(meta, "out/logits"))
    for name, gradient in zip(("normal", "reduce", "beta_normal", "beta_reduce"), gradients, strict=False):
        check(gradient, arrays[f"out/grad_alpha/{name}"], **tolerance(meta, "gradients"))
    of_weights = network.edgewise_state_dict(of=dict(zip(names, gradients[4:], strict=True)))
    expected = part(arrays, "out/grad_w/")
    assert of_weights.keys() == expected.keys()
    for name, gradient in of_weights.items():
        check(gradient, expected[name], **tolerance(meta, "gradients"))


def test_partial_supernet_has_the_published_number_of_weights() -> None:
    with torch.device("meta"):
        network = Supernet(DARTS, connection=PartialChannels(4))
    assert sum(weight.numel() for weight in network.parameters()) == 299_578


@pytest.mark.parametrize(
    ("space", "weigh", "convolution", "size"),
    [
        (DARTS, False, "separable", 8), (DARTS, True, "dense", 11),
        (S1, True, "separable", 11), (S1, False, "dense", 8),
        (NASBench201, False, "separable", 11), (NASBench201, True, "dense", 8),
    ],
    ids=lambda value: getattr(value, "name", None),
)  # fmt: skip
def test_joining_once_per_node_gives_what_joining_on_every_edge_gives(
    space: SearchSpace, weigh: bool, convolution: Convolution, size: int
) -> None:
    options = {"convolution": convolution, "checkpointing": size == 11, "channels_last": size == 8}
    network = Supernet(space, 8, **DEPTH[space.skeleton], **options, connection=PartialChannels(4)).double()
    reference = PartialReference(space, 8, 4, **DEPTH[space.skeleton]).double()
    network.load_edgewise_state_dict(reference.edgewise_state_dict())
    alphas, betas = architecture(space, weigh)
    images = torch.randn(3, 3, size, size + 4, dtype=torch.float64)
    found, wanted = {}, {}
    for store, model in ((found, network), (wanted, reference)):
        logits = model(images, mixed(space, alphas, betas))
        named = {f"alpha.{k}": a for k, a in alphas.items()} | {f"beta.{k}": b for k, b in betas.items()}
        weights = dict(model.named_parameters()) if model is network else model.edgewise_state_dict()
        gradients = torch.autograd.grad(logits.square().sum(), [*named.values(), *weights.values()])
        store.update(zip(named, gradients, strict=False), logits=logits)
        of = dict(zip(weights, gradients[len(named) :], strict=True))
        store.update(network.edgewise_state_dict(of=of) if model is network else of)
        store["eval"] = model.eval()(images, mixed(space, alphas, betas))  # with the statistics of one batch
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        check(value, wanted[name], rtol=1e-10, atol=1e-10 * float(wanted[name].detach().abs().max()))


@pytest.mark.parametrize("k", [1, 2, 4])
def test_shuffling_by_k_and_by_the_quotient_changes_nothing(k: int) -> None:
    images = torch.randn(2, 16, 3, 5)
    for laid_out in (images, images.contiguous(memory_format=torch.channels_last)):
        assert torch.equal(shuffle(shuffle(laid_out, k), 16 // k), images)
    assert shuffle(laid_out, k).is_contiguous(memory_format=torch.channels_last)
    assert shuffle(torch.arange(8)[None, :, None, None], 4).flatten().tolist() == [0, 2, 4, 6, 1, 3, 5, 7]


def test_all_channels_and_equal_edges_give_the_mean_of_darts() -> None:
    """With weights 1 / m on the m edges of a node; DARTS with its α divided by m says the same."""
    whole, partial = (Supernet(DARTS, 4, 3, connection=one).double() for one in (Full(), PartialChannels(1)))
    partial.load_state_dict(whole.state_dict())
    alphas, betas = architecture(DARTS, weigh=True)
    mixtures = mixed(DARTS, alphas, {kind: torch.full_like(beta, 0.3) for kind, beta in betas.items()})
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    sizes = {kind: torch.tensor([edge.node for edge in cell.edges]) for kind, cell in DARTS.cells.items()}
    means = {kind: Mixture(alphas[kind].softmax(dim=1) / sizes[kind][:, None]) for kind in alphas}
    check(partial(images, mixtures), whole(images, means), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("weigh", [False, True], ids=["plain edges", "weighed edges"])
def test_an_edge_without_an_active_operation_still_has_its_bypass(weigh: bool) -> None:
    network = Supernet(DARTS, 8, 3, connection=PartialChannels(4)).double()
    alphas, betas = architecture(DARTS, weigh)
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    kept = torch.ones(14, 8, dtype=torch.bool)
    kept[[2, 0, 1]] = False  # an edge among others, and both of a node
    mixtures = {
        kind: Mixture(mixture.operations * kept, mixture.edges) for kind, mixture in mixed(DARTS, alphas, betas).items()
    }
    computed = network(images, mixtures)
    skipped = {kind: Mixture(mixture.operations, mixture.edges, kept) for kind, mixture in mixtures.items()}
    check(network(images, skipped), computed, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("weigh", [False, True], ids=["plain edges", "weighed edges"])
def test_drop_path_drops_operations_and_bypass_together(monkeypatch: pytest.MonkeyPatch, weigh: bool) -> None:
    """A node of one edge is all zero for a dropped sample, and scaled for the others."""
    network = Supernet(NASBench201, 8, cells=1, connection=PartialChannels(4)).double()
    images = torch.randn(64, 3, 8, 8, dtype=torch.float64)
    states: list[Tensor] = []
    split = PartialChannels.split
    monkeypatch.setattr(PartialChannels, "split", lambda *args: (states.append(args[1]), split(*args))[1])
    mixture = Mixture(torch.full((6, 5), 0.2, dtype=torch.float64), torch.full((6,), 0.7) if weigh else None)
    nodes = []
    for probability in (0.5, 0.0):
        states.clear()
        network(images, {"cell": mixture}, drop_path=probability)
        nodes.append(states[1])  # node 1 of the first cell has one edge
    dropped, whole = nodes
    empty = dropped.flatten(1).abs().amax(dim=1) == 0
    assert 16 < int(empty.sum()) < 48
    check(dropped[~empty], 2 * whole[~empty], rtol=1e-12, atol=1e-12)
    assert (whole.abs().amax(dim=(0, 2, 3)) > 0).all()


def evenly() -> dict[str, Mixture]:
    return {"cell": Mixture(torch.full((6, 5), 0.2, dtype=torch.float64))}


def test_partial_channels_in_evaluation_ignore_drop_path() -> None:
    network = Supernet(NASBench201, 8, cells=1, connection=PartialChannels(4)).double().eval()
    images = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    assert torch.equal(network(images, evenly(), drop_path=0.9), network(images, evenly()))


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_reduced_precision_stays_near(precision: torch.dtype) -> None:
    network = Supernet(DARTS, 16, 3, connection=PartialChannels(4)).double()
    alphas, betas = architecture(DARTS, weigh=True)
    images = torch.randn(8, 3, 16, 16, dtype=torch.float64)
    exact = network(images, mixed(DARTS, alphas, betas))
    network.float()
    singles = [{kind: value.detach().float() for kind, value in values.items()} for values in (alphas, betas)]
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        logits = network(images.float(), mixed(DARTS, *singles))
    limit = 1e-5 if precision == torch.float32 else 5e-2
    assert (logits.double() - exact).abs().max() < limit * exact.abs().max()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PartialChannels(0), "Expected `k` to be at least 1, but got 0."),
        (
            lambda: Supernet(DARTS, 18, connection=PartialChannels(4)),
            "Expected `channels` to be divisible by the `k` of `PartialChannels`, 4, but got 18.",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


def test_connections_are_parts() -> None:
    with pytest.raises(TypeError):
        Connection()  # type: ignore[abstract]
    assert PartialChannels() == PartialChannels(4)
    assert hash(Full()) == hash(Full())
