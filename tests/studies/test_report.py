"""The report of a study: every file, what the page says of scores whose answer is known, and nothing unproved."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from made_studies import EPOCHS, VARIANTS, Page, page_of, study_cells, write_study

from robustnas.__main__ import main
from robustnas.analysis.cost_outcome import CostOutcome
from robustnas.reports.study import write_report
from robustnas.reports.study.checklist import checklist
from robustnas.reports.study.study_data import RANDOM, Score, StudyData
from robustnas.reports.study.tables import latex, latex_tables, markdown_tables
from robustnas.statistics import Interval

ROOT = Path(__file__).resolve().parents[2]
FILES = ("results.csv", "results.parquet", "report.html", "tables.md", "tables.tex", "calibration.csv")
HOSTILE = "<script>alert(1)</script>'\"><b>&amp;_%$#{}\\~^|`*[x](y)"
Output = pytest.CaptureFixture[str]


def test_cost_against_score_is_drawn_where_searches_know_costs(tmp_path: Path) -> None:
    """Two settings: every trial, the front by its definition, and how often the target was met."""
    levels = [{"target": "low"}, {"target": "high"}]
    cells = study_cells(("DARTS",), (None,), range(3), levels)
    scores = {"low": 0.90, "high": 0.95}
    study = write_study(tmp_path / "s", cells, lambda cell, _: scores.get(cell.levels.get("target", ""), 0.8))
    for cell in cells:
        if not cell.baseline:
            low = cell.levels["target"] == "low"
            cost = (100.0 if low else 200.0) + 10 * cell.seed
            CostOutcome(
                "flops", "multiply-adds for an image", "costs.json", "g", cost, cost, True, 110.0 if low else 150.0
            ).write(study / cell.folder / "search")
    page = page_of(study)
    assert "Cost and score" in page.texts["h3"]
    assert (study / "front.png").read_bytes().startswith(b"\x89PNG")
    front, settings = (
        next(t for t in page.texts["table"] if said in t) for said in ("Pareto front", "Cost and score by")
    )
    assert "DARTS, target=low, seed 0" in front
    assert "DARTS, target=high, seed 0" in front
    assert "seed 1" not in front
    assert "2 of 3" in settings
    assert "0 of 3" in settings
    (study / cells[0].folder / "search" / "cost.json").write_text("{}", encoding="utf-8")
    assert "to hold the costs of a search" in StudyData.read(study).unread[cells[0].folder]


def test_a_study_gets_every_file_and_its_numbers(tmp_path: Path) -> None:
    failed = {"GDAS/S2/seed-3": "RuntimeError: no <memory> left"}
    published = {"DARTS": {"metric": "CIFAR-10 test, %", "mean": 54.3, "std": 0.0, "source": "NAS-Bench-201"}}
    study = write_study(
        tmp_path / "grid", truth=True, failed=failed, published=published,
        finished=lambda cell: cell.key != "PC-DARTS/S3/seed-4",
    )  # fmt: skip
    page = page_of(study)
    assert all((study / name).stat().st_size for name in FILES)
    assert page.texts["h3"] == [
        "Summary", "Main results", "Results: S1", "Results: S2", "Results: S3", "Over all tasks",
        "Indicators of collapse", "Over time", "Cost", "Trials", "Failed and missing trials", "Checklist", "Files",
    ]  # fmt: skip
    assert "73 finished, 1 failed, 1 not run" in page.texts["dd"]
    assert "RuntimeError: no <memory> left" in page.all
    assert "PC-DARTS/S3/seed-4" in page.all
    assert "54.3 ± 0, CIFAR-10 test, % (NAS-Bench-201)" in page.all
    with (study / "results.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    scores = [float(row["score"]) for row in rows if (row["variant"], row["space"]) == ("GDAS", "S2")]
    assert len(scores) == 4
    half = 3.182446305 * np.std(scores, ddof=1) / 2  # Student's t with 3 degrees of freedom
    mean = 100 * np.mean(scores)
    text = (study / "tables.md").read_text(encoding="utf-8")
    assert f"| GDAS | {mean:.2f} ± {100 * half:.2f} | 4 of 5 |" in text
    assert f"{mean:.2f}" in page.texts["table"][2]
    parquet = pq.read_table(study / "results.parquet").to_pylist()
    assert [row["score"] for row in parquet] == [float(row["score"]) for row in rows]
    assert {type(row["seed"]) for row in parquet} == {int}
    for given in page.named("a"):
        href = given["href"] or ""
        assert (f'id="{href[1:]}"' in (study / "report.html").read_text(encoding="utf-8")) if href[0] == "#" else (
            (study / href).exists() or href.endswith("log.txt"))  # fmt: skip


def test_the_same_study_gives_the_same_bytes_also_from_elsewhere(tmp_path: Path) -> None:
    study = write_study(tmp_path / "one", study_cells(VARIANTS[:2], (None,), [0, 1]))
    page = write_report(study).read_bytes()
    events = sorted(study.glob("tensorboard/**/events*"))
    before = [path.read_bytes() for path in events]
    assert write_report(study).read_bytes() == page
    assert [path.read_bytes() for path in events] == before
    assert sorted(study.glob("tensorboard/**/events*")) == events
    other = write_report(study, tmp_path / "deep" / "page.html")
    links = [given["href"] or "" for given in Page(other.read_text(encoding="utf-8")).named("a")]
    assert any(link.startswith("../one/trials/") and (other.parent / link).exists() for link in links)


def test_a_page_needs_nothing_else_and_lets_nothing_become_markup(tmp_path: Path) -> None:
    cells = study_cells((HOSTILE, "DARTS"), (HOSTILE, None), [0, 1], [{HOSTILE: HOSTILE}], random=False)
    study = write_study(tmp_path / "bad", cells, failed={"DARTS": HOSTILE}, name=HOSTILE,
        published={HOSTILE: {"mean": 1.0, "source": HOSTILE, "metric": HOSTILE}})  # fmt: skip
    page = page_of(study)
    names = {name for name, _ in page.elements}
    assert {"script", "b", "link", "iframe", "img", "form"} & names == set()
    assert page.texts["h2"] == [HOSTILE]
    assert HOSTILE in page.all
    for _, given in page.elements:
        assert not [name for name in given if name.startswith("on")]
        assert not re.match(r"(https?:|//|javascript:)", given.get("href") or "")
    held = latex_tables(StudyData.read(study))
    assert "<script>" not in held
    assert not re.search(r"(?<!\\)[_#$%&](?=[{}#$])", latex(HOSTILE))
    text = markdown_tables(StudyData.read(study), [])
    assert "<script>" not in text
    assert "[x](" not in text


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    none = page_of(write_study(tmp_path / "none", finished=lambda cell: False))
    assert "No trial with a score is finished." in none.all
    assert "Not run, or still running: DARTS/S1/seed-0" in none.all
    assert "yes" not in none.texts["strong"]
    one = page_of(write_study(tmp_path / "one", study_cells(VARIANTS, (None,), [0])))
    assert "one seed" in one.all
    assert "No comparison with DARTS: a paired test needs two seeds" in one.all
    assert "Ranks over tasks need at least two tasks" in one.all
    assert "none: fewer than 5 bad or good trials" in one.all


def test_the_checklist_claims_nothing_that_no_file_shows(tmp_path: Path) -> None:
    root = write_study(tmp_path / "s", study_cells(VARIANTS, ("S1", "S2"), range(3)), truth=True)
    study = StudyData.read(root)
    write_report(root)
    held = {item.name: item for item in checklist(study)}
    assert [held[name].answer for name in ("A1", "A3", "B1", "B2", "B4", "B6", "B7", "B8", "D1", "F3", "G3")] == [
        "yes"
    ] * 11
    for item in held.values():
        assert (item.answer == "yes") == (item.proof is not None)
        assert item.proof is None or (root / item.proof.partition("#")[0]).exists()
    assert {held[name].answer for name in ("B3", "C1", "D2", "D5", "D6", "E1", "F2")} == {"no"}

    cell = root / "trials" / "DARTS" / "S1" / "seed-0"
    manifest = json.loads((cell / "evaluation" / "manifest.json").read_text(encoding="utf-8"))
    manifest["git"]["robustnas"]["commit"] = None
    manifest["data"]["roles"]["test"]["sha256"] = "other"
    manifest["versions"]["torch"] = "2.6.0"
    (cell / "evaluation" / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    (cell / "evaluation" / "config.yaml").write_text("model: {init_args: {lr: 0.2}}\n", encoding="utf-8")
    (cell / "search" / "config.yaml").unlink()
    shutil.rmtree(root / "trials" / RANDOM / "S1")
    held = {item.name: item for item in checklist(StudyData.read(root))}
    assert held["A1"].why == "the commit of robustnas is not recorded for every trial"
    no = ("A1", "A5", "B1", "B2", "B4", "B6", "E3")
    assert {name: held[name].answer for name in no} == dict.fromkeys(no, "no")
    assert "such as trials/DARTS/S1/seed-0/search/config.yaml" in held["A5"].why


def test_the_command_reports_studies_without_torch(tmp_path: Path, capsys: Output, monkeypatch: Any) -> None:
    study = write_study(tmp_path / "one", study_cells(VARIANTS[:2], (None,), range(3)))
    other = write_study(tmp_path / "two", study_cells(VARIANTS[:2], (None,), range(3)))
    code = (
        "import sys; from robustnas.__main__ import main; "
        f"assert main(['report', {str(study)!r}]) == 0; "
        "assert not {'torch', 'pytorch_lightning', 'lightning_fabric', 'tensorflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(study), str(other)]) == 0
    assert capsys.readouterr().out.split() == [
        str(study / "report.html"),
        str(other / "report.html"),
        "calibration.csv",
    ]
    rows = list(csv.DictReader((tmp_path / "calibration.csv").open(encoding="utf-8")))
    alone = list(csv.DictReader((study / "calibration.csv").open(encoding="utf-8")))
    total = {row["indicator"]: int(row["n_bad"]) + int(row["n_good"]) for row in rows}
    assert total["curvature/max"] == 12
    assert {int(row["n_bad"]) + int(row["n_good"]) for row in alone} == {6}


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda root: (root / "study.json").write_text('{"schema": 1, "cells": []}'), "to be a study of schema 2"),
        (lambda root: (root / "study.json").write_text("{"), "study.json"),
        (lambda root: next(root.rglob("result.json")).write_text('{"schema": 0}'), "to be a result of schema 2"),
        (lambda root: next(root.rglob("result.json")).write_text("[]"), "to be a result of schema 2"),
        (lambda root: next(root.rglob("evaluation/manifest.json")).write_text("{"), "manifest.json` to be JSON"),
    ],
)
def test_what_is_no_study_is_refused_in_a_sentence(tmp_path: Path, capsys: Output, spoil: Any, said: str) -> None:
    root = write_study(tmp_path / "s", study_cells(("DARTS",), (None,), [0]))
    spoil(root)
    assert main(["report", str(root)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("robustnas: Expected ")
    assert said in error
    assert error.count("\n") == 1
    assert not (root / "report.html").exists()


def test_studies_and_searches_are_not_mixed(tmp_path: Path, capsys: Output) -> None:
    root = write_study(tmp_path / "s", study_cells(("DARTS",), (None,), [0]))
    search = root / "trials" / "DARTS" / "seed-0" / "search"
    assert main(["report", str(root), str(search)]) == 1
    assert "to name searches only, or studies only, but got the study" in capsys.readouterr().err
    assert main(["report", str(root), str(root), "-o", "r.html"]) == 1
    assert "Expected no --out with 2 studies" in capsys.readouterr().err
    with pytest.raises(ValueError, match="to be the folder of a study, with study"):
        write_report(tmp_path)


def test_an_interval_ends_where_accuracies_end(tmp_path: Path) -> None:
    for name, whole in (("test/top1", 1.0), ("truth/accuracy", 100.0)):
        cut = Score(name).possible(Interval(0.9 * whole, 1.1 * whole))
        assert (cut.low, cut.high) == (0.9 * whole, whole)
        assert Score(name).possible(Interval(-1.0, 0.5)).low == 0.0
    assert Score("val/loss", False).possible(Interval(-1.0, 200.0)) == Interval(-1.0, 200.0)
    page = page_of(write_study(tmp_path, score=lambda cell, rng: 1.0 if rng.random() < 0.7 else 0.9))
    ends = [float(high) for high in re.findall(r"\d+\.\d\d to (\d+\.\d\d)", " ".join(page.texts["td"]))]
    assert max(ends) == 100.0


def test_a_damaged_history_is_left_out_and_said(tmp_path: Path) -> None:
    root = write_study(tmp_path / "s", study_cells(VARIANTS, (None,), range(2)))
    broken = root / "trials" / "GDAS" / "seed-0" / "search" / "metrics.csv"
    broken.write_text("epoch,val/loss\n0,1\n1\n", encoding="utf-8")
    page = page_of(root)
    assert "Histories that cannot be read" in page.all
    assert len(StudyData.read(root).series) == 7
    assert len(next(iter(StudyData.read(root).series.values()))["curvature/max"]) == EPOCHS
