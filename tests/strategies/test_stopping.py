"""Rules that stop a search decide as the published ones do, on synthetic and on recorded measurements."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from golden import golden
from tables import check_each

from robustnas.analysis.curvature_rise import WINDOW, averages
from robustnas.strategies import CurvatureRise, Never, SkipDominance, Stop, Stopping
from robustnas.training.hooks.early_stopping import EarlyStopping

RUNS = Path(__file__).resolve().parents[2] / "../shared/data/robustdarts_runs_s1_cifar10.json.gz"


def first_decision(rule: Stopping, epochs: Sequence[int], values: Sequence[float]) -> Stop | None:
    """Ask after each measurement but the last, as a search does; the decision falls at its last measurement."""
    for count in range(1, len(epochs)):
        if (stop := rule.decide(epochs[:count], values[:count])) is not None:
            assert stop.detected == epochs[count - 1]
            return stop
    return None


def test_synthetic_sequences_are_decided_as_by_the_original() -> None:
    def check(case: int) -> None:
        arrays, meta = golden("early_stop_robustdarts")
        expected = arrays["out/early_stop"][case]
        assert len(arrays["out/early_stop"]) == 16
        rule = CurvatureRise(
            window=expected["window"],
            lag=expected["delta"],
            ratio=expected["factor"],
            start=expected["es_start_epoch"],
            interval=expected["ev_frequency"],
        )
        epochs = expected["evaluated_epochs"]
        values = [float(arrays["ev"][case][epoch]) for epoch in epochs]
        stop = first_decision(rule, epochs, values)
        assert (stop is not None) == expected["stopped"]
        if stop is not None:
            assert stop == Stop(expected["detected_at_epoch"], expected["returned_epoch"])
            values = values[: epochs.index(stop.detected) + 1]
            assert rule.decide(epochs, [float(arrays["ev"][case][epoch]) for epoch in epochs]) == stop
        else:  # the original then appends averages of shortened windows
            values = values[:-1]
        means = averages(values, rule.window)
        assert means == pytest.approx(
            expected["local_averages"][: len(means)], rel=meta["tolerances"]["local_averages"]["rtol"], abs=0
        )
        assert len(means) == len([epoch for epoch in expected["local_average_epochs"].values() if epoch >= 0])

    check_each(range(16), check)


def test_the_synthetic_sequences_hold_both_decisions() -> None:
    arrays, _ = golden("early_stop_robustdarts")
    assert 0 < sum(case["stopped"] for case in arrays["out/early_stop"]) < 16


@cache
def recorded() -> list[dict[str, Any]]:
    """The searches that the authors recorded, where they are present."""
    if not RUNS.exists():
        pytest.skip(f"no recorded searches: {RUNS.name} is not in ../shared/data")
    with gzip.open(RUNS) as file:
        return list(json.load(file)["runs"])


def test_recorded_searches_are_decided_as_by_the_original() -> None:
    """Where to stop, when that is found out, and the architecture that is returned."""
    stopped = 0
    for run in recorded():
        stop = first_decision(CurvatureRise(), run["epochs"], run["dominant_eigenvalue"])
        expected = run["trainer_rule_stop"]
        which = {name: run[name] for name in ("drop_path_prob", "weight_decay", "seed")}
        assert (stop is None) == (expected is None), which
        assert CurvatureRise().decide(run["epochs"], run["dominant_eigenvalue"]) == stop, which
        if stop is not None:
            stopped += 1
            assert stop == Stop(expected["detected_at_epoch"], expected["stop_epoch"]), which
            means = averages(run["dominant_eigenvalue"][: stop.detected // 2 + 1], WINDOW)
            assert means[-1] / means[-5] == pytest.approx(expected["ratio"], abs=1e-6)
            assert run["genotype_per_epoch"][stop.returned] == expected["genotype"], which
    assert len(recorded()) == 33
    assert 0 < stopped < 33


# Weight decay to the epochs returned to by seeds 1, 2 and 3, with the ratios where they are known; drop path 0.
TABLE = {
    3e-4: [(10, 1.453), (10, 1.538), (18, 1.467)],
    9e-4: [(10, 1.591), (20, 1.692), (20, 1.393)],
    2.7e-3: [(30, 1.471), (28, 1.400), (22, 1.460)],
    8.1e-3: [None, None, (36, 1.341)],
    0.0243: [None, None, None],
    0.0729: [(30, None), (14, None), None],
    0.2187: [(10, None), (14, None), (20, None)],
}


def test_recorded_searches_stop_where_the_table_says() -> None:
    seen = 0
    for run in recorded():
        if run["drop_path_prob"] == 0:
            decay = min(TABLE, key=lambda known: abs(known - run["weight_decay"]))
            expected = TABLE[decay][run["seed"] - 1]
            stop = first_decision(CurvatureRise(), run["epochs"], run["dominant_eigenvalue"])
            seen += 1
            assert (stop and stop.returned) == (expected and expected[0]), (decay, run["seed"])
            if stop is not None and expected is not None and expected[1] is not None:
                means = averages(run["dominant_eigenvalue"][: stop.detected // 2 + 1], WINDOW)
                assert means[-1] / means[-5] == pytest.approx(expected[1], abs=1e-3)
    assert seen == 21


EPOCHS = [*range(0, 50, 2), 49]


def test_a_curvature_that_stays_or_falls_never_stops_a_search() -> None:
    assert CurvatureRise().decide(EPOCHS, [0.3] * 26) is None
    assert CurvatureRise().decide(EPOCHS, [0.3 * 0.9**i for i in range(26)]) is None
    assert CurvatureRise().decide([], []) is None


def test_a_rise_stops_at_the_end_of_epoch_22_at_the_earliest_and_returns_to_epoch_10() -> None:
    doubling = [0.1 if epoch <= 10 else 0.2 for epoch in EPOCHS]
    assert CurvatureRise().decide(EPOCHS, doubling) == Stop(22, 10)
    early = [0.1 if epoch <= 2 else 0.2 * epoch for epoch in EPOCHS]  # rises from the start
    assert CurvatureRise().decide(EPOCHS, early) == Stop(22, 10)
    assert CurvatureRise(start=0).decide(EPOCHS, early) == Stop(12, 0)  # four averages after the first
    late = [0.1 if epoch <= 42 else 9.0 for epoch in EPOCHS]
    assert CurvatureRise().decide(EPOCHS, late) == Stop(44, 32)


def test_the_ratio_must_be_passed() -> None:
    step = [1.0 if epoch <= 20 else 1.5 for epoch in EPOCHS]  # the windows that part share one measurement
    assert CurvatureRise(ratio=1.39).decide(EPOCHS, step) is not None
    assert CurvatureRise(ratio=1.4).decide(EPOCHS, step) is None


def test_the_last_epoch_is_never_judged() -> None:
    jump = [0.1] * 25 + [90.0]
    assert CurvatureRise().decide(EPOCHS, jump) is None  # epoch 49 is not two after 48
    assert CurvatureRise().decide([*EPOCHS[:-1], 50], jump) == Stop(50, 38)
    assert not CurvatureRise.at_last  # so that a search does not ask even where its last epoch is
    assert SkipDominance.at_last


def test_epochs_are_counted_from_the_first_one_measured() -> None:
    shifted = [epoch + 1 for epoch in EPOCHS[:-1]]
    doubling = [0.1 if epoch <= 10 else 0.2 for epoch in EPOCHS[:-1]]
    assert CurvatureRise().decide(shifted, doubling) == Stop(23, 11)


def test_the_form_of_the_paper() -> None:
    """λ(i - 5) / λ(i) < 0.75: five measurements apart, over windows that share none."""
    paper = CurvatureRise(lag=5, ratio=4 / 3)
    step = [1.0 if epoch <= 20 else 1.33 for epoch in EPOCHS]
    assert paper.decide(EPOCHS, step) is None  # 1 / 1.33 = 0.7519
    step = [1.0 if epoch <= 20 else 1.34 for epoch in EPOCHS]
    assert paper.decide(EPOCHS, step) == Stop(30, 16)  # 1 / 1.34 = 0.7463
    assert CurvatureRise().decide(EPOCHS, step) is None  # four apart share one: (1 + 4 * 1.34) / 5 = 1.272


def test_no_rise_is_seen_from_an_average_that_is_not_positive() -> None:
    for low in (0.0, -0.1):
        values = [low if epoch <= 20 else 4 * low for epoch in EPOCHS]
        assert CurvatureRise().decide(EPOCHS, values) is None
        values = [low if epoch <= 20 else 1.0 for epoch in EPOCHS]
        stop = CurvatureRise().decide(EPOCHS, values)  # fires once the earlier window holds a positive one
        assert stop is not None
        assert stop.returned >= 18


def test_measurements_that_make_no_sense_are_refused() -> None:
    def check(epochs, values, message: str) -> None:
        for rule in (CurvatureRise(interval=1), SkipDominance()):
            with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
                rule.decide(epochs, values)

    check_each(
        [
            ([0, 1, 2], [1.0], "Expected `values` to be one for each of 3 epochs, but got 1."),
            ([0, 1, 2], [1.0, float("nan"), 1.0], "Expected `values` to be finite, but got nan at epoch 1."),
            ([0, 1], [1.0, float("inf")], "Expected `values` to be finite, but got inf at epoch 1."),
            ([0, 2, 2], [1.0] * 3, "Expected `epochs` to increase, but got 2 after 2."),
            ([3, 1], [1.0] * 2, "Expected `epochs` to increase, but got 1 after 3."),
        ],
        lambda row: check(*row),
    )


def test_options_out_of_range_are_refused() -> None:
    def check(rule: type[Stopping], option: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=re.escape(message)):
            rule(**option)

    check_each(
        [
            (
                CurvatureRise,
                {"window": 0},
                "`window`, `lag` and `interval` to be at least 1 and `start` to be zero",
            ),
            (CurvatureRise, {"lag": 0}, "but got 5, 0, 2 and 10."),
            (CurvatureRise, {"interval": 0}, "but got 5, 4, 0 and 10."),
            (CurvatureRise, {"start": -1}, "but got 5, 4, 2 and -1."),
            (CurvatureRise, {"ratio": 0.75}, "`ratio` to be a finite number of at least 1, but got 0.75."),
            (CurvatureRise, {"ratio": float("nan")}, "`ratio` to be a finite number of at least 1, but got nan."),
            (CurvatureRise, {"ratio": float("inf")}, "`ratio` to be a finite number of at least 1, but got inf."),
            (SkipDominance, {"max_skips": -1}, "but got -1, 0 and 1."),
            (SkipDominance, {"start": -1}, "but got 2, -1 and 1."),
            (SkipDominance, {"interval": 0}, "but got 2, 0 and 0."),
        ],
        lambda row: check(*row),
    )


def test_too_many_skip_connections_stop_and_return_to_the_measurement_before() -> None:
    skips = [0, 1, 2, 2, 3, 5]
    assert SkipDominance().decide(range(6), skips) == Stop(4, 3)
    assert SkipDominance(max_skips=1).decide(range(6), skips) == Stop(2, 1)
    assert SkipDominance(max_skips=5).decide(range(6), skips) is None
    assert SkipDominance(start=5).decide(range(6), skips) == Stop(5, 4)
    assert SkipDominance(start=6).decide(range(6), skips) is None
    assert SkipDominance(interval=3).decide([0, 3, 6], [2, 2, 3]) == Stop(6, 3)
    assert SkipDominance().decide([0], [8]) is None  # there is nothing before to return to


def test_a_search_that_never_stops() -> None:
    assert Never().monitor == "nothing"
    assert Never().decide(EPOCHS, [2.0**i for i in range(26)]) is None


def test_a_rule_of_ones_own_is_asked_after_every_epoch_unless_it_says_otherwise() -> None:
    class Own(Stopping):
        monitor = "skips"

        def decide(self, epochs: Sequence[int], values: Sequence[float]) -> Stop | None:
            return None

    class Seldom(Own):
        interval = 2

    due = [[e for e in range(6) if EarlyStopping(rule, None).due(e, 6)] for rule in (Own(), Seldom())]
    assert due == [[0, 1, 2, 3, 4, 5], [0, 2, 4, 5]]
