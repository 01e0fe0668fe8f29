"""Softmax weighs operations as the original does; places without a candidate get neither weight nor gradient."""

from __future__ import annotations

import math

import pytest
import torch
from golden import check

from robustnas.networks import Mixture
from robustnas.spaces import DARTS, NASBench201, darts_like
from robustnas.strategies import Relaxation, Softmax, StepContext, Unperturbed
from robustnas.training.search import SearchModule

MOMENT = StepContext("arch", 0, 1, torch.Generator())


@pytest.mark.parametrize("temperature", [1.0, 0.25, 3.0])
def test_softmax_is_its_formula(temperature: float) -> None:
    alpha = torch.randn(14, 8, dtype=torch.float64)
    mixture = Softmax(temperature).mixture(alpha, MOMENT)
    for row, weights in zip(alpha.tolist(), mixture.operations.tolist(), strict=True):
        shares = [math.exp(value / temperature) for value in row]
        assert weights == pytest.approx([share / sum(shares) for share in shares], rel=1e-12)
    assert mixture.edges is None
    assert mixture.active is None
    assert torch.equal(Softmax(temperature).shares(alpha), mixture.operations)


def test_softmax_derives_as_its_formula() -> None:
    alpha = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    slope = torch.randn(3, 4, dtype=torch.float64)
    weights = Softmax(0.5).mixture(alpha, MOMENT).operations
    (gradient,) = torch.autograd.grad(weights, alpha, slope)
    p = weights.detach()
    check(gradient, p * (slope - (p * slope).sum(1, keepdim=True)) / 0.5)


def test_softmax_of_large_alphas_stays_finite() -> None:
    weights = Softmax(1e-3).mixture(torch.tensor([[300.0, -300.0, 299.0]]), MOMENT).operations
    assert weights.tolist() == [[1.0, 0.0, 0.0]]


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_that_is_not_positive_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match=r"Expected `temperature` to be positive, but got "):
        Softmax(temperature)


def test_parts_are_equal_if_their_numbers_are() -> None:
    assert Softmax() == Softmax(1.0) != Softmax(2.0)
    assert isinstance(Softmax(), Relaxation)
    assert len({Softmax(), Softmax(1.0), Softmax(2.0)}) == 2


def test_unperturbed_gives_back_the_very_mixtures_without_asking_for_a_loss() -> None:
    mixtures = {"cell": Mixture(torch.full((6, 5), 0.2))}

    def loss_at(_: object) -> torch.Tensor:
        raise AssertionError

    assert Unperturbed().perturb(mixtures, loss_at, MOMENT, list) is mixtures


def test_places_without_a_candidate_have_no_weight_and_no_gradient() -> None:
    operations = ("skip_connect", "sep_conv_3x3", "avg_pool_3x3")
    widths = [1 + row % 3 for row in range(14)]
    space = darts_like("Ragged", [operations[:width] for width in widths])
    search = SearchModule(space, channels=2, layers=3, alpha_init=1.0)
    legal = torch.tensor([[column < width for column in range(3)] for width in widths])
    for kind, alpha in search.architecture.legal_alphas().items():
        assert torch.equal(alpha.isfinite(), legal), kind
    mixtures = search.mixtures(MOMENT)
    for mixture in mixtures.values():
        assert torch.equal(mixture.operations > 0, legal)
        check(mixture.operations.sum(1), torch.ones(14), rtol=1e-6)
        check(mixture.operations[0], torch.tensor([1.0, 0.0, 0.0]))
    search.supernet(torch.randn(4, 3, 8, 8), mixtures).square().sum().backward()
    for alpha in search.alphas.values():
        assert alpha.grad.isfinite().all()
        assert bool((alpha.grad[~legal] == 0).all())
        assert bool((alpha.grad[legal & (torch.tensor(widths) > 1)[:, None]] != 0).all())
    search.genotype().validate(space)


@pytest.mark.parametrize("space", [DARTS, NASBench201], ids=lambda space: space.name)
def test_every_candidate_of_a_full_space_is_legal(space) -> None:
    depth = {"layers": 3} if space.skeleton == "darts" else {"cells": 1}
    search = SearchModule(space, channels=2, **depth)
    for kind, alpha in search.architecture.legal_alphas().items():
        assert torch.equal(alpha, search.alphas[kind])
