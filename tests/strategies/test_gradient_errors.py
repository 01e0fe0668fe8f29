"""The check against the true gradient tells every wrong one that peers compute.

Each wrong version was read in a public repository, and is written here as it would be over a ``Bilevel``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from bilevel import STEPS, Toy, distance
from torch import Tensor
from torch.autograd import grad

from robustnas.strategies import Bilevel, FirstOrder, Unrolled

Wrong = Callable[[Bilevel], list[Tensor]]


def _leaves(problem: Bilevel) -> dict[str, Tensor]:
    return {name: weight.detach().clone().requires_grad_() for name, weight in problem.weights.items()}


def _slopes(problem: Bilevel) -> list[Tensor]:
    weights = _leaves(problem)
    return list(grad(problem.weight_loss(weights), list(weights.values())))


def _by_differences(
    problem: Bilevel,
    moved: dict[str, Tensor],
    divide: Callable[[Tensor, Tensor], Tensor] = lambda difference, eps: difference / (2 * eps),
    eta: float | None = None,
) -> list[Tensor]:
    moved = {name: weight.detach().requires_grad_() for name, weight in moved.items()}
    found = grad(problem.arch_loss(moved), [*problem.alphas, *moved.values()])
    direct, v = found[: len(problem.alphas)], found[len(problem.alphas) :]
    eps = 1e-4 / torch.nn.utils.get_total_norm(v)
    sides = []
    for sign in (1, -1):
        shifted = {n: w.detach() + sign * eps * u for (n, w), u in zip(problem.weights.items(), v, strict=True)}
        sides.append(grad(problem.weight_loss(shifted), problem.alphas))
    eta = problem.step.rate if eta is None else eta
    return [d - eta * divide(p - n, eps) for d, p, n in zip(direct, *sides, strict=True)]


def right(problem: Bilevel) -> list[Tensor]:
    return _by_differences(problem, problem.step.take(problem.weights, _slopes(problem)))


def multiplied_by_eps(problem: Bilevel) -> list[Tensor]:
    moved = problem.step.take(problem.weights, _slopes(problem))
    return _by_differences(problem, moved, divide=lambda difference, eps: difference / 2.0 * eps)


def virtual_step_rebinds_a_local(problem: Bilevel) -> list[Tensor]:
    virtual = _leaves(problem)
    for w, slope in zip(virtual.values(), _slopes(problem), strict=True):
        w = w - problem.step.lr * slope
    return _by_differences(problem, virtual)


def gradient_lists_alias(problem: Bilevel) -> list[Tensor]:
    moved = problem.step.take(problem.weights, _slopes(problem))
    return _by_differences(problem, moved, divide=lambda difference, eps: torch.zeros_like(difference))


def train_gradients_accumulate(problem: Bilevel) -> list[Tensor]:
    """One ``zero_grad`` before four backward passes: α collects the slopes of the train loss, too."""
    moved = problem.step.take(problem.weights, _slopes(problem))
    first = FirstOrder().of(replace(problem, weights=moved))[0]
    train = grad(problem.weight_loss(problem.weights), problem.alphas)
    return [f + 3 * t for f, t in zip(first, train, strict=True)]


def virtual_step_moves_alpha(problem: Bilevel) -> list[Tensor]:
    """The parameters of the whole model, α among them, take the step and are moved by ±eps."""
    weights = _leaves(problem)
    found = grad(problem.weight_loss(weights), [*problem.alphas, *weights.values()])
    count = len(problem.alphas)
    kept = [alpha.detach().clone() for alpha in problem.alphas]
    moved = {n: w.detach().requires_grad_() for n, w in problem.step.take(problem.weights, found[count:]).items()}
    with torch.no_grad():
        for alpha, slope in zip(problem.alphas, found[:count], strict=True):
            alpha -= problem.step.lr * slope
    try:
        result = grad(problem.arch_loss(moved), [*problem.alphas, *moved.values()])
        eps = 1e-4 / torch.nn.utils.get_total_norm(result)
        sides = []
        for sign in (1, -1):
            shifted = {
                n: w.detach() + sign * eps * u
                for (n, w), u in zip(problem.weights.items(), result[count:], strict=True)
            }
            with torch.no_grad():
                for alpha, old, u in zip(problem.alphas, kept, result[:count], strict=True):
                    alpha.copy_(old + sign * eps * u)
            sides.append(grad(problem.weight_loss(shifted), problem.alphas))
    finally:
        with torch.no_grad():
            for alpha, old in zip(problem.alphas, kept, strict=True):
                alpha.copy_(old)
    return [d - problem.step.lr * (p - n) / (2 * eps) for d, p, n in zip(result[:count], *sides, strict=True)]


def eta_is_missing(problem: Bilevel) -> list[Tensor]:
    return _by_differences(problem, problem.step.take(problem.weights, _slopes(problem)), eta=1.0)


def eta_is_fixed(problem: Bilevel) -> list[Tensor]:
    """The initial step size, where the schedule has moved on."""
    step = replace(problem.step, lr=0.5)
    return _by_differences(problem, step.take(problem.weights, _slopes(problem)), eta=0.5)


def buffers_are_ignored(problem: Bilevel) -> list[Tensor]:
    step = replace(problem.step, buffers={})
    return _by_differences(problem, step.take(problem.weights, _slopes(problem)))


def decay_is_ignored(problem: Bilevel) -> list[Tensor]:
    step = replace(problem.step, weight_decay=0.0)
    return _by_differences(problem, step.take(problem.weights, _slopes(problem)))


def nesterov_is_ignored(problem: Bilevel) -> list[Tensor]:
    step = replace(problem.step, nesterov=False)
    return _by_differences(problem, step.take(problem.weights, _slopes(problem)))


def differences_around_the_virtual_weights(problem: Bilevel) -> list[Tensor]:
    moved = problem.step.take(problem.weights, _slopes(problem))
    return _by_differences(replace(problem, weights=moved), moved)


def first_order(problem: Bilevel) -> list[Tensor]:
    return FirstOrder().of(problem)[0]


WRONG: list[Wrong] = [
    multiplied_by_eps,
    virtual_step_rebinds_a_local,
    gradient_lists_alias,
    train_gradients_accumulate,
    virtual_step_moves_alpha,
    eta_is_missing,
    eta_is_fixed,
    buffers_are_ignored,
    decay_is_ignored,
    nesterov_is_ignored,
    differences_around_the_virtual_weights,
    first_order,
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__)
def test_the_check_tells_what_peers_get_wrong(wrong: Wrong) -> None:
    toy = Toy(STEPS["Nesterov"] if wrong is nesterov_is_ignored else STEPS["momentum and decay"])
    truth = toy.true_gradient()
    assert distance(Unrolled().of(toy.problem())[0], truth) < 1e-12
    assert distance(right(toy.problem()), truth) < 1e-8  # so that it is the error that is seen, not the harness
    assert distance(wrong(toy.problem()), truth) > 1e-3
