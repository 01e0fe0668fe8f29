"""The rule that raises the weight decay: which decays, which states can be returned to, what is refused."""

from __future__ import annotations

import re

import pytest
from tables import check_each

from robustnas.strategies import CurvatureRise, RaiseDecay

SHORT = CurvatureRise(window=1, lag=2, start=0, interval=1, samples=16)


def test_no_more_states_are_kept_than_can_be_returned_to() -> None:
    rule = RaiseDecay()
    measured = list(range(0, 40, 2))
    assert rule.returnable(measured, 2) == list(range(18, 39, 2))
    assert rule.returnable(measured, 1) == list(range(28, 39, 2))
    assert rule.returnable(measured, 0) == []
    assert rule.returnable(measured[:8], 2) == [10, 12, 14]
    assert rule.returnable(measured[:3], 2) == []
    assert rule.returnable([0, 2, 4, 6, 8, 10, 12, 13], 2) == [10, 12]


def test_every_epoch_a_decision_returns_to_has_been_kept() -> None:
    """The eigenvalue rises as early as it can, or late, and again at once."""

    def check(rule: CurvatureRise) -> None:
        for late in range(30):
            part, measured, held, left = RaiseDecay(rule), [], {}, 3
            epoch, values = 0, {}
            while left and epoch < 120:
                if epoch % rule.interval == 0:
                    measured = [*(e for e in measured if e < epoch), epoch]
                    values[epoch] = 1.0 if epoch < late else 2.0 ** (epoch - late)
                    stop = part.decide(measured, [values[e] for e in measured])
                    if stop is None:
                        held = {e for e in {*held, epoch} if e in part.returnable(measured, left)}
                    else:
                        assert stop.returned in held
                        left, epoch = left - 1, stop.returned
                        measured = [e for e in measured if e <= epoch]
                        held = {e for e in held if e in part.returnable(measured, left)}
                epoch += 1
            assert left == 0
            assert held == set()

    check_each([CurvatureRise(), CurvatureRise(5, 5, 4 / 3), CurvatureRise(2, 1, 1.1, 3, 3), SHORT], check)


def test_the_weight_decays_are_those_of_the_experiments() -> None:
    assert RaiseDecay().decays(3e-4) == pytest.approx((3e-4, 3e-3, 3e-2))
    assert RaiseDecay(factor=3, max_weight_decay=0.0243).decays(3e-4) == pytest.approx(
        (3e-4, 9e-4, 27e-4, 81e-4, 243e-4)
    )
    assert RaiseDecay().decays(3.1e-4) == pytest.approx((3.1e-4, 3.1e-3))
    assert RaiseDecay(CurvatureRise(interval=3)).interval == 3
    assert (RaiseDecay().interval, RaiseDecay.monitor, RaiseDecay.at_last) == (2, "curvature", False)


def test_it_decides_as_its_rule() -> None:
    epochs, values = list(range(0, 40, 2)), [1.0] * 12 + [9.0] * 8
    assert RaiseDecay().decide(epochs, values) == CurvatureRise().decide(epochs, values) is not None
    strict = CurvatureRise(ratio=50)
    assert RaiseDecay(strict).decide(epochs, values) is None


def test_options_out_of_range_are_refused() -> None:
    def check(options: dict[str, float], message: str) -> None:
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            RaiseDecay(**options)

    check_each(
        [
            ({"factor": 1.0}, "Expected `factor` to be a finite number above 1, but got 1.0."),
            ({"factor": float("nan")}, "Expected `factor` to be a finite number above 1, but got nan."),
            ({"factor": float("inf")}, "Expected `factor` to be a finite number above 1, but got inf."),
            ({"max_weight_decay": 0.0}, "Expected `max_weight_decay` to be positive, but got 0.0."),
            ({"max_weight_decay": float("nan")}, "Expected `max_weight_decay` to be positive, but got nan."),
        ],
        lambda row: check(*row),
    )
