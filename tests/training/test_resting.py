"""Weights of operations that were not computed stay, with their momentum; all others move as they always do."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustnas.networks import Mixture, Supernet
from robustnas.networks.edgewise import edgewise_slices
from robustnas.networks.operations import register_operation
from robustnas.spaces import DARTS, MobileSmall, NASBench201, SearchSpace, complete_cell, find_space
from robustnas.training.hooks.frozen_operations import frozen_operations, not_computed

Named = dict[str, Tensor]


class Scaled(nn.Module):
    """An operation of one's own."""

    def __init__(self, channels: int, stride: int, affine: bool) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.randn(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


register_operation("scaled_at_rest", Scaled)
OWN = SearchSpace(
    "Own", {"cell": complete_cell(1, 3, ("none", "scaled_at_rest", "nor_conv_1x1"), (3,))}, skeleton="nasbench201"
)
SPACES = [DARTS, NASBench201, find_space("S1"), MobileSmall, OWN]
DEPTHS: dict[str, dict[str, int]] = {"darts": {"layers": 3}, "nasbench201": {"cells": 2}, "mobile": {}}


class Training:
    """A supernet that takes steps on paths of one operation an edge."""

    def __init__(self, space: SearchSpace, **options: Any) -> None:
        torch.manual_seed(0)
        self.space = space
        self.network = Supernet(space, channels=4, num_classes=4, affine=True, **DEPTHS[space.skeleton])
        self.optimiser = torch.optim.SGD(self.network.parameters(), **options)
        self.images = torch.randn(4, 3, 8, 8)

    def path(self, seed: int) -> dict[str, Mixture]:
        generator, paths = torch.Generator().manual_seed(seed), {}
        for kind, cell in self.space.cells.items():
            active = torch.zeros(cell.shape, dtype=torch.bool)
            for row, edge in enumerate(cell.edges):
                active[row, int(torch.randint(len(edge.operations), (), generator=generator))] = True
            paths[kind] = Mixture(active.float(), active=active)
        return paths

    def step(self, seed: int, rest: bool) -> None:
        path, parameters = self.path(seed), list(self.network.parameters())
        loss = self.network(self.images, path).square().mean()
        found = torch.autograd.grad(loss, parameters, materialize_grads=True)
        for parameter, gradient in zip(parameters, found, strict=True):
            parameter.grad = gradient
        if rest:
            with frozen_operations(not_computed(self.network, path), self.optimiser):
                self.optimiser.step()
        else:
            self.optimiser.step()

    def numbers(self) -> tuple[Named, Named]:
        """Weights and their momentum, edge by edge; zero where there is none yet."""
        named = dict(self.network.named_parameters())
        held = {name: self.optimiser.state[p].get("momentum_buffer") for name, p in named.items()}
        momenta = {name: torch.zeros_like(named[name]) if m is None else m for name, m in held.items()}
        return tuple(  # type: ignore[return-value]
            {name: x.clone() for name, x in self.network.edgewise_state_dict(of=one).items()}
            for one in (named, momenta)
        )

    def sampled(self, seed: int) -> dict[str, bool]:
        """Whether each weight belongs to an operation of the path, or to none that could be left out."""
        path, found = self.path(seed), {}
        kinds = self.network.body.kinds if len(self.space.cells) > 1 else None  # else numbers skip residual blocks
        for name in self.numbers()[0]:
            parts = name.split(".")
            if len(parts) < 5 or parts[2] != "edge":
                found[name] = True
                continue
            kind = next(iter(self.space.cells)) if kinds is None else kinds[int(parts[1])]
            cell = self.space.cells[kind]
            row = cell.row(*map(int, parts[3].split("-")))
            found[name] = bool(path[kind].active[row, cell.edges[row].operations.index(parts[4])])
        return found


@pytest.mark.parametrize(
    ("space", "options"),
    [
        pytest.param(DARTS, {"nesterov": True}, marks=pytest.mark.slow),
        *((space, {"nesterov": True}) for space in SPACES[1:]),
        (NASBench201, {"foreach": True}),
        (OWN, {"momentum": 0.0}),
    ],
    ids=lambda part: getattr(part, "name", str(part)),
)
def test_what_was_not_computed_rests_bit_for_bit(space: SearchSpace, options: dict[str, Any]) -> None:
    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, **options}
    training, plain = Training(space, **settings), Training(space, **settings)
    rested = moved = 0
    for seed in range(3):
        plain.network.load_state_dict(training.network.state_dict())
        plain.optimiser.load_state_dict(deepcopy(training.optimiser.state_dict()))
        before = training.numbers()
        training.step(seed, rest=True)
        plain.step(seed, rest=False)
        sampled = training.sampled(seed)
        for now, then, usual in zip(training.numbers(), before, plain.numbers(), strict=True):
            assert now.keys() == sampled.keys()
            for name, value in now.items():
                assert torch.equal(value, usual[name] if sampled[name] else then[name]), (seed, name)
        rested += sum(not one for one in sampled.values())
        moved += sum(sampled[name] and "edge" in name for name in sampled)
        weights, usual = training.numbers()[0], plain.numbers()[0]
        assert any(not torch.equal(weights[name], usual[name]) for name in sampled)
    assert rested > 10
    assert moved > 10


def test_momentum_that_was_there_is_there_again() -> None:
    training = Training(NASBench201, lr=0.1, momentum=0.9, weight_decay=0.01)
    training.step(0, rest=False)
    momenta = training.numbers()[1]
    resting_ones = [name for name, now in training.sampled(1).items() if not now]
    assert all(momenta[name].abs().max() > 0 for name in resting_ones if not name.endswith("bias"))
    training.step(1, rest=True)
    after = training.numbers()[1]
    assert all(torch.equal(after[name], momenta[name]) for name in resting_ones)


def test_where_all_is_computed_nothing_rests() -> None:
    one, other = (Training(DARTS, lr=0.1, momentum=0.9, weight_decay=0.01) for _ in range(2))
    for training, rest in ((one, True), (other, False)):
        everything = {kind: Mixture(torch.ones(cell.shape)) for kind, cell in DARTS.cells.items()}
        training.path = lambda _, everything=everything: everything  # type: ignore[method-assign]
        training.step(0, rest)
    assert all(torch.equal(a, b) for a, b in zip(one.network.parameters(), other.network.parameters(), strict=True))
    assert len(edgewise_slices(one.network.body)) > 100
