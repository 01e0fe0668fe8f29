"""How noisy a series is, and how often noise alone would stop a search."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from tables import check_each

from robustnas.analysis.curvature_rise import averages
from robustnas.strategies import CurvatureRise, RaiseDecay
from robustnas.strategies.stopping import DRAWS, flat_growth, scatter

EPOCHS = list(range(0, 50, 2))
RULE = CurvatureRise()


def test_the_scatter_is_that_of_the_noise_whatever_the_trend() -> None:
    def check(sigma: float, growth: float) -> None:
        noise = np.random.default_rng(1).standard_normal((500, 9))
        found = [scatter(np.exp(growth * np.arange(9) + sigma * row).tolist()) ** 2 for row in noise]
        assert math.sqrt(np.mean(found)) == pytest.approx(sigma, rel=0.05)

    check_each(itertools.product([0.05, 0.2], [0.0, 0.05, -0.05]), lambda row: check(*row))


def test_the_scatter_of_too_few_or_of_none_is_not_known() -> None:
    assert math.isnan(scatter([1.0, 2.0, 1.0]))
    assert math.isnan(scatter([1.0, 2.0, 0.0, 1.0]))
    assert scatter([1.0, 2.0, 4.0, 8.0]) == pytest.approx(0, abs=1e-12)


def test_flat_curves_stop_as_often_as_said() -> None:
    """The figures of the docstring, by the rule itself on curves of other draws."""

    def check(sigma: float, chance: float) -> None:
        noise = np.random.default_rng(7).standard_normal((400, len(EPOCHS)))
        stopped = [RULE.decide(EPOCHS, np.maximum(1 + sigma * row, 1e-6).tolist()) is not None for row in noise]
        assert np.mean(stopped) == pytest.approx(chance, abs=0.06)

    check_each([(0.05, 0.0), (0.1, 0.0), (0.2, 0.11), (0.3, 0.46)], lambda row: check(*row))


@pytest.mark.parametrize("rule", [RULE, CurvatureRise(window=3, lag=2, start=4), CurvatureRise(window=1, lag=1)])
def test_growth_on_drawn_curves_is_that_of_the_rule(rule: CurvatureRise) -> None:
    growth = flat_growth(0.2, 12, rule.window, rule.lag)
    assert growth.shape == (DRAWS, 12)
    noise = np.random.default_rng(0).standard_normal((DRAWS, 12))
    first = (rule.window + 1) // 2
    for row in (0, 17):
        means = averages((1 + 0.2 * noise[row]).tolist(), rule.window)
        expected = [means[i] / means[i - rule.lag] for i in range(rule.lag, len(means))]
        assert growth[row, first - 1 + rule.lag :] == pytest.approx(expected)
        assert not growth[row, : first - 1 + rule.lag].any()


def test_the_rule_logs_its_noise_and_what_it_means() -> None:
    quiet = [1.0, 1.01] * 12
    loud = [1.0, 1.8] * 12
    assert RULE.noise(EPOCHS[:3], quiet[:3]) == {}
    for values, least, most in ((quiet, 0.0, 0.0), (loud, 0.3, 1.0)):
        found = RULE.noise(EPOCHS[:24], values)
        assert set(found) == {"arch/curvature_noise", "arch/curvature_flat_stops"}
        assert least <= found["arch/curvature_flat_stops"] <= most
        assert RaiseDecay(RULE).noise(EPOCHS[:24], values) == found


def test_a_decision_says_whether_noise_alone_explains_it() -> None:
    steady = [1.0] * 6 + [1.1, 1.2, 1.35, 1.5, 1.65, 1.8]
    wild = [1.0, 1.9, 0.7, 1.4, 0.8, 1.7, 0.9, 2.4, 1.1, 2.6, 1.3, 2.9]
    for values, said in ((steady, "noise alone hardly explains it"), (wild, "noise alone may explain it")):
        stop = RULE.decide(EPOCHS[:12], values)
        assert stop is not None
        reason = RULE.reason(EPOCHS[:12], values)
        assert "threshold 1.3" in reason
        assert reason.endswith(f"{said}.")
        assert RaiseDecay(RULE).reason(EPOCHS[:12], values) == reason
    assert "is not known" in CurvatureRise(1, 1, 1.3, 0, 1).reason([0, 1], [1.0, 2.0])


def test_a_curvature_of_nothing_is_nothing_to_rise_from() -> None:
    assert RULE.decide(EPOCHS, [1e-6] * 12 + [9e-4] * 13) is None
    assert RULE.decide(EPOCHS, [2e-3] * 12 + [9e-3] * 13) is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"measured_on": "all"}, "Expected `measured_on` to be probe or last_batch, but got 'all'"),
        ({"samples": 1}, "Expected `samples` to be at least 2, but got 1"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CurvatureRise(**options)  # type: ignore[arg-type]
