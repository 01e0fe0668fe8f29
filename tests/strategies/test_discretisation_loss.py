"""The loss of DA²S: entropies of operations and edges with their ramps, by hand."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from golden import check
from robustnas.variants import DA2S, DARTS
from tables import check_each
from torch import Tensor

from robustnas.spaces import DARTS as SPACE
from robustnas.spaces import NASBench201
from robustnas.strategies import DiscretisationLoss, EntropyPenalty, StepContext
from robustnas.strategies.ramp import Ramp, ramped

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))

from runs import differing, fit, state

KINDS = ("normal", "reduce")
FLAT: dict[str, Any] = {"ramp": "constant", "operation_ramp": "constant", "start": 0}


def context(epoch: int = 0, epochs: int = 50, betas: dict[str, Tensor] | None = None) -> StepContext:
    return StepContext("arch", epoch, epochs, torch.Generator(), space=SPACE, betas=betas or {})


def by_hand(shares: dict[str, Tensor], betas: dict[str, Tensor], part: DiscretisationLoss) -> float:
    """The bracket of the formula without ramps, number by number."""

    def entropy(values: list[float]) -> float:
        return -sum(value * math.log(value) for value in values if value)

    total = sum(entropy(row) for share in shares.values() for row in share.tolist())
    for beta in betas.values():
        for node, first, count in ((3, 2, 3), (4, 5, 4), (5, 9, 5)):
            assert [row for row, _ in SPACE.cells["normal"].edges_into(node)] == list(range(first, first + count))
            capped = [min(value + 2 / count, 1.0) for value in beta[first : first + count].tolist()]
            powers = [math.exp(value) for value in capped]
            spread = entropy([power / sum(powers) for power in powers])
            excess = sum(max(value, 0.0) for value in capped) - 2
            total += part.edge_weight * (spread + part.kept_weight * excess**2)
    return total


def drawn(scale: float) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(2)
    shares = {k: torch.randn(14, 8, dtype=torch.float64, generator=generator).softmax(-1) for k in KINDS}
    return shares, {k: scale * torch.randn(14, dtype=torch.float64, generator=generator) for k in KINDS}


@pytest.mark.parametrize("scale", [1e-3, 0.5, 3.0])
def test_it_is_its_formula(scale: float) -> None:
    shares, betas = drawn(scale)
    for part in (DiscretisationLoss(**FLAT), DiscretisationLoss(0.3, 1.5, 0.7, **FLAT)):
        assert float(part.of({}, shares, context(betas=betas))) == pytest.approx(
            part.weight * by_hand(shares, betas, part), rel=1e-12
        )
        assert float(part.of({}, shares, context())) == pytest.approx(part.weight * by_hand(shares, {}, part))


def test_gradients_are_finite_differences() -> None:
    shares, betas = drawn(0.3)
    logits, beta = shares["normal"].log().requires_grad_(), betas["normal"].requires_grad_()

    def loss(logits: Tensor, beta: Tensor) -> Tensor:
        return DiscretisationLoss().of({}, {"normal": logits.softmax(-1)}, context(30, betas={"normal": beta}))

    assert torch.autograd.gradcheck(loss, (logits, beta))


def test_the_edge_term_is_least_where_two_edges_stay() -> None:
    part = DiscretisationLoss(weight=1.0, **FLAT)
    shares = {"normal": torch.eye(8, dtype=torch.float64)[torch.zeros(14, dtype=torch.long)]}

    def at(*inputs: float) -> float:
        """The loss with these β at the last node, and the best at the others."""
        beta = torch.tensor([0, 0, 9, 9, -99, 9, 9, -99, -99, *inputs], dtype=torch.float64)
        return float(part.of({}, shares, context(betas={"normal": beta})))

    two = at(9, 9, -99, -99, -99)
    assert two == pytest.approx(3 * 4.0 * math.log(2), rel=1e-12)
    for others in ((0, 0, 0, 0, 0), (9, 9, 9, -99, -99), (9, 9, 9, 9, 9), (0.3, 0.3, -99, -99, -99)):
        assert at(*others) > two + 0.1
    unclamped = torch.tensor([9.0, 8.0, -9, -9, -9], dtype=torch.float64)
    assert at(*unclamped.tolist()) == pytest.approx(two, abs=1e-2)  # above the cap β may differ


def test_nodes_that_keep_all_edges_count_nothing() -> None:
    betas = {"cell": torch.randn(6).double()}
    at = StepContext("arch", 0, 50, torch.Generator(), space=NASBench201, betas=betas)
    shares = {"cell": torch.rand(6, 5).double().softmax(-1)}
    part = DiscretisationLoss(**FLAT)
    assert torch.equal(part.of({}, shares, at), part.of({}, shares, context()))


def test_ramps_are_those_of_the_paper() -> None:
    formulas: dict[str, Any] = {
        "constant": lambda n: 1.0,
        "linear": lambda n: n / 50,
        "log": lambda n: math.log(n, 50),
        "exp": lambda n: 2 ** (n / 5) / 2 ** (50 / 5),
        "step": lambda n: 0.0 if n < 12.5 else 1 / 3 if n < 25 else 2 / 3 if n < 37.5 else 1.0,
    }
    assert set(formulas) == set(get_args(Ramp))

    def correct(name: Any) -> None:
        for epoch in range(50):
            assert ramped(0.3, name, context(epoch)) == pytest.approx(0.3 * formulas[name](epoch + 1), abs=1e-15)
        values = [ramped(1.0, name, context(epoch), start=10) for epoch in range(50)]
        assert values[:10] == [0.0] * 10
        assert values == sorted(values)
        assert values[-1] == pytest.approx(1.0)
        assert ramped(1.0, name, context(0, 1)) == pytest.approx(1.0)

    check_each(formulas, correct)


def test_the_ramps_multiply() -> None:
    shares, betas = drawn(0.3)
    part = DiscretisationLoss(ramp="linear", operation_ramp="exp", start=5)
    operations = by_hand(shares, {}, part)
    edges = by_hand(shares, betas, part) - operations
    for epoch in (0, 4, 5, 30, 49):
        inner = 2 ** (10 * ((epoch - 4) / 45 - 1)) if epoch >= 5 else 0.0
        expected = 0.1 * (epoch + 1) / 50 * (inner * operations + edges)
        assert float(part.of({}, shares, context(epoch, betas=betas))) == pytest.approx(expected, rel=1e-12)


def test_the_entropy_penalty_has_ramps_too_and_its_default_is_what_it_was() -> None:
    shares, _ = drawn(1.0)
    mean = torch.cat([-(share * share.log()).sum(-1) for share in shares.values()]).mean()
    for epoch in range(10):
        assert torch.equal(EntropyPenalty(0.3).of({}, shares, context(epoch, 10)), 0.3 * (epoch + 1) / 10 * mean)
        found = EntropyPenalty(0.3, "step", start=2).of({}, shares, context(epoch, 10))
        check(found, ramped(0.3, "step", context(epoch, 10), 2) * mean, rtol=1e-12)


def test_arguments_out_of_range_are_refused() -> None:
    def correct(make: Any, says: str) -> None:
        with pytest.raises(ValueError, match=says):
            make()

    rows = [(name, f"^Expected `{name}` to be zero or more, but got -1") for name in ("weight", "edge_weight", "start")]
    check_each(
        [
            *((lambda name=name: DiscretisationLoss(**{name: -1}), says) for name, says in rows),
            (lambda: DiscretisationLoss(kept_weight=float("nan")), "^Expected `kept_weight` to be zero or more"),
            (
                lambda: DiscretisationLoss(operation_ramp="cube"),
                r"^Expected `operation_ramp` to be one of .* got 'cube'",
            ),
            (lambda: EntropyPenalty(ramp="cube"), r"^Expected `ramp` to be one of 'constant', 'linear', .* 'cube'\.$"),
            (lambda: EntropyPenalty(start=-1), "^Expected `start` to be zero or more, but got -1"),
        ],
        lambda row: correct(*row),
    )


def test_with_weight_zero_it_is_darts_with_edge_weights(tmp_path: Path) -> None:
    shared = {"space": "S2", "layers": 3, "channels": 4, "image_channels": 1, "arch_start": 0, "arch_lr": 0.03}
    short = {"max_epochs": 2, "limit_train_batches": 2}
    neutral = state(fit(tmp_path / "a", DA2S(**shared, penalty=DiscretisationLoss(0.0)), **short))
    darts = state(fit(tmp_path / "b", DARTS(**shared, edge_weights=True), **short))
    assert differing(neutral, darts) == []
    moved = state(fit(tmp_path / "c", DA2S(**shared, penalty=DiscretisationLoss(5.0, start=0)), **short))
    assert {"alphas.normal", "betas.normal"} <= set(differing(moved, darts))
