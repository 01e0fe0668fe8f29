"""The scripts of ``examples/`` run, and give what they promise."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
from blocks import ROOT

from robustnas.networks import operations

EXAMPLES = ROOT / "examples"


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty current folder, and operations that are forgotten after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(operations, "_KNOWN", dict(operations._KNOWN))
    monkeypatch.setattr(sys, "argv", ["example"])


def test_a_search_in_an_own_space(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "own_space.py"), run_name="__main__")
    said = capsys.readouterr().out
    assert "own normal: " in said
    assert "blur" in said
    assert Path("own_space.svg").read_text(encoding="utf-8").startswith("<")


def test_predictions_of_a_genotype() -> None:
    assert runpy.run_path(str(EXAMPLES / "predict.py"))["main"]() > 0.8


@pytest.mark.slow
def test_a_comparison_of_two_methods(capsys: pytest.CaptureFixture[str]) -> None:
    assert runpy.run_path(str(EXAMPLES / "compare_methods.py"))["main"]() == 0
    said = capsys.readouterr().out
    assert said.count("test accuracy") == 6
    assert Path("runs/compare/report.html").is_file()


def test_every_example_is_tested() -> None:
    sources = (Path(__file__), ROOT / "tests" / "inference" / "test_serving.py")
    source = "".join(path.read_text(encoding="utf-8") for path in sources)
    assert [path.name for path in EXAMPLES.glob("*.py") if path.name not in source] == []
