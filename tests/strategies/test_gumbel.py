"""One operation an edge is drawn with the right probability, and computed alone."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from golden import check
from tables import check_each
from torch import Tensor

from robustnas.networks import Supernet
from robustnas.networks.bundle import Operation
from robustnas.spaces import DARTS, NASBench201, SearchSpace
from robustnas.strategies import GumbelOneHot, StepContext
from robustnas.strategies.gumbel_one_hot import gumbel_noise, straight_through
from robustnas.strategies.step_context import Phase


def context(seed: int = 0, epoch: int = 0, epochs: int = 1, phase: Phase = "arch") -> StepContext:
    return StepContext(phase, epoch, epochs, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("tau", [10.0, 1.0, 0.1, 1e-3])
def test_the_sample_is_one_hot_exactly_and_derives_as_its_formula(tau: float) -> None:
    alpha = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    noise = gumbel_noise(alpha, torch.Generator().manual_seed(1))
    shares, chosen, hard = straight_through(alpha, noise, tau)
    assert torch.equal(hard, F.one_hot(chosen, 5).double())
    assert torch.equal(chosen, (alpha + noise).argmax(dim=1))
    slope = torch.randn(6, 5, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(hard, alpha, slope, retain_graph=True)
    q = shares.detach()
    check(gradient, q * (slope - (q * slope).sum(1, keepdim=True)) / tau, rtol=1e-9, atol=1e-12)
    check(torch.autograd.grad(shares, alpha, slope)[0], gradient)


@pytest.mark.parametrize("tau", [10.0, 0.1])
def test_operations_are_drawn_as_often_as_softmax_says(tau: float) -> None:
    alpha = torch.tensor([[0.0, 1.0, -1.0, 0.5], [2.0, 2.0, 0.0, -torch.inf]], dtype=torch.float64)
    draws, part = 20_000, GumbelOneHot(tau, tau)
    repeated = alpha.repeat(draws, 1)
    mixture = part.mixture(repeated, context(seed=4))
    counts = mixture.operations.unflatten(0, (draws, 2)).sum(0)
    expected = alpha.softmax(dim=1) * draws
    deviation = (expected * (1 - expected / draws)).sqrt()
    assert ((counts - expected).abs() <= 4 * deviation + 1e-9).all()
    assert counts[1, 3] == 0


def test_temperature_falls_linearly_and_stays_at_its_end() -> None:
    part = GumbelOneHot(10.0, 0.1)
    assert [part.tau(context(epoch=e, epochs=5)) for e in range(6)] == pytest.approx(
        [10.0, 7.525, 5.05, 2.575, 0.1, 0.1], rel=1e-12
    )
    assert part.tau(context(epoch=0, epochs=1)) == 10.0
    assert part.tau(context(epoch=249, epochs=250)) == pytest.approx(0.1)
    alpha = torch.zeros(6, 5, dtype=torch.float64, requires_grad=True)
    sizes = []
    for epoch in (0, 4):
        hard = part.mixture(alpha, context(3, epoch, 5)).operations
        sizes.append(torch.autograd.grad(hard[:, 0].sum(), alpha)[0].abs().max())
    noise = gumbel_noise(alpha, torch.Generator().manual_seed(3))
    for size, tau in zip(sizes, (10.0, 0.1), strict=True):
        hard = straight_through(alpha, noise, tau).hard
        check(size, torch.autograd.grad(hard[:, 0].sum(), alpha)[0].abs().max())
    assert sizes[0] != sizes[1]


def test_the_same_seed_draws_the_same_and_kinds_draw_on() -> None:
    alpha, part = torch.randn(14, 8), GumbelOneHot()
    first, again = part.mixture(alpha, context(5)), part.mixture(alpha, context(5))
    assert torch.equal(first.operations, again.operations)
    other = part.mixture(alpha, context(6))
    assert not torch.equal(first.operations, other.operations)
    now = context(5)
    normal, reduce = (part.mixture(alpha, now) for _ in range(2))
    assert torch.equal(normal.operations, first.operations)
    assert not torch.equal(normal.operations, reduce.operations)
    before = torch.get_rng_state()
    part.mixture(alpha, now)
    assert torch.equal(torch.get_rng_state(), before)
    single, double = (gumbel_noise(alpha.to(kind), context(1).generator) for kind in (torch.float32, torch.float64))
    assert torch.equal(single, double.float())


def test_noise_that_is_not_finite_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = [torch.zeros(2, 2).double(), torch.ones(2, 2).double()]
    monkeypatch.setattr(Tensor, "exponential_", lambda self, generator: drawn.pop(0))
    assert torch.equal(gumbel_noise(torch.empty(2, 2), torch.Generator()), torch.zeros(2, 2))
    assert drawn == []


def test_evaluation_takes_the_most_probable_or_a_sample() -> None:
    alpha = torch.randn(14, 8, requires_grad=True)
    mixture = GumbelOneHot().mixture(alpha, context(phase="evaluation"))
    assert torch.equal(mixture.operations, F.one_hot(alpha.argmax(1), 8).float())
    assert torch.equal(mixture.active, mixture.operations.bool())
    sampled = GumbelOneHot(evaluation="sampled", ghost_gradient=True).mixture(alpha, context(2, phase="evaluation"))
    assert torch.equal(sampled.operations, GumbelOneHot().mixture(alpha, context(2)).operations)
    assert not torch.equal(sampled.operations, mixture.operations)
    assert sampled.offsets is None
    check(GumbelOneHot().shares(alpha), alpha.softmax(1))


def test_only_the_step_of_alpha_pays_for_ghosts() -> None:
    alpha, part = torch.randn(14, 8, requires_grad=True), GumbelOneHot(ghost_gradient=True)
    assert part.mixture(alpha, context(phase="weights")).offsets is None
    offsets = part.mixture(alpha, context()).offsets
    assert offsets is not None
    assert torch.equal(offsets, torch.zeros(14))
    assert torch.autograd.grad(offsets.sum(), alpha)[0].any()
    assert GumbelOneHot().mixture(alpha, context()).offsets is None


@pytest.mark.parametrize("space", [DARTS, NASBench201], ids=lambda space: space.name)
def test_one_operation_of_each_edge_is_computed(space: SearchSpace) -> None:
    network = Supernet(space, channels=4, **({"layers": 3} if space is DARTS else {"cells": 1}))
    calls: list[int] = []
    for name, module in network.named_modules():
        if isinstance(module, Operation) and ".edge." in name:
            module.register_forward_hook(lambda _, args, __: calls.append(len(args[1])))
    alphas = {kind: torch.randn(cell.shape) for kind, cell in space.cells.items()}
    now = context(7)
    mixtures = {kind: GumbelOneHot().mixture(alpha, now) for kind, alpha in alphas.items()}
    network(torch.randn(2, 3, 8, 8), mixtures)
    computed = {
        kind: sum(
            edge.operations[column] != "none"
            for edge, column in zip(cell.edges, mixtures[kind].operations.argmax(1).tolist(), strict=True)
        )
        for kind, cell in space.cells.items()
    }
    expected = computed["normal"] + 2 * computed["reduce"] if space is DARTS else 3 * computed["cell"]
    assert sum(calls) == expected > 0


def test_a_temperature_that_is_not_positive_is_refused() -> None:
    def correct(value: float, name: str) -> None:
        with pytest.raises(ValueError, match=rf"Expected `{name}` to be positive, but got "):
            GumbelOneHot(**{name: value})

    check_each(itertools.product([0.0, -1.0, float("nan")], ["tau_start", "tau_end"]), lambda row: correct(*row))


def test_an_unknown_evaluation_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected `evaluation` to be 'argmax' or 'sampled', but got 'best'"):
        GumbelOneHot(evaluation="best")  # type: ignore[arg-type]
