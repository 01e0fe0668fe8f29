"""The regulariser of β-DARTS: by hand, by the original, and as a part of a search."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from golden import check, golden
from robustnas.variants import DARTS, BetaDARTS
from tables import check_each
from torch import Tensor

from robustnas.strategies import Adam, BetaDecay, RandomPerturbation, StepContext

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))

from runs import SMALLEST, differing, fit, state


def context(epoch: int, epochs: int = 100) -> StepContext:
    return StepContext("arch", epoch, epochs, torch.Generator())


def rows(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_it_is_the_mean_over_the_rows_of_all_kinds() -> None:
    alphas = {"normal": rows(5, 4), "reduce": rows(2, 6)}
    values = [math.log(sum(math.exp(value) for value in row)) for alpha in alphas.values() for row in alpha.tolist()]
    for epoch, weight in ((0, 0.0), (1, 0.5), (50, 25.0), (99, 49.5)):
        found = BetaDecay().of(alphas, {}, context(epoch))
        assert float(found) == pytest.approx(weight * sum(values) / 7, rel=1e-12)
    assert float(BetaDecay(10.0).of(alphas, {}, context(3, 4))) == pytest.approx(7.5 * sum(values) / 7, rel=1e-12)


def test_its_gradient_is_the_share_over_the_number_of_edges() -> None:
    alpha = rows(6, 5).requires_grad_()
    (gradient,) = torch.autograd.grad(BetaDecay().of({"cell": alpha}, {}, context(50)), alpha)
    check(gradient, 25 * alpha.softmax(-1) / 6, rtol=1e-12)
    check(gradient.sum(1), torch.full((6,), 25 / 6, dtype=torch.float64), rtol=1e-12)
    assert torch.autograd.gradcheck(lambda x: BetaDecay().of({"cell": x}, {}, context(7)), alpha)


def test_a_constant_on_an_edge_counts() -> None:
    alpha = rows(6, 5)
    moved = alpha.clone()
    moved[2] += 0.3
    difference = BetaDecay().of({"cell": moved}, {}, context(40)) - BetaDecay().of({"cell": alpha}, {}, context(40))
    assert float(difference) == pytest.approx(20 * 0.3 / 6, rel=1e-10)


def test_what_an_edge_does_not_have_does_not_count() -> None:
    alpha = rows(6, 5)
    wide = torch.cat([alpha, torch.full((6, 2), -torch.inf)], dim=1).requires_grad_()
    found = BetaDecay().of({"cell": wide}, {}, context(40))
    assert torch.equal(found, BetaDecay().of({"cell": alpha}, {}, context(40)))
    (gradient,) = torch.autograd.grad(found, wide)
    assert gradient.isfinite().all()
    assert not gradient[:, 5:].any()


def test_steps_are_those_of_the_original() -> None:
    arrays, meta = golden("beta_darts")
    values, steps = meta["tolerances"]["values"], meta["tolerances"]["steps"]
    alpha, part = arrays["alpha/cell"].clone().requires_grad_(), BetaDecay()
    once = part.of({"cell": alpha}, {}, context(2))  # of weight 1
    check(once, arrays["out/regulariser"], **values)
    check(torch.autograd.grad(once, alpha)[0], arrays["out/grad_regulariser"], **values)
    assert arrays["epochs"].tolist() == [0, 1, 25, 49, 99]

    def step(parameter: Tensor, optimizer: torch.optim.Optimizer, epoch: int) -> Tensor:
        loss = (arrays["validation_gradient"] * parameter).sum()
        loss = part.total(loss, {"cell": parameter}, {}, context(epoch))
        (parameter.grad,) = torch.autograd.grad(loss, parameter)
        gradient = parameter.grad.clone()
        optimizer.step()
        return gradient

    def fresh() -> tuple[Tensor, torch.optim.Optimizer]:
        parameter = arrays["alpha/cell"].clone().requires_grad_()
        return parameter, Adam().build([parameter], 3e-4, (0.5, 0.999), 1e-3)

    for epoch in arrays["epochs"].tolist():
        parameter, optimizer = fresh()
        check(step(parameter, optimizer, epoch), arrays[f"out/epoch/{epoch}/alpha_grad"], **values)
        check(parameter, arrays[f"out/epoch/{epoch}/alpha"], **steps)
    parameter, optimizer = fresh()
    for epoch, expected in zip(arrays["trajectory_epochs"].tolist(), arrays["out/trajectory"], strict=True):
        step(parameter, optimizer, epoch)
        check(parameter, expected, **steps)
    large = part.of({"cell": arrays["large_alpha"]}, {}, context(2))
    check(large, arrays["out/large_alpha_regulariser"], **values)


def test_weights_below_zero_are_refused() -> None:
    def correct(weight: float) -> None:
        with pytest.raises(ValueError, match=r"^Expected `weight_end` to be zero or more, but got "):
            BetaDecay(weight)

    check_each([-1.0, float("nan")], correct)


@pytest.mark.parametrize("space", ["NASBench201", pytest.param("S2", marks=pytest.mark.slow)])
def test_with_weight_zero_it_is_darts(tmp_path: Path, space: str) -> None:
    shared: dict[str, Any] = {**SMALLEST[space], "channels": 4, "image_channels": 1, "arch_lr": 0.03}
    short = {"max_epochs": 2, "limit_train_batches": 2}
    darts = state(fit(tmp_path / "a", DARTS(**shared), **short))
    neutral = state(fit(tmp_path / "b", BetaDARTS(**shared, penalty=BetaDecay(0.0)), **short))
    assert differing(darts, neutral) == []
    assert "alphas." in " ".join(differing(darts, state(fit(tmp_path / "c", BetaDARTS(**shared), **short))))


@pytest.mark.slow
def test_with_a_random_perturbation_both_act(tmp_path: Path) -> None:
    """As in the author's script for the DARTS space: α is pulled down, and the weights see another mixture."""
    shared: dict[str, Any] = {**SMALLEST["NASBench201"], "channels": 4, "image_channels": 1, "arch_lr": 0.03}
    short = {"max_epochs": 3, "limit_train_batches": 2}

    def found(name: str, **parts: Any) -> dict[str, Tensor]:
        return state(fit(tmp_path / name, DARTS(**shared, **parts), **short))

    decay, random = {"penalty": BetaDecay()}, {"perturbation": RandomPerturbation()}
    both, alone, only = found("a", **decay, **random), found("b", **decay), found("c", **random)
    weight = "supernet.body.classifier.weight"
    assert not torch.equal(both[weight], alone[weight])
    assert float((both["alphas.cell"] - only["alphas.cell"]).mean()) < -0.01
