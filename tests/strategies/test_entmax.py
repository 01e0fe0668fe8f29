"""Entmax lies between softmax and sparsemax, with its gradient; and any relaxation may be annealed."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from golden import check
from robustnas.variants import DARTS
from tables import check_each
from torch import Tensor

from robustnas.networks import Mixture, Supernet
from robustnas.spaces import NASBench201
from robustnas.strategies import (
    Annealed,
    BinaryGates,
    Direct,
    Entmax,
    GumbelOneHot,
    Relaxation,
    Softmax,
    Sparsemax,
    StepContext,
)
from robustnas.training.hooks.registry import hook_for
from robustnas.training.search_hook import SearchHook

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))

from runs import differing, fit, state

MOMENT = StepContext("arch", 0, 1, torch.Generator())
SMALL: dict[str, Any] = {"space": "NASBench201", "cells": 1, "channels": 4, "image_channels": 1, "arch_lr": 0.03}


def rows(scale: float, count: int = 12, operations: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return scale * torch.randn(count, operations, dtype=torch.float64, generator=generator)


def exact_three_halves(z: list[float]) -> list[float]:
    """The weights at power 3/2, by the quadratic equation of the threshold of every support that may be."""
    halves = sorted((value / 2 for value in z), reverse=True)
    for size in range(len(z), 0, -1):
        mean = sum(halves[:size]) / size
        spread = sum((value - mean) ** 2 for value in halves[:size])
        if spread <= 1 and halves[size - 1] >= (threshold := mean - ((1 - spread) / size) ** 0.5):
            return [max(value / 2 - threshold, 0.0) ** 2 for value in z]
    raise AssertionError("no support fits")


def test_power_three_halves_is_the_closed_form() -> None:
    def correct(scale: float, temperature: float) -> None:
        alpha = rows(scale)
        expected = [exact_three_halves([value / temperature for value in row]) for row in alpha.tolist()]
        mixture = Entmax(1.5, temperature).mixture(alpha, MOMENT)
        check(mixture.operations, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-14)
        assert mixture.active is not None
        assert torch.equal(mixture.active, mixture.operations > 0)

    check_each(itertools.product([1e-3, 0.3, 1.0, 20.0], [1.0, 0.25, 3.0]), lambda row: correct(*row))


@pytest.mark.parametrize("power", [1.05, 1.25, 1.5, 1.9, 2.0])
def test_no_point_of_the_simplex_is_better(power: float) -> None:
    """The weights maximise the objective of the definition."""

    def value(point: Tensor, z: Tensor) -> Tensor:
        return (point * z).sum(-1) + (1 - point.pow(power).sum(-1)) / (power * (power - 1))

    z = rows(1.0)
    best = Entmax(power).project(z)
    check(best.sum(1), torch.ones(12).double(), rtol=1e-14)
    assert (best >= 0).all()
    generator = torch.Generator().manual_seed(1)
    for share in (1.0, 0.1, 1e-3):
        other = torch.rand(200, 12, 6, dtype=torch.float64, generator=generator).pow(4)
        other = (1 - share) * best + share * other / other.sum(-1, keepdim=True)
        assert (value(other, z) <= value(best, z) + 1e-13).all()


def test_the_ends_are_softmax_and_sparsemax() -> None:
    alpha = rows(1.5)
    for temperature in (1.0, 0.4):
        soft, own = Softmax(temperature), Entmax(1.0, temperature)
        assert torch.equal(own.mixture(alpha, MOMENT).operations, soft.mixture(alpha, MOMENT).operations)
        assert torch.equal(own.shares(alpha), soft.shares(alpha))
        assert own.mixture(alpha, MOMENT).active is None
        sparse, own = Sparsemax(temperature), Entmax(2.0, temperature)
        check(own.project(alpha), sparse.project(alpha), rtol=1e-13, atol=1e-15)
        check(own.shares(alpha), sparse.shares(alpha), rtol=1e-13, atol=1e-15)
        active = own.mixture(alpha, MOMENT).active
        assert active is not None
        assert torch.equal(active, sparse.support(alpha))
    check(Entmax(1.0001).project(alpha), Softmax().shares(alpha), rtol=0, atol=1e-3)


def test_more_operations_die_at_a_higher_power() -> None:
    alpha = rows(1.5)
    left = [int((Entmax(power).project(alpha) > 0).sum()) for power in (1.0, 1.2, 1.5, 2.0)]
    assert left == sorted(left, reverse=True)
    assert left[0] == alpha.numel() > left[2] > left[3]


@pytest.mark.parametrize("power", [1.0, 1.2, 1.5, 2.0])
def test_first_and_second_derivatives_agree_with_differences(power: float) -> None:
    alpha, slope = rows(0.7).requires_grad_(), rows(1.0)

    def squares(alpha: Tensor) -> Tensor:
        return (Entmax(power, 0.9).project(alpha).square() * slope).sum()

    assert torch.autograd.gradcheck(squares, alpha)
    assert torch.autograd.gradgradcheck(squares, alpha)
    first = torch.autograd.grad(squares(alpha), alpha, create_graph=True)[0]
    assert torch.autograd.grad(first.square().sum(), alpha)[0].isfinite().all()


def test_the_gradient_is_zero_for_the_dead_and_centred_for_the_others() -> None:
    alpha, slope = rows(1.5).requires_grad_(), rows(1.0).flip(0)
    weights = Entmax().mixture(alpha, MOMENT).operations
    (gradient,) = torch.autograd.grad(weights, alpha, slope)
    scale = weights.detach().sqrt()
    centred = slope - (scale * slope).sum(1, keepdim=True) / scale.sum(1, keepdim=True)
    check(gradient, scale * centred, rtol=1e-12, atol=1e-14)
    assert not gradient[weights == 0].any()
    assert (weights == 0).any()


def test_places_without_a_candidate_have_no_weight_and_no_gradient() -> None:
    alpha = torch.tensor([[0.3, 0.1, -torch.inf], [0.5, -torch.inf, -torch.inf]], requires_grad=True)
    for power in (1.0, 1.5, 2.0):
        for values in (Entmax(power).project(alpha), Entmax(power).shares(alpha)):
            assert torch.equal(values == 0, alpha.isinf())
            (gradient,) = torch.autograd.grad(values[:, 0].sum(), alpha)
            assert gradient.isfinite().all()
            assert not gradient[alpha.isinf()].any()
    huge = torch.tensor([[1e6, 1e6 - 0.1, -1e30]])
    check(Entmax().project(huge).sum(1), torch.ones(1), rtol=1e-6)


def test_strengths_order_operations_as_their_alphas_also_at_zero() -> None:
    alpha = rows(4.0)
    strengths = Entmax().shares(alpha)
    assert (Entmax().project(alpha) == 0).sum() > 20
    assert torch.equal(strengths.argsort(dim=1), alpha.argsort(dim=1))
    check(strengths.sum(1), torch.ones(12).double(), rtol=1e-12)


def test_the_dead_are_not_computed_and_nothing_changes() -> None:
    network, alpha = Supernet(NASBench201, channels=4, cells=1).double(), rows(1.5, 6, 5)
    images, mixture = torch.randn(3, 3, 8, 8, dtype=torch.float64), Entmax().mixture(alpha, MOMENT)
    assert mixture.active is not None
    assert not mixture.active.all()
    few, every = (network(images, {"cell": one}) for one in (mixture, Mixture(mixture.operations)))
    check(few, every, rtol=1e-10, atol=1e-12)


def test_arguments_out_of_range_are_refused() -> None:
    def correct(make: Any, says: str) -> None:
        with pytest.raises(ValueError, match=says):
            make()

    check_each(
        [
            (lambda: Entmax(0.9), r"^Expected `power` to be from 1 to 2, but got 0\.9\.$"),
            (lambda: Entmax(float("nan")), "^Expected `power` to be from 1 to 2, but got nan"),
            (lambda: Entmax(1.5, 0.0), "^Expected `temperature` to be positive, but got "),
            (lambda: Annealed(start=0.0), "^Expected `start` to be positive, but got "),
            (lambda: Annealed(end=-1.0), "^Expected `end` to be positive, but got "),
            (lambda: Annealed(Direct()), "^Expected `relaxation` to be one of logits, .* but got `Direct`"),
        ],
        lambda row: correct(*row),
    )


@pytest.mark.parametrize(
    ("neutral", "plain"),
    [
        pytest.param(Entmax(1.0), Softmax(), marks=pytest.mark.slow),
        pytest.param(Annealed(Softmax(), 1.0, 1.0), Softmax(), marks=pytest.mark.slow),
        (Annealed(Entmax(1.0), 1.0, 1.0), Softmax()),
        (Annealed(GumbelOneHot(), 1.0, 1.0), GumbelOneHot()),
        (Annealed(BinaryGates("two"), 1.0, 1.0), BinaryGates("two")),
        (Annealed(Sparsemax(), 1.0, 1.0), Sparsemax()),
    ],
)
def test_at_neutral_strength_the_search_is_the_same(tmp_path: Path, neutral: Relaxation, plain: Relaxation) -> None:
    first, second = (
        state(fit(tmp_path / name, DARTS(**SMALL, relaxation=part), max_epochs=2, limit_train_batches=3))
        for name, part in (("a", neutral), ("b", plain))
    )
    assert differing(first, second) == []


def test_the_temperature_changes_linearly_and_divides_alpha() -> None:
    alpha, part = rows(1.0), Annealed(Softmax(), 4.0, 0.5)
    for epoch, temperature in ((0, 4.0), (2, 2.25), (4, 0.5), (5, 0.5)):
        context = StepContext("arch", epoch, 5, torch.Generator())
        assert part.temperature(context) == temperature
        check(part.mixture(alpha, context).operations, (alpha / temperature).softmax(-1), rtol=1e-12)
        check(part.expected(alpha, context).operations, (alpha / temperature).softmax(-1), rtol=1e-12)
    check(part.shares(alpha), (alpha / 0.5).softmax(-1), rtol=1e-12)


def test_what_the_other_relaxation_says_of_itself_holds() -> None:
    gates = Annealed(BinaryGates("two"), 2.0, 2.0)
    assert (gates.samples, gates.freezes_inactive, gates.per_cell, gates.on_simplex) == (True, True, False, False)
    assert not Annealed().samples
    before, after = rows(1.0), rows(1.0) + 0.1 * rows(1.0).flip(0)

    def context() -> StepContext:
        return StepContext("arch", 0, 2, torch.Generator().manual_seed(3))

    found = gates.project_alpha(before, after, context())
    check(found, 2 * BinaryGates("two").project_alpha(before / 2, after / 2, context()), rtol=1e-12)
    assert not torch.equal(found, after)
    soft = Annealed(Softmax(), 0.3, 0.3).project_alpha(before, after, context())
    assert torch.equal(soft, after)


def test_the_hook_of_the_other_relaxation_comes_along() -> None:
    class Own(Softmax):
        pass

    hook_for.register(Own, lambda part, search: SearchHook())
    assert isinstance(hook_for(Annealed(Own()), DARTS(**SMALL)), SearchHook)
    assert hook_for(Annealed(), DARTS(**SMALL)) is None
