"""Sparsemax is the projection on the simplex, with its gradient, and what it drops is not computed."""

from __future__ import annotations

import itertools

import pytest
import torch
from golden import check
from robustnas.variants import SparsemaxDARTS
from tables import check_each
from torch import Tensor, nn

from robustnas.networks import Mixture, Supernet
from robustnas.spaces import DARTS, NASBench201, darts_like
from robustnas.strategies import EntropyPenalty, LpSparsity, Sparsemax, StepContext, Strongest

MOMENT = StepContext("arch", 0, 1, torch.Generator())


def projected(z: list[float]) -> list[float]:
    """The best of the projections on all faces of the simplex."""
    best, least = [], float("inf")
    for face in itertools.chain.from_iterable(itertools.combinations(range(len(z)), s + 1) for s in range(len(z))):
        shift = (sum(z[k] for k in face) - 1) / len(face)
        point = [z[k] - shift if k in face else 0.0 for k in range(len(z))]
        distance = sum((a - b) ** 2 for a, b in zip(point, z, strict=True))
        if min(point) >= 0 and distance < least:
            best, least = point, distance
    return best


def rows(scale: float, count: int = 12, operations: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return scale * torch.randn(count, operations, dtype=torch.float64, generator=generator)


def test_it_is_the_nearest_point_of_the_simplex() -> None:
    def correct(temperature: float, scale: float) -> None:
        alpha, part = rows(scale), Sparsemax(temperature)
        expected = torch.tensor(
            [projected([v / temperature for v in row]) for row in alpha.tolist()], dtype=torch.float64
        )
        mixture = part.mixture(alpha, MOMENT)
        check(mixture.operations, expected, rtol=1e-12, atol=1e-13)
        assert torch.equal(part.support(alpha), expected > 0)
        assert mixture.active is not None
        assert torch.equal(mixture.active, expected > 0)
        assert torch.equal(mixture.operations > 0, expected > 0)

    check_each(itertools.product([1.0, 0.25, 3.0], [1e-3, 0.3, 1.0, 20.0]), lambda row: correct(*row))


def test_the_cases_have_supports_of_every_size() -> None:
    sizes = [Sparsemax(t).support(rows(s)).sum(dim=-1) for s in (1e-3, 0.3, 1.0, 20.0) for t in (1.0, 0.25, 3.0)]
    assert set(torch.cat(sizes).tolist()) == {1, 2, 3, 4, 5, 6}


@pytest.mark.parametrize("temperature", [1.0, 0.4])
def test_the_gradient_is_centred_on_the_support_and_zero_elsewhere(temperature: float) -> None:
    alpha, slope = rows(0.5).requires_grad_(), rows(1.0).flip(0)
    (gradient,) = torch.autograd.grad(Sparsemax(temperature).mixture(alpha, MOMENT).operations, alpha, slope)
    inside = Sparsemax(temperature).support(alpha)
    assert not inside.all()
    for row in range(len(alpha)):
        g = slope[row][inside[row]]
        check(gradient[row][inside[row]], (g - g.mean()) / temperature, rtol=1e-12, atol=1e-13)
        assert not gradient[row][~inside[row]].any()
    check(gradient.sum(1), torch.zeros(12, dtype=torch.float64), atol=1e-12)


def test_first_and_second_derivatives_agree_with_differences() -> None:
    alpha, slope = rows(0.5).requires_grad_(), rows(1.0)

    def squares(alpha: Tensor) -> Tensor:
        return (Sparsemax(0.7).project(alpha).square() * slope).sum()

    assert torch.autograd.gradcheck(squares, alpha)
    assert torch.autograd.gradgradcheck(squares, alpha)
    first = torch.autograd.grad(squares(alpha), alpha, create_graph=True)[0]
    assert torch.autograd.grad(first.square().sum(), alpha)[0].any()


def test_equal_alphas_give_equal_weights_and_ties_share() -> None:
    for level in (0.0, 0.1, -7.3, 1e6):
        check(Sparsemax().project(torch.full((2, 5), level)), torch.full((2, 5), 0.2), rtol=1e-6)
    assert Sparsemax().project(torch.tensor([[2.0, 2.0, 0.5]])).tolist() == [[0.5, 0.5, 0.0]]
    near = Sparsemax().project(1e-3 * rows(1.0))
    check(near, 1 / 6 + 1e-3 * (rows(1.0) - rows(1.0).mean(1, keepdim=True)), atol=1e-13)


def test_places_without_a_candidate_have_no_weight_and_no_gradient() -> None:
    alpha = torch.tensor([[0.3, 0.1, -torch.inf], [0.5, -torch.inf, -torch.inf]], requires_grad=True)
    part = Sparsemax()
    check(part.project(alpha), torch.tensor([[0.6, 0.4, 0.0], [1.0, 0.0, 0.0]]), rtol=1e-6)
    assert part.support(alpha).tolist() == [[True, True, False], [True, False, False]]
    for values in (part.project(alpha), part.shares(alpha)):
        assert torch.equal(values == 0, alpha.isinf())
        (gradient,) = torch.autograd.grad(values[:, 0].sum(), alpha)
        check(gradient, torch.tensor([[0.5, -0.5, 0.0], [0.0, 0.0, 0.0]]), rtol=1e-6)
    widths = [1 + row % 3 for row in range(14)]
    names = ("skip_connect", "sep_conv_3x3", "avg_pool_3x3")
    space = darts_like("Ragged", [names[:width] for width in widths])
    search = SparsemaxDARTS(space=space, channels=2, layers=3, alpha_init=1.0)
    search(torch.randn(2, 3, 8, 8)).square().sum().backward()
    for value in search.alphas.values():
        assert value.grad is not None
        assert value.grad.isfinite().all()
    search.genotype().validate(space)


def test_strengths_order_operations_as_their_alphas_also_at_zero() -> None:
    alpha = torch.stack([torch.randn(8, generator=torch.Generator().manual_seed(k)) * 4 for k in range(40)])
    part = Sparsemax()
    strengths = part.shares(alpha)
    assert (part.support(alpha).sum(dim=-1) < 7).all()
    assert torch.equal(strengths.argsort(dim=1), alpha.argsort(dim=1))
    check(strengths.sum(1), torch.ones(40), rtol=1e-6)
    check(strengths, part.project(alpha), rtol=0, atol=1.001e-5)


def test_none_may_take_an_edge_and_the_best_of_the_dead_is_selected() -> None:
    alpha = torch.zeros(14, 8)
    alpha[:, 0], alpha[:, 4], alpha[:, 5] = 9.0, 1.0, 2.0
    part = Sparsemax()
    assert part.project(alpha)[:, 1:].sum() == 0
    genotype = Strongest().genotype(DARTS, dict.fromkeys(DARTS.cells, part.shares(alpha)))
    assert {choice.operation for choice in genotype.cells["normal"]} == {DARTS.cells["normal"].edges[0].operations[5]}


@pytest.mark.parametrize("penalty", [LpSparsity(), EntropyPenalty()])
def test_penalties_move_the_living_alone(penalty: LpSparsity | EntropyPenalty) -> None:
    alpha = rows(0.5).requires_grad_()
    (gradient,) = torch.autograd.grad(penalty.of({}, {"cell": Sparsemax().shares(alpha)}, MOMENT), alpha)
    inside = Sparsemax().support(alpha)
    assert gradient.isfinite().all()
    assert not gradient[~inside].any()
    assert gradient[inside].any()


def test_the_dead_are_not_computed_and_nothing_changes() -> None:
    network = Supernet(NASBench201, channels=4, cells=1).double()
    alpha = {"cell": rows(0.5, 6, 5).requires_grad_()}
    images = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    calls = []
    for module in network.body.cells.modules():
        if isinstance(module, nn.Module) and hasattr(module, "bundle"):
            module.register_forward_hook(lambda module, args, _: calls.append(len(args[1])))
    mixture = Sparsemax().mixture(alpha["cell"], MOMENT)
    few = network(images, {"cell": mixture})
    living = Sparsemax().support(alpha["cell"])[:, 1:].sum()  # `none` has no module
    assert sum(calls) == 3 * living < 3 * 24
    every = network(images, {"cell": Mixture(mixture.operations)})
    check(few, every.detach(), rtol=1e-10, atol=1e-12)
    gradients = [
        torch.autograd.grad(logits.square().sum(), alpha["cell"], retain_graph=True)[0] for logits in (few, every)
    ]
    check(*gradients, rtol=1e-9, atol=1e-11)


def test_a_temperature_that_is_not_positive_is_refused() -> None:
    def correct(temperature: float) -> None:
        with pytest.raises(ValueError, match=r"Expected `temperature` to be positive, but got "):
            Sparsemax(temperature)

    check_each([0.0, -1.0, float("nan")], correct)
