"""``robustnas verify`` from its words to the table, the file and the exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tables import check_each

from robustnas.__main__ import main
from robustnas.verification import checks
from robustnas.verification.finding import Figure, Finding, Outcome

pytestmark = pytest.mark.usefixtures("few_samples", "no_pictures", "known_costs")

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    "--model=DARTS", "--model.space=NASBench201", "--model.channels=2", "--model.cells=1", "--data=Digits",
]  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    return tmp_path


def test_a_sound_search_passes_and_leaves_nothing_but_the_file(place: Path, capsys: Any) -> None:
    words = ["--only", "partition", "--only", "roles", "--only", "paths", "--json", "found.json"]
    assert main(["verify", *SMALL, *words]) == 0
    shown = capsys.readouterr().out
    assert "DARTS at NASBench201, 2 channels, 1 cell a stage" in shown
    assert "2 checks passed, 1 did not apply, none failed, in " in shown
    assert [path.name for path in place.iterdir()] == ["found.json"]
    assert "ROBUSTNAS_RUN" not in os.environ
    found = json.loads((place / "found.json").read_text(encoding="utf-8"))
    assert found["passed"] is True
    assert [(one["name"], one["status"]) for one in found["checks"]] == [
        ("partition", "passed"), ("paths", "not applicable"), ("roles", "passed"),
    ]  # fmt: skip
    shared = found["checks"][2]["figures"]["samples in two roles"]
    assert shared == {"value": 0.0, "allowed": 0.0, "passed": True}
    assert "torch" in found["versions"]


def test_a_failed_check_is_named_with_its_figure(place: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Finding("this with that", {"error [relative]": Figure(0.5, 1e-6)}, "cells.0")
    monkeypatch.setitem(checks.CHECKS, "gradient", lambda subject: wrong)
    assert main(["verify", *SMALL, "--only", "gradient", "--only", "roles", "--json", "found.json"]) == 1
    shown = capsys.readouterr().out
    assert "error [relative]: 0.5 (1e-06)" in shown
    assert "1 of 2 checks failed" in shown
    assert shown.strip().endswith(": gradient.")
    found = json.loads(Path("found.json").read_text(encoding="utf-8"))
    assert found["passed"] is False
    assert found["checks"][0]["says"] == ("Expected error [relative] to be at most 1e-06, but got 0.5 (cells.0).")


def test_wrong_words_get_a_sentence(place: Path, capsys: Any) -> None:
    def check(words: list[str], sentence: str) -> None:
        assert main(["verify", *SMALL, *words]) in (1, 2)
        said = capsys.readouterr().err
        assert sentence in said
        assert said.count("\n") == 1
        assert said.startswith("robustnas: Expected ")

    check_each(
        [
            (["--only", "gradients"], "Expected `--only` to be one of partition, gradient"),
            (["--json", "nowhere/found.json"], "Expected `--json` to be a file in a folder that exists"),
            (["--model.chanels", "2"], "did you mean `channels`?"),
            (["--model", "EvaluationModule", "--model.genotype", "x"], "Expected "),
            (["--trainer.precision", "16-mixed"], "Expected `precision` to be 32-true, 64-true or bf16-mixed"),
            (["--data.batch_size", "0"], "Expected `batch_size` to be at least 1"),
            (["--data.fractions", "[0.9, 0.5, 0.1]"], "Expected `fractions` to be shares"),
        ],
        lambda row: check(*row),
    )


def test_without_a_model_one_is_asked_for(place: Path, capsys: Any) -> None:
    assert main(["verify", "--only", "roles"]) == 2
    assert "Expected `data` and `model`" in capsys.readouterr().err.replace("`model` and `data`", "`data` and `model`")


def test_a_figure_beyond_what_is_allowed_fails() -> None:
    def check(value: float) -> None:
        assert not Figure(value, 1e-6).passed
        outcome = Outcome("gradient", Finding("", {"error": Figure(value, 1e-6)}), 0.0)
        assert outcome.status == "failed"
        assert outcome.says.startswith("Expected error to be at most 1e-06, but got ")

    check_each([float("nan"), float("inf"), 2e-6], check)


def test_a_finding_without_figures_does_not_apply() -> None:
    assert Finding("nothing", says="There is none.").status == "not applicable"
    assert Outcome("x", None, 0.0, "Expected no error.").status == "failed"


@pytest.mark.slow
def test_the_quickstart_is_sound(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "robustnas", "verify", "-c", str(ROOT / "configs/collapse.yaml")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "--json", "found.json"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert {one["name"]: one["status"] for one in found["checks"]} == {
        name: "not applicable" if name == "paths" else "passed" for name in checks.CHECKS
    }
    assert [path.name for path in tmp_path.iterdir()] == ["found.json"]
