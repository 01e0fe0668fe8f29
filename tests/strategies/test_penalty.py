"""What is added to the loss of α: formulas, gradients, where they are least, and how they grow."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
from golden import check
from tables import check_each
from torch import Tensor

from robustnas.strategies import EntropyPenalty, LpSparsity, NoPenalty, Penalty, StepContext


def context(epoch: int = 9, epochs: int = 10) -> StepContext:
    return StepContext("arch", epoch, epochs, torch.Generator())


def one(*shares: float) -> dict[str, Tensor]:
    """The shares of a single edge."""
    return {"cell": torch.tensor([shares], dtype=torch.float64)}


PENALTIES = [LpSparsity(0.3), LpSparsity(0.3, power=0.25, epsilon=1e-2), EntropyPenalty(0.3)]


def test_nothing_is_added_by_default() -> None:
    added = NoPenalty().of({}, one(0.3, 0.7), context())
    assert added.shape == ()
    assert added.dtype == torch.float64
    assert added == 0


def test_values_by_hand() -> None:
    found = LpSparsity(weight=2.0, power=0.5, epsilon=0.01).of({}, one(0.24, 0.48, 0.28), context())
    assert float(found) == pytest.approx(2 * (0.5 + 0.7 + math.sqrt(0.29)), rel=1e-12)
    found = EntropyPenalty(weight=2.0).of({}, one(0.5, 0.25, 0.25, 0.0), context())
    assert float(found) == pytest.approx(2 * 1.5 * math.log(2), rel=1e-12)


@pytest.mark.parametrize("penalty", PENALTIES, ids=str)
def test_it_is_the_mean_over_the_edges_of_all_kinds(penalty: Penalty) -> None:
    """Kinds with more edges weigh more; kinds may differ in their operations."""
    shares = {"normal": torch.rand(5, 3).double().softmax(1), "reduce": torch.rand(2, 4).double().softmax(1)}
    edges = [penalty.of({}, {"cell": row[None]}, context()) for share in shares.values() for row in share]
    check(penalty.of({}, shares, context()), torch.stack(edges).mean(), rtol=1e-12)


@pytest.mark.parametrize("penalty", PENALTIES, ids=str)
def test_gradients_are_finite_differences(penalty: Penalty) -> None:
    logits = torch.randn(4, 5).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: penalty.of({}, {"cell": x.softmax(1)}, context(3)), logits)


@pytest.mark.parametrize("penalty", PENALTIES, ids=str)
def test_it_is_least_at_the_corners_and_greatest_in_the_middle(penalty: Penalty) -> None:
    corner, middle = (
        float(penalty.of({}, one(1, 0, 0, 0), context())),
        float(penalty.of({}, one(*[0.25] * 4), context())),
    )
    assert corner < middle
    for row in torch.distributions.Dirichlet(torch.full((4,), 0.5).double()).sample((200,)):
        inside = float(penalty.of({}, {"cell": row[None]}, context()))
        assert corner - 1e-12 <= inside <= middle + 1e-12


def test_bounds_of_the_sum() -> None:
    weight, power, epsilon, n = 0.1, 0.5, 1e-4, 8
    penalty = LpSparsity(weight, power, epsilon)
    least = weight * ((1 + epsilon) ** power + (n - 1) * epsilon**power)
    assert float(penalty.of({}, one(*[1.0] + [0.0] * (n - 1)), context())) == pytest.approx(least, rel=1e-12)
    most = weight * n * (1 / n + epsilon) ** power
    assert float(penalty.of({}, one(*[1 / n] * n), context())) == pytest.approx(most, rel=1e-12)
    assert float(EntropyPenalty(weight).of({}, one(*[1 / n] * n), context())) == pytest.approx(weight * math.log(n))


@pytest.mark.parametrize("penalty", PENALTIES, ids=str)
def test_a_step_against_it_makes_a_mixture_more_decided(penalty: Penalty) -> None:
    logits = torch.tensor([[0.5, 0.0, -0.2]]).double().requires_grad_()
    (slope,) = torch.autograd.grad(penalty.of({}, {"cell": logits.softmax(1)}, context()), logits)
    after = (logits - slope).softmax(1)
    assert after.max() > logits.softmax(1).max()


@pytest.mark.parametrize("penalty", PENALTIES, ids=str)
def test_unused_operations_and_missing_candidates_have_finite_gradients(penalty: Penalty) -> None:
    """An edge with fewer candidates than others has α of minus infinity there, and so shares of zero."""
    logits = torch.tensor([[0.3, -0.1, -torch.inf], [80.0, -80.0, 0.0]]).requires_grad_()
    added = penalty.of({}, {"cell": logits.softmax(1)}, context())
    (slope,) = torch.autograd.grad(added, logits)
    assert added.isfinite()
    assert slope.isfinite().all()
    assert slope[0, 2] == 0


def test_entropy_grows_linearly_over_the_epochs_and_sparsity_does_not() -> None:
    shares = one(0.2, 0.3, 0.5)
    whole = float(EntropyPenalty(0.4).of({}, shares, context(9, 10)))
    for epoch in range(10):
        assert float(EntropyPenalty(0.4).of({}, shares, context(epoch, 10))) == pytest.approx(whole * (epoch + 1) / 10)
        assert LpSparsity().of({}, shares, context(epoch, 10)) == LpSparsity().of({}, shares, context(0, 10))
    assert float(EntropyPenalty(0.4).of({}, shares, context(0, 1))) == pytest.approx(whole)


@pytest.mark.parametrize("penalty", [LpSparsity(weight=0), EntropyPenalty(weight=0)], ids=str)
def test_weight_zero_adds_nothing(penalty: Penalty) -> None:
    assert penalty.of({}, one(0.2, 0.8), context()) == 0


def test_options_out_of_range_are_refused() -> None:
    def correct(kind: type[Penalty], option: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            kind(**option)

    check_each(
        [
            (LpSparsity, {"power": 0.0}, "Expected `power` to be between 0 and 1, but got 0.0."),
            (LpSparsity, {"power": 1.0}, "Expected `power` to be between 0 and 1, but got 1.0."),
            (LpSparsity, {"power": float("nan")}, "Expected `power` to be between 0 and 1, but got nan."),
            (LpSparsity, {"weight": -0.1}, "Expected `weight` to be zero or more, but got -0.1."),
            (LpSparsity, {"epsilon": 0.0}, "Expected `epsilon` to be positive, but got 0.0."),
            (EntropyPenalty, {"weight": -1.0}, "Expected `weight` to be zero or more, but got -1.0."),
            (EntropyPenalty, {"weight": float("nan")}, "Expected `weight` to be zero or more, but got nan."),
        ],
        lambda row: correct(*row),
    )
