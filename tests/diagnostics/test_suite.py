"""All diagnostics together, as a search on the command line has them."""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
from itertools import permutations
from pathlib import Path

import pytest
import yaml
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from pytorch_lightning.loggers.logger import DummyLogger
from robustnas.diagnostics import AlphaShares, Curvature, Diagnostics, GenotypeChurn
from runs import fit, rows, search, trainer

from robustnas.__main__ import main
from robustnas.runs.record import Run
from robustnas.training.recorder import run_folder

pytestmark = pytest.mark.usefixtures("few_samples", "no_pictures", "known_costs")

QUIET = ["--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu", "--trainer.max_epochs=1"]
DATA = ["--data=Digits", "--data.batch_size=16", "--data.fractions=[0.04, 0.02, 0.02]"]
SEARCH = ["fit", "--model=DARTS", "--model.space=NASBench201", "--model.cells=1", "--model.channels=2", *DATA, *QUIET]


def metrics(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_search_ends_with_its_price_and_its_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SEARCH, f"--run-dir={tmp_path}", "--diagnostics.budget=null"]) == 0
    said = capsys.readouterr().out.splitlines()
    verdict = json.loads((tmp_path / "verdict.json").read_text(encoding="utf-8"))
    assert any(line.startswith(verdict["state"]) for line in said)
    (price,) = (line for line in said if "Diagnostics" in line)
    assert price.startswith("Diagnostics took ")
    assert not any("Curvature" in line for line in said)  # the price of each only where it is asked for
    (row,) = metrics(tmp_path)
    assert {"alpha/entropy", "curvature/max", "gap/loss", "genotype/skips_cell", "diagnostics/share"} <= row.keys()
    assert (tmp_path / "curves.png").is_file()


def test_the_price_of_each_diagnostic_is_listed_on_demand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SEARCH, f"--run-dir={tmp_path}", "--diagnostics.budget=0", "--diagnostics.verbose=true"]) == 0
    said = capsys.readouterr().out.splitlines()
    start = next(place for place, line in enumerate(said) if line.startswith("Diagnostics took "))
    table = list(itertools.takewhile(lambda line: line.startswith("  "), said[start + 1 :]))
    assert any("Curvature" in line and "measured once" in line for line in table)
    assert max(map(len, table)) <= 80


def test_no_measures_say_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SEARCH, f"--run-dir={tmp_path}", "--diagnostics.measures=[]"]) == 0
    assert "Diagnostics" not in capsys.readouterr().out
    assert not (tmp_path / "verdict.json").exists()
    assert not (tmp_path / "curves.png").exists()
    assert not [name for name in metrics(tmp_path)[0] if name.startswith(("alpha/", "diagnostics/", "gap/"))]


def test_a_wrong_budget_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SEARCH, f"--run-dir={tmp_path}", "--diagnostics.budget=7"]) == 1
    said = capsys.readouterr().err
    assert "Expected `budget` to be between 0 and 1 or null, but got 7" in said
    assert "Traceback" not in said


def test_help_names_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(SystemExit):
        main(["fit", "--help"])
    said = capsys.readouterr().out
    assert "--diagnostics.measures" in said
    assert "--diagnostics.budget" in said


def test_an_evaluation_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = {"class_path": "robustnas.training.ResNet", "init_args": {"channels": 2, "blocks": 1}}
    model = ["--model=EvaluationModule", f"--model.architecture={json.dumps(network)}"]
    assert main(["fit", *model, *DATA, *QUIET, f"--run-dir={tmp_path}"]) == 0
    assert "Diagnostics" not in capsys.readouterr().out
    assert not (tmp_path / "verdict.json").exists()
    assert not (tmp_path / "curves.png").exists()
    assert not [name for name in metrics(tmp_path)[0] if name.startswith("diagnostics")]


@pytest.mark.parametrize("logger", ["true", "false", pytest.param("CSVLogger", marks=pytest.mark.slow)])
def test_a_diagnostic_of_the_trainer_is_in_the_row_of_its_epoch(tmp_path: Path, logger: str) -> None:
    config, run = tmp_path / "own.yaml", tmp_path / "run"
    own = {"class_path": "robustnas.diagnostics.DiscretisationGap", "init_args": {"batches": 1, "budget": None}}
    where = {"class_path": "CSVLogger", "init_args": {"save_dir": str(run), "name": "csv"}}
    trainer = {"callbacks": [own], "logger": where if logger == "CSVLogger" else logger == "true"}
    config.write_text(yaml.safe_dump({"trainer": trainer}), encoding="utf-8")
    options = ["-c", str(config), *SEARCH[1:], "--trainer.max_epochs=2", "--diagnostics.budget=0"]
    assert main(["fit", *options, f"--run-dir={run}"]) == 0
    found = metrics(run)
    assert [row["epoch"] for row in found] == ["0", "1"]
    assert all(row["gap/loss"] and row["alpha/entropy"] for row in found)
    assert found[0]["curvature/max"]
    assert not found[0]["gradient/match"]  # nothing may be spent before the last epoch
    assert found[1]["gradient/match"]
    assert (run / "curves.png").is_file()
    assert bool(list(run.glob("events*"))) == (logger == "true")


def test_what_the_trainer_measures_itself_is_not_measured_twice(tmp_path: Path) -> None:
    watching, own = Diagnostics([AlphaShares(), GenotypeChurn()], budget=None), AlphaShares()
    running = fit(tmp_path, search(), max_epochs=1, callbacks=[own, watching])
    assert [measure.name for measure in watching.measures] == ["GenotypeChurn"]
    assert {"alpha/entropy", "genotype/skips_cell"} <= rows(running)[0].keys()
    assert len(own.budget.costs["AlphaShares"]) == 1


def test_a_table_that_would_overwrite_the_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Expected `logger` to write into a folder of its own, but CSVLogger"):
        fit(tmp_path, search(), max_epochs=1, logger=CSVLogger(tmp_path, "", ""))


@pytest.mark.parametrize("order", list(permutations(("csv", "board", "other"))), ids="-".join)
def test_the_order_of_loggers_does_not_move_the_folder_of_the_run(tmp_path: Path, order: tuple[str, ...]) -> None:
    class Elsewhere(DummyLogger):
        save_dir = str(tmp_path / "elsewhere")

    known = {"csv": CSVLogger(tmp_path, "csv"), "board": TensorBoardLogger(tmp_path, "run", ""), "other": Elsewhere()}
    assert run_folder(trainer(tmp_path, logger=[known[name] for name in order])) == tmp_path / "run"
    assert run_folder(trainer(tmp_path, logger=[known[name] for name in order if name != "board"])) == tmp_path


def test_the_manifest_says_what_was_measured_on_what(tmp_path: Path) -> None:
    fit(tmp_path, max_epochs=1, limit_train_batches=1, callbacks=[Diagnostics([Curvature(samples=4)], budget=0.5)])
    (watched,) = Run(tmp_path).manifest["watched"]
    assert watched["budget"] == 0.5
    (measure,) = watched["measures"]
    assert (measure["measure"], measure["samples"], measure["tolerance"]) == ("Curvature", 4, 0.05)
    assert "without its weight decay" in measure["on"]
    alone = fit(tmp_path / "alone", max_epochs=1, limit_train_batches=1, callbacks=[GenotypeChurn(interval=3)])
    assert Run(tmp_path / "alone").manifest["watched"] == [
        {"measure": "GenotypeChurn", "on": "what the search has computed", "interval": 3}
    ]
    assert alone.global_step == 1
