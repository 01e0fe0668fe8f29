"""The registry of metrics is the one home of every series: names stand nowhere else, what shows them reads it."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

from robustnas.analysis import Metric, Threshold, register, registry
from robustnas.analysis.registry import METRICS, adopt, find, indicators, own_metrics, panels, thresholds, uncertainty

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [
    path
    for room in ("robustnas", "variants", "diagnostics", "benchmarks")
    for path in sorted((ROOT / room).rglob("*.py"))
]
WAITING = {"plotting", "reports", "study"}
HOME = ROOT / "robustnas" / "analysis" / "metrics.py"
GROUPS = {name.partition("/")[0] for name in METRICS if "/" in name} - {"train", "val", "test"}
NAMES = re.compile(rf"({'|'.join(sorted(GROUPS))})/\w*")


@pytest.fixture
def own_metric(monkeypatch: pytest.MonkeyPatch) -> Metric:
    """An entry as a user would add it, for the time of a test."""
    monkeypatch.setattr(registry, "METRICS", dict(METRICS))
    monkeypatch.setattr(registry, "_ADOPTED", set())
    sign = Threshold("own_sign", ">", 1.0, "hints", "own", "the score is high", ("arch_lr",))
    return register(
        Metric(
            "own/score", "own score", worse="high", panel="Own", by_kind=True, reading=("peak",), bounds=("upper",),
            thresholds=(sign,),
        )
    )  # fmt: skip


def bare_names(path: Path) -> list[str]:
    """Series that a file names in a string outside its docstrings, with the line."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return sorted(
        f"{path.relative_to(ROOT)}:{node.lineno} {node.value}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documented
        if (node.value in METRICS and "/" in node.value) or NAMES.fullmatch(node.value)
    )


def test_no_series_is_named_outside_the_registry() -> None:
    assert len(SOURCES) > 200
    assert [
        found for path in SOURCES if path != HOME and path.parts[-2] not in WAITING for found in bare_names(path)
    ] == []


def test_bare_names_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    (tmp_path / "a.py").write_text('"""gap/accuracy"""\nx = ["val/loss", f"gap/{x}", "alpha/entropy", "data/a.npz"]\n')
    assert bare_names(tmp_path / "a.py") == ["a.py:2 alpha/entropy", "a.py:2 gap/", "a.py:2 val/loss"]


def test_a_series_of_a_part_has_the_entry_of_its_stem() -> None:
    for name, stem in {
        "alpha/entropy_normal": "alpha/entropy", "shares/sep_conv_3x3_reduce": "shares", "val/top1": "val/top1",
        "shares/skip_connect_normal": "shares/skip_connect", "gradient/match_dil_conv_5x5": "gradient/match",
        "curvature/max_upper_normal": "curvature/max", "arch/loss": "arch/loss", "arch/skips": "arch/skips",
    }.items():  # fmt: skip
        assert find(name).name == stem
    assert find("own/very_new") == Metric("own/very_new", "very new")


def test_an_own_entry_is_in_panels_indicators_and_thresholds(own_metric: Metric) -> None:
    shown = panels(["normal", "reduce"])
    assert shown[-1] == ("Own", {"own/score_normal": "normal cell", "own/score_reduce": "reduction cell"}, False)
    assert (own_metric, "peak") in list(indicators())
    assert uncertainty("own/score_normal") == ("own/score_upper_normal",)
    assert [row.measure for row in thresholds() if row.series == "own/score"] == ["own score"]
    assert register(own_metric) is own_metric  # as when a module is loaded twice
    with pytest.raises(ValueError, match="Expected the name of a metric to be new, but got 'own/score'"):
        register(Metric("own/score", "another"))
    with pytest.raises(ValueError, match="Expected `name` to be a group and a measure such as 'own/score', but got"):
        register(Metric("own score", "no name"))


def test_no_two_entries_have_one_title() -> None:
    titles = [metric.title for metric in METRICS.values()]
    assert len(set(titles)) == len(titles)


def test_a_reader_of_a_run_knows_its_own_metrics(own_metric: Metric, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = json.loads(json.dumps(own_metrics()))
    assert [entry["name"] for entry in recorded] == ["own/score"]
    del registry.METRICS["own/score"]
    adopt(recorded)
    assert registry.METRICS["own/score"] == own_metric
    adopt([{**recorded[0], "title": "of another run"}])
    assert registry.METRICS["own/score"] == own_metric
    newer = register(Metric("own/score", "as the module says when it is loaded later"))
    assert registry.METRICS["own/score"] == newer
    for wrong in (
        {}, [3], [{}], [{"name": "a/b"}], [{**recorded[0], "worse": "up"}], [{**recorded[0], "digits": "3"}],
        [{**recorded[0], "name": "own/<b>"}], [{**recorded[0], "unknown": 1}], [{**recorded[0], "thresholds": [{}]}],
    ):  # fmt: skip
        with pytest.raises(ValueError, match="Expected "):
            adopt(wrong)
