"""The verdict separates the recorded runs that skip connections took over from the others, as often as it says."""

from __future__ import annotations

import gzip
import importlib.util
import json
import sys
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

import pytest

from robustnas.verdict import Verdict, judge
from robustnas.verdict.calibration import RATES
from robustnas.verdict.measures import curvature_rise, measures
from robustnas.verdict.thresholds import REMEDIES

ROOT = Path(__file__).resolve().parents[1]
RUNS = ROOT / "../shared/data/robustdarts_runs_s1_cifar10.json.gz"
CELLS = ROOT / "../shared/data/nas_bench_201.csv.gz"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The benchmark that measures the rates."""
    spec = importlib.util.spec_from_file_location("calibrate_verdict", ROOT / "benchmarks/calibrate_verdict.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def runs(script: ModuleType) -> list[Any]:
    if not RUNS.exists():
        pytest.skip(f"no recorded runs: {RUNS.name} is not in ../shared/data")
    found: list[Any] = script.recorded(RUNS)
    return found


@pytest.fixture(scope="module")
def ends(runs: list[Any]) -> list[Verdict]:
    """The verdict at the end of each run."""
    return [judge(run.history) for run in runs]


@pytest.fixture(scope="module")
def raised(script: ModuleType, runs: list[Any]) -> list[dict[str, int]]:
    return [script.alarms(run) for run in runs]


def test_collapse_is_told_from_the_rest(runs: list[Any], ends: list[Verdict]) -> None:
    taken_over = [verdict.state for run, verdict in zip(runs, ends, strict=True) if run.taken_over is not None]
    others = [(run.name, verdict) for run, verdict in zip(runs, ends, strict=True) if run.taken_over is None]
    assert taken_over == ["collapsed"] * 9
    states = [verdict.state for _, verdict in others]
    assert (states.count("collapsed"), states.count("at risk"), states.count("healthy")) == (1, 4, 19)
    name, verdict = next(pair for pair in others if pair[1].state == "collapsed")
    assert name == "weight decay 0.2187, drop path 0, seed 3"  # 4 skip connections and 2 poolings of 8 edges
    assert [e.threshold.name for e in verdict.evidence if e.weight == "decides"] == ["parameter_free_domination"]


def test_the_rates_are_those_of_the_recorded_runs(
    script: ModuleType, runs: list[Any], raised: list[dict[str, int]]
) -> None:
    assert script.rates(runs, raised) == RATES


def test_alarms_come_in_time(runs: list[Any], raised: list[dict[str, int]]) -> None:
    pairs = [(run, at) for run, at in zip(runs, raised, strict=True) if run.taken_over is not None]
    assert sorted(run.taken_over - at["at risk"] for run, at in pairs) == [-2, -2, -1, 1, 1, 1, 2, 9, 11]
    last_third = 50 * 2 / 3
    assert sum(at["collapsed"] < last_third for _, at in pairs) == 7
    assert median(at["collapsed"] for _, at in pairs) < last_third


def test_curvature_rises_as_the_published_rule_found(runs: list[Any]) -> None:
    with gzip.open(RUNS, "rt", encoding="utf-8") as file:
        stops = [run["trainer_rule_stop"] for run in json.load(file)["runs"]]
    for run, stop in zip(runs, stops, strict=True):
        rises = curvature_rise(run.history, measures(run.history)).items()
        found = next(((at, to, ratio) for at, (ratio, to) in rises if ratio > 1.3), None)
        wanted = stop and (stop["detected_at_epoch"], stop["stop_epoch"], pytest.approx(stop["ratio"], abs=1e-5))
        assert found == wanted


def test_the_genotype_to_take_is_better_than_the_last(runs: list[Any], ends: list[Verdict]) -> None:
    for run, verdict in zip(runs, ends, strict=True):
        if run.taken_over is not None:
            assert verdict.take.epoch is not None
            assert verdict.take.epoch < run.taken_over
            assert verdict.take.genotype.count("skip_connect")["normal"] <= 4


def test_what_is_said_of_weight_decay_and_drop_path_is_true(runs: list[Any]) -> None:
    plain = [run for run in runs if run.drop_path == 0]
    low = [run.taken_over is not None for run in plain if run.weight_decay < 0.0081]
    high = [run.taken_over is not None for run in plain if run.weight_decay >= 0.0081]
    dropped = [run.taken_over is not None for run in runs if run.drop_path]
    assert (sum(low), len(low), sum(high), len(high)) == (9, 9, 0, 12)
    assert (sum(dropped), len(dropped)) == (0, 12)
    assert {run.weight_decay for run in runs if run.drop_path} == {0.0003}
    assert "9 of 9 recorded runs below, 0 of 12 from there on" in REMEDIES["weight_decay"].why
    assert "3 of 3 recorded runs without, 0 of 12 with it" in REMEDIES["drop_path"].why


def test_signs_that_decide_name_bad_cells_of_nasbench201(script: ModuleType) -> None:
    if not CELLS.exists():
        pytest.skip(f"no table of NAS-Bench-201: {CELLS.name} is not in ../shared/data")
    table = script.cells(CELLS)
    rounded = {name: (count, round(mean, 2), round(middle, 2)) for name, (count, mean, middle) in table.items()}
    assert rounded["every cell"] == (15625, 0.23, 0.5)
    assert rounded["skip_domination"] == (265, 0.51, 0.91)
    assert rounded["parameter_free_domination"] == (3645, 0.67, 0.9)
