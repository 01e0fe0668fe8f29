"""The report of a study whose networks train under several settings, one seed of each group chosen."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from made_studies import VARIANTS, page_of, study_cells, write_study

from robustnas.reports.study import write_report
from robustnas.reports.study.checklist import checklist
from robustnas.reports.study.study_data import StudyData
from robustnas.studies.results import read_results
from robustnas.studies.trial import in_folder

NAMES = [f"lr={lr}, decay={decay}" for lr in ("0.025", "0.1", "0.01") for decay in ("1e-4", "3e-4", "1e-3")]


def change(path: Path, change: Any) -> None:
    held = json.loads(path.read_text(encoding="utf-8"))
    change(held)
    path.write_text(json.dumps(held), encoding="utf-8")


def suite(root: Path, choose: bool = True) -> Path:
    """A study of two tasks; of the seeds of a variant the second is chosen."""
    cells = study_cells(VARIANTS, ("wide", "deep"), range(3))
    write_study(root, cells)
    if choose:
        change(root / "study.json", lambda held: [one.update(choose="val/loss") for one in held["trials"] if not one["baseline"]])  # fmt: skip # noqa: E501
    for cell in cells:
        folder = root / cell.folder
        if choose and not cell.baseline:
            chosen = {"metric": "val/loss", "value": 1.0, "chosen": cell.seed == 1, "seed": 1, "of": 3}
            change(folder / "result.json", lambda held, chosen=chosen: held.update(chosen=chosen))
            if cell.seed != 1:
                shutil.rmtree(folder / "evaluation")
                change(folder / "result.json", lambda held: held.update(score=None, metrics={**held["metrics"], "test": {}}))  # fmt: skip # noqa: E501
                continue
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        values = np.random.default_rng(cell.seed).normal(result["score"]["value"], 0.01, 9)
        for name in NAMES:
            shutil.copytree(folder / "evaluation", folder / "all" / in_folder(name))
        shutil.rmtree(folder / "evaluation")
        (folder / "all").rename(folder / "evaluation")
        best = {"value": float(values.max()), "setting": NAMES[values.argmax()], "of": 9}
        under = {name: {"test/top1": float(value)} for name, value in zip(NAMES, values, strict=True)}
        score = {**result["score"], "value": float(values.mean()), "best": best}
        change(folder / "result.json", lambda held, score=score, under=under: held.update(score=score, settings=under))
    return root


def test_mean_and_best_stand_beside_each_other_with_their_numbers(tmp_path: Path) -> None:
    root = suite(tmp_path / "s")
    page = page_of(root)
    record = next(r for r in read_results(root) if r.variant == "DARTS" and r.space == "wide" and r.score is not None)
    assert record.best is not None
    assert record.score is not None
    assert f"{100 * record.score:.2f}" in page.all
    assert f"{100 * record.best['value']:.2f} (of 9, {record.best['setting']})" in page.all
    random = [r for r in read_results(root) if r.variant == "RandomGenotype" and r.space == "wide"]
    top = max(r.best["value"] for r in random if r.best)
    assert f"{100 * top:.2f} (of 27, " in page.all  # three seeds under nine settings each
    for value in record.under.values():
        assert f"{100 * value:.2f}" in page.all
    assert "seed 1 of 3" in page.all
    assert "not chosen" in page.all
    assert "of 3 seeds the one with the lowest val/loss" in page.all
    assert "so that n = 1 for each method with a search" in page.all
    assert "A score is the mean over the 9 settings" in page.all
    assert "n = 1 of 3" not in page.all  # what is not chosen is not missing
    markdown = (root / "tables.md").read_text(encoding="utf-8")
    assert "best setting" in markdown
    assert "| None |" not in markdown  # a baseline that has no search of its own
    assert "chosen" in markdown
    latex = (root / "tables.tex").read_text(encoding="utf-8")
    assert latex.count("(of 9, lr=") == 2 * len(VARIANTS)


def test_the_checklist_knows_settings_and_searches(tmp_path: Path) -> None:
    root = suite(tmp_path / "s")
    write_report(root)
    held = {item.name: item for item in checklist(StudyData.read(root))}
    assert {
        name: held[name].answer for name in ("A1", "A3", "B1", "B2", "B4", "E4", "F1", "F2", "F3")
    } == dict.fromkeys(("A1", "A3", "B1", "B2", "B4", "E4", "F1", "F2", "F3"), "yes")
    assert held["F2"].why == "under 9 settings, mean and best with n"
    assert held["B7"].answer == "no"  # one score an entry
    (root / "trials" / "DARTS" / "wide" / "seed-1" / "evaluation" / in_folder(NAMES[4]) / "config.yaml").unlink()
    manifest = root / "trials" / "DARTS" / "wide" / "seed-1" / "evaluation" / in_folder(NAMES[5]) / "manifest.json"
    change(manifest, lambda found: found["git"]["robustnas"].update(dirty=True))
    change(manifest, lambda found: found["data"]["roles"]["test"].update(sha256="other"))
    change(manifest, lambda found: found["versions"].update(torch="2.6.0"))
    held = {item.name: item for item in checklist(StudyData.read(root))}
    assert {name: held[name].answer for name in ("A1", "A3", "B1", "B2", "B4")} == dict.fromkeys(
        ("A1", "A3", "B1", "B2", "B4"), "no"
    )


def test_settings_without_a_choice_keep_every_seed(tmp_path: Path) -> None:
    root = suite(tmp_path / "s", choose=False)
    page = page_of(root)
    assert "(of 27, " in page.all
    assert "seeds the one with" not in page.all
    assert "not chosen" not in page.all
    study = StudyData.read(root)
    task = study.tasks[0]
    assert all(study.planned(task, entry) == 3 for entry in study.entries)
    chosen = StudyData.read(suite(tmp_path / "c"))
    assert [chosen.planned(task, entry) for entry in chosen.entries] == [1] * len(VARIANTS) + [3]


def test_an_ordinary_study_says_nothing_of_either(tmp_path: Path) -> None:
    page = page_of(write_study(tmp_path / "s", study_cells(VARIANTS, ("S1",), range(3))))
    for word in ("best setting", "chosen", "mean over the", "not chosen"):
        assert word not in page.all
    assert "best setting" not in (tmp_path / "s" / "tables.md").read_text(encoding="utf-8")
