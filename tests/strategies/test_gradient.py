"""The gradient of α is the true one on a smooth problem, and nothing else comes of asking for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import pytest
import torch
from bilevel import STEPS, Toy, distance
from golden import check
from torch import Tensor
from torch.autograd import grad

from robustnas.strategies import FirstOrder, Gradient, Step, Unrolled, UnrolledByDifferences

ALL = [FirstOrder(), Unrolled(), UnrolledByDifferences()]


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_step_is_that_of_the_real_optimiser(step) -> None:
    toy = Toy(step)
    slopes = grad(toy.loss("weights", toy.weights), list(toy.weights.values()))
    before = {name: weight.detach().clone() for name, weight in toy.weights.items()}
    moved = toy.problem().step.take(toy.weights, slopes)
    assert all(torch.equal(weight, before[name]) for name, weight in toy.weights.items())
    sgd = toy.optimiser()
    for weight, slope in zip(toy.weights.values(), slopes, strict=True):
        weight.grad = slope
    sgd.step()
    for name, weight in toy.weights.items():
        check(moved[name], weight, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_unrolled_is_the_derivative_through_the_step(step) -> None:
    toy = Toy(step)
    gradients, loss = Unrolled().of(toy.problem())
    for found, expected in zip(gradients, toy.true_gradient(), strict=True):
        check(found, expected, rtol=1e-9, atol=1e-12)
    assert loss.item() == pytest.approx(toy.loss_after_a_real_step(), rel=1e-12)


@pytest.mark.parametrize("step", [STEPS["momentum and decay"], STEPS["Nesterov"]], ids=["momentum", "Nesterov"])
def test_unrolled_is_the_slope_of_the_loss_after_real_steps(step) -> None:
    toy = Toy(step)
    gradients, _ = Unrolled().of(toy.problem())
    for alpha, gradient in zip(toy.alphas, gradients, strict=True):
        for entry, expected in zip(alpha.data.view(-1), gradient.view(-1), strict=True):
            entry += 1e-5
            above = toy.loss_after_a_real_step()
            entry -= 2e-5
            below = toy.loss_after_a_real_step()
            entry += 1e-5
            assert (above - below) / 2e-5 == pytest.approx(expected.item(), rel=1e-6, abs=1e-8)


def test_first_order_is_the_plain_derivative_at_the_current_weights() -> None:
    toy = Toy()
    gradients, loss = FirstOrder().of(toy.problem())
    expected = toy.loss("arch", toy.weights)
    assert torch.equal(loss, expected)
    assert not loss.requires_grad
    for found, plain in zip(gradients, grad(expected, toy.alphas), strict=True):
        check(found, plain, rtol=1e-14, atol=0)


def test_unrolled_without_a_step_is_first_order() -> None:
    toy = Toy((0.0, 0.9, 0.01, False, True))
    for found, plain in zip(Unrolled().of(toy.problem())[0], FirstOrder().of(toy.problem())[0], strict=True):
        check(found, plain, rtol=1e-14, atol=0)


def test_differences_approach_the_derivative_with_the_square_of_their_radius() -> None:
    toy = Toy()
    exact = toy.true_gradient()
    far, near = (distance(UnrolledByDifferences(r).of(toy.problem())[0], exact) for r in (0.2, 0.1))
    assert far / near == pytest.approx(4, rel=0.1)
    assert distance(UnrolledByDifferences(1e-4).of(toy.problem())[0], exact) < 1e-8


def test_differences_are_zero_where_the_architecture_loss_ignores_the_weights() -> None:
    toy = Toy()
    problem = replace(toy.problem(), arch_loss=lambda weights: sum(alpha.square().sum() for alpha in toy.alphas))
    for gradient in (Unrolled(), UnrolledByDifferences()):
        for found, alpha in zip(gradient.of(problem)[0], toy.alphas, strict=True):
            check(found, 2 * alpha.detach())


@pytest.mark.parametrize("radius", [0.0, -0.01, float("nan")])
def test_a_radius_that_is_not_positive_is_refused(radius: float) -> None:
    with pytest.raises(ValueError, match=r"Expected `radius` to be positive, but got "):
        UnrolledByDifferences(radius)


@pytest.mark.parametrize("gradient", ALL)
def test_an_alpha_without_influence_has_gradient_zero(gradient: Gradient) -> None:
    toy = Toy()
    idle = torch.ones(2, 2, dtype=torch.float64, requires_grad=True)
    gradients, _ = gradient.of(replace(toy.problem(), alphas=[idle, *toy.alphas]))
    assert torch.equal(gradients[0], torch.zeros_like(idle))
    for found, expected in zip(gradients[1:], gradient.of(toy.problem())[0], strict=True):
        check(found, expected)


@pytest.mark.parametrize("gradient", ALL)
def test_nothing_but_the_gradient_comes_of_it(gradient: Gradient) -> None:
    """Weights, α, buffers and stored gradients are as before, bit for bit, however often it is asked."""
    toy = Toy()
    held = [*toy.weights.values(), *toy.alphas, *toy.buffers.values()]
    for weight in toy.weights.values():
        weight.grad = torch.full_like(weight, 7)
    before = [tensor.detach().clone() for tensor in held]
    first, second = (gradient.of(toy.problem())[0] for _ in range(2))
    assert all(torch.equal(tensor, copy) for tensor, copy in zip(held, before, strict=True))
    assert all(bool((weight.grad == 7).all()) for weight in toy.weights.values())
    assert all(alpha.grad is None for alpha in toy.alphas)
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))
    assert len({tensor.data_ptr() for tensor in [*first, *second]}) == 4  # no two share their memory


@pytest.mark.parametrize("gradient", ALL)
def test_two_processes_together_follow_the_mean_loss(gradient: Gradient) -> None:
    """What one process computes when all averages come from two equals one process on both batches."""
    toys = [Toy(), Toy()]
    toys[1].alphas = toys[0].alphas
    toys[1].batches = {role: (x.flip(1), y + 1) for role, (x, y) in toys[0].batches.items()}
    together = replace(
        toys[0].problem(),
        arch_loss=lambda weights: sum(toy.loss("arch", weights) for toy in toys) / 2,
        weight_loss=lambda weights: sum(toy.loss("weights", weights) for toy in toys) / 2,
    )
    expected = gradient.of(together)[0]
    for gradients in Exchange().run(gradient, toys):
        for found, wanted in zip(gradients, expected, strict=True):
            check(found, wanted, rtol=1e-11, atol=1e-13)


class Waiting(Exception):  # noqa: N818
    """A process asks for an average that needs the others first."""


class Exchange:
    """Averages over processes that are replayed one after the other, until all that is asked for is known."""

    def __init__(self) -> None:
        self.known: list[list[Tensor]] = []
        self.asked: list[list[Tensor]] = []

    def average_of(self) -> Callable[[Sequence[Tensor]], list[Tensor]]:
        answers = iter(self.known)

        def average(tensors: Sequence[Tensor]) -> list[Tensor]:
            for answer in answers:
                return [tensor.clone() for tensor in answer]
            self.asked.append([tensor.detach() for tensor in tensors])
            raise Waiting

        return average

    def run(self, gradient: Gradient, toys: list[Toy]) -> list[list[Tensor]]:
        while True:
            results, self.asked = [], []
            for toy in toys:
                with suppress(Waiting):
                    results.append(gradient.of(toy.problem(self.average_of()))[0])
            if not self.asked:
                return results
            self.known.append([sum(parts) / len(toys) for parts in zip(*self.asked, strict=True)])


def test_the_rate_counts_nesterov() -> None:
    assert Step(0.1, 0.9, 0.0, False, {}).rate == 0.1
    assert Step(0.1, 0.9, 0.0, True, {}).rate == pytest.approx(0.19)


def test_first_order_hands_on_the_gradient_by_watched_weights() -> None:
    toy, seen, averaged = Toy(), [], []

    def average(tensors: Sequence[Tensor]) -> list[Tensor]:
        averaged.append(len(tensors))
        return list(tensors)

    problem = replace(toy.problem(average), watched=["out", "a.two"], watch=seen.append)
    gradients, loss = FirstOrder().of(problem)
    expected = grad(toy.loss("arch", toy.weights), [*toy.alphas, toy.weights["out"], toy.weights["a.two"]])
    assert averaged == [len(toy.alphas) + 3]  # one collective for all of it
    assert [list(slopes) for slopes in seen] == [["out", "a.two"]]
    for found, plain in zip([*gradients, *seen[0].values()], expected, strict=True):
        check(found, plain, rtol=1e-14, atol=0)
    assert not loss.requires_grad
    assert [part.watches for part in (FirstOrder(), Unrolled(), UnrolledByDifferences())] == [True, False, False]
