"""The verdict separates the recorded runs that skip connections took over from the others, as often as it says."""

from __future__ import annotations

import gzip
import importlib.util
import json
import random
import sys
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

import pytest

from robustnas.analysis import Verdict, judge
from robustnas.analysis.calibration import RATES
from robustnas.analysis.measures import curvature_rise, measures
from robustnas.analysis.thresholds import REMEDIES
from robustnas.spaces import CellSpace, SearchSpace
from robustnas.spaces.find import KNOWN

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
    assert (states.count("collapsed"), states.count("at risk"), states.count("healthy")) == (0, 5, 19)
    verdict = next(v for name, v in others if name == "weight decay 0.2187, drop path 0, seed 3")
    remark = verdict.evidence[-1]  # of the 8 edges 2 cannot have any
    assert (remark.threshold.name, remark.weight) == ("mostly_parameter_free", "notes")
    assert (remark.shown, remark.limit) == ("4 of 6", "over 3")


@pytest.mark.slow
def test_the_rates_are_those_of_the_recorded_runs(
    script: ModuleType, runs: list[Any], raised: list[dict[str, int]]
) -> None:
    assert script.rates(runs, raised) == RATES


@pytest.mark.slow
def test_alarms_come_in_time(runs: list[Any], raised: list[dict[str, int]]) -> None:
    pairs = [(run, at) for run, at in zip(runs, raised, strict=True) if run.taken_over is not None]
    assert sorted(run.taken_over - at["at risk"] for run, at in pairs) == [-2, -2, -2, -1, 1, 1, 1, 2, 9]
    last_third = 50 * 2 / 3
    assert sum(at["collapsed"] < last_third for _, at in pairs) == 6
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
    learnt = [run.history.series["val/top1"][49] for run in plain if run.weight_decay <= 0.0081]
    strong = [run.history.series["val/top1"][49] for run in plain if run.weight_decay == 0.2187]
    assert (round(min(learnt), 2), round(min(strong), 2), round(max(strong), 2)) == (0.87, 0.48, 0.55)
    assert "reached 87 % up to 0.0081, 48 to 55 % at 0.2187" in REMEDIES["weaker_decay"].why
    assert "9 of 9 recorded runs below, 0 of 12 from there on" in REMEDIES["weight_decay"].why
    assert "3 of 3 recorded runs without, 0 of 12 with it" in REMEDIES["drop_path"].why


def test_signs_that_decide_name_bad_cells_of_nasbench201(script: ModuleType) -> None:
    if not CELLS.exists():
        pytest.skip(f"no table of NAS-Bench-201: {CELLS.name} is not in ../shared/data")
    table = script.cells(CELLS)
    rounded = {name: tuple(round(value, 2) for value in values) for name, values in table.items()}
    assert rounded == {
        "every cell": (15625, 0.23, 0.5, 0.56, 94.37),
        "skip_domination": (265, 0.51, 0.91, 0.11, 92.26),
        "disconnected": (341, 1.0, 1.0, 0.0, 10.0),
        "no_convolution": (1983, 1.0, 1.0, 0.0, 87.08),
        "mostly_parameter_free": (3645, 0.67, 0.9, 0.11, 92.37),
    }


def lines(space: SearchSpace, epochs: int, since: int) -> list[str]:
    """Genotypes as the original code of a space prints them: no skip connection before an epoch, all skips after."""
    drawn, found = random.Random(0), []
    for epoch in range(epochs):
        cells = {
            kind: [_kept(cell, node, epoch >= since, drawn) for node in cell.nodes]
            for kind, cell in space.cells.items()
        }
        if space.skeleton == "nasbench201":
            nodes = ("|" + "|".join(f"{name}~{source}" for name, source in node) + "|" for node in cells["cell"])
            found.append("+".join(nodes))
        else:
            normal, reduce = ([pair for node in cells[kind] for pair in node] for kind in ("normal", "reduce"))
            found.append(f"Genotype(normal={normal}, normal_concat=range(2, 6), reduce={reduce}, reduce_concat=[2])")
    return found


def _kept(cell: CellSpace, node: int, skips: bool, drawn: random.Random) -> list[tuple[str, int]]:
    """What a node keeps: names of operations with the sources of their edges."""
    edges = [edge for _, edge in cell.edges_into(node)]
    kept = sorted(drawn.sample(edges, cell.keep or len(edges)), key=lambda edge: edge.source)
    allowed = [[name for name in edge.operations if name not in cell.never_selected] for edge in kept]
    wanted = [[name for name in names if (name == "skip_connect") == skips] or names for names in allowed]
    return [(drawn.choice(names), edge.source) for edge, names in zip(kept, wanted, strict=True)]


@pytest.mark.parametrize("name", ["s2", "S3", "s4", "darts", "dartswithoutnone", "nasbench201"])
def test_runs_of_every_space_with_such_genotypes_are_read(
    script: ModuleType, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    space = {known.lower(): space for known, space in KNOWN.items()}[name.lower()]
    runs = [
        {
            "space": name, "dataset": "cifar10", "drop_path_prob": 0.0, "weight_decay": 0.0003, "seed": seed,
            "epochs": list(range(0, 20, 2)), "dominant_eigenvalue": [0.1 + 0.02 * k for k in range(10)],
            "genotype_per_epoch": lines(space, 20, since),
            "valid_acc_per_epoch": [40.0 + k for k in range(20)], "train_acc_per_epoch": [40.0 + k for k in range(20)],
        }
        for seed, since in enumerate((0, 12, 20))
    ]  # fmt: skip
    path = tmp_path / "runs.json.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        json.dump({"meta": {}, "runs": runs}, file)
    found = script.recorded(path)
    assert {run.history.space for run in found} == {space}
    skips = name != "s4"  # which has none
    assert [run.taken_over for run in found] == ([0, 12, None] if skips else [None] * 3)
    if skips:
        raised = [script.alarms(run) for run in found]
        assert script.rates(found, raised)["collapsed"].hits == 2, "a run that skips rule from the start counts too"
    monkeypatch.setattr(sys, "argv", ["calibrate_verdict.py", str(path)])
    script.main()
    printed = capsys.readouterr().out
    assert all(f"\n{run.name} " in printed for run in found)
    with gzip.open(path, "wt", encoding="utf-8") as file:
        json.dump({"runs": [{**runs[0], "space": "s9"}]}, file)
    with pytest.raises(ValueError, match=r"^Expected `space` of a recorded run to be one of .*, but got 's9'\.$"):
        script.recorded(path)
