"""Protects ``robustnas ablate``: a study runs, resumes without repeating work, and refuses what cannot run."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from tables import check_each
from test_running import Inline

from robustnas.__main__ import main
from robustnas.cli import lightning_cli
from robustnas.cli.configuration import configuration, fit
from robustnas.commands import ablate
from robustnas.planning import probe
from robustnas.runs.record import Run
from robustnas.spaces import find_space
from robustnas.studies.results import read_results
from robustnas.studies.searchers.reference import random_architecture

pytestmark = pytest.mark.usefixtures("few_samples", "no_pictures", "known_costs")

TINY = Path(__file__).with_name("tiny.yaml")


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells run one after the other here: a worker would import Lightning anew."""
    monkeypatch.setattr(ablate, "engine_of", lambda options, root: Inline())


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The configuration of each run that is begun to its end."""
    given: list[Any] = []
    run = lightning_cli.main

    def noted(arguments: Any, **options: Any) -> lightning_cli.RobustCLI:
        if not options.get("stop_after") and not options.get("callbacks"):
            given.append(arguments)
        return run(arguments, **options)

    monkeypatch.setattr(lightning_cli, "main", noted)
    return given


def write(folder: Path, **changed: Any) -> str:
    held = yaml.safe_load(TINY.read_text(encoding="utf-8"))
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({**held, **changed}, sort_keys=False), encoding="utf-8")
    return str(path)


def test_a_study_runs_stops_and_goes_on(asked: list[Any], tmp_path: Path, capsys: Any) -> None:
    """Search and evaluation of two trials; then nothing again; then what is left after an interruption."""
    root = tmp_path / "study"
    command = ["ablate", write(tmp_path), "--folder", str(root)]
    assert main([*command, "--only", "DARTS"]) == 0
    assert len(asked) == 2
    assert main(command) == 0
    assert len(asked) == 3
    held = {record.variant: record for record in read_results(root)}
    assert set(held) == {"DARTS", "RandomGenotype"}
    for record in held.values():
        trial = root / record.folder
        test = json.loads((trial / "evaluation" / "test.json").read_text(encoding="utf-8"))
        assert record.held["metrics"]["test"] == {name: test[name] for name in test if name != "parameters"}
        assert record.held["score"] == {"name": "test/top1", "value": test["test/top1"], "higher_is_better": True}
        assert record.held["parameters"] == test["parameters"]
        genotype = Run(trial / "search").genotype().validate(find_space("NASBench201"))
        assert json.loads(genotype.to_json()) == record.held["genotype"]
        assert record.held["seconds"]["evaluation"] > 0
        trained = yaml.safe_load((trial / "evaluation" / "config.yaml").read_text(encoding="utf-8"))
        assert trained["data"]["init_args"]["batch_size"] == 16  # that of the search
        assert (trained["seed_everything"], trained["trainer"]["max_epochs"]) == (0, 1)
        whole = yaml.safe_load((trial / "trial.yaml").read_text(encoding="utf-8"))
        assert configuration(whole["search"]) == whole["search"]  # complete: what it takes nobody must remember
        assert (whole["variant"], whole["seed"]) == (record.variant, 0)
    search = held["DARTS"].held
    rows = list(csv.DictReader((root / held["DARTS"].folder / "search" / "metrics.csv").open(encoding="utf-8")))
    assert search["metrics"]["search"]["val/top1"] == float(rows[-1]["val/top1"])
    assert [epoch["epoch"] for epoch in search["epochs"]] == [0]
    verdict = json.loads((root / held["DARTS"].folder / "search" / "verdict.json").read_text(encoding="utf-8"))
    assert search["verdict"]["state"] == verdict["state"]
    assert (search["attempts"], search["continued"], search["device"]) == (1, False, "cpu")
    said = capsys.readouterr().out
    assert f"Report: {root / 'report.html'}" in said
    assert "DARTS" in (root / "tables.md").read_text(encoding="utf-8")
    assert (root / "tensorboard" / "DARTS" / "seed-0" / "events.out.tfevents.study").is_file()
    assert "2 of 2 trials" in said
    assert f"{held['DARTS'].score:.4f}" in said

    before = {record.folder: (root / record.folder / "result.json").read_bytes() for record in held.values()}
    assert main(command) == 0
    assert len(asked) == 3
    assert all((root / folder / "result.json").read_bytes() == data for folder, data in before.items())

    trial = root / held["DARTS"].folder  # as if killed in the evaluation, after its checkpoint
    (trial / "result.json").unlink()
    progress = json.loads((trial / "progress.json").read_text(encoding="utf-8"))
    del progress["stages"]["evaluation"]
    (trial / "progress.json").write_text(json.dumps(progress), encoding="utf-8")
    assert main(command) == 0
    assert len(asked) == 4
    assert (asked[-1]["ckpt_path"], asked[-1]["run_dir"]) == ("auto", str(trial / "evaluation"))
    again = next(record.held for record in read_results(root) if record.variant == "DARTS")
    assert (again["attempts"], again["continued"]) == (2, True)
    assert again["metrics"] == search["metrics"]

    assert main([*command, "--engine", "cloud"]) == 2
    assert "Expected `--engine` to be one of 'local'" in capsys.readouterr().err
    assert main([*command[:1], write(tmp_path, common={"model.init_args.channels": 8}), *command[2:]]) == 1
    assert "holds a trial of another configuration, and so do 1 more; `--folder`" in capsys.readouterr().err
    assert len(asked) == 4


def test_a_configuration_object_runs_as_its_options_do(tmp_path: Path) -> None:
    """Bit for bit, and it leaves the same ``config.yaml``."""
    options = ["--config=digits_gdas", "--model.lr=0.3", "--trainer.max_epochs=1", "--trainer.limit_train_batches=2"]
    options += ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
    fit(configuration(options), tmp_path / "object", 3)
    lightning_cli.main(["fit", *options, "--seed_everything=3", f"--run-dir={tmp_path / 'options'}"])
    for name in ("alpha/epoch_0000.npz", "genotype.json"):
        assert (tmp_path / "object" / name).read_bytes() == (tmp_path / "options" / name).read_bytes()
    held = [
        yaml.safe_load((tmp_path / name / "config.yaml").read_text(encoding="utf-8")) for name in ("object", "options")
    ]
    assert {**held[0], "run_dir": None} == {**held[1], "run_dir": None}


def test_a_configuration_with_a_list_of_classes_is_plain_and_stays_as_it_is() -> None:
    measures = [{"class_path": "robustnas.diagnostics.AlphaShares"}]
    words = ["-c", "digits_darts", f"--diagnostics.measures={json.dumps(measures)}"]
    held = configuration(words)
    given = json.loads(json.dumps(held))
    assert held["diagnostics"]["measures"][0]["class_path"] == measures[0]["class_path"]
    assert configuration(held) == held == given


def test_a_dry_run_probes_and_leaves_nothing(
    asked: list[Any], tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "SECONDS", 0.0)
    root = tmp_path / "study"
    assert main(["ablate", write(tmp_path, seeds=[0, 1]), "--folder", str(root), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "4 trials, 0 finished" in said
    assert "To run: 4 trials, 1 at a time: about " in said
    assert "GiB a worker" in said
    assert not root.exists()
    assert asked == []


def test_what_cannot_run_is_said_before_anything_runs(
    asked: list[Any], tmp_path_factory: pytest.TempPathFactory, capsys: Any
) -> None:
    rows = [
        ({"common": {"model.init_args.learning": 1}}, "Expected an option of DARTS, but got `learning`"),
        ({"common": {"trainer.epochs": 1}}, "Expected an option.*`(--)?(trainer.)?epochs`"),
        ({"overrides": {"lr": {"x": {"model.init_args.lr": "fast"}}}}, r"`lr` to be float.*'fast' \(in DARTS/lr=x\)"),
        ({"variants": {"X": {"options": {"model": "DARTZ", "data": "Digits"}}}}, "`model` to .*'DARTZ'; did you mean"),
        ({"variants": {"X": {"config": "evaluate_nasbench201"}}, "common": None}, "be a search, but got .*Evaluation"),
        ({"spaces": {"s": {"model.init_args.space": "S9"}}}, "S9.*in DARTS/s"),
        ({"baselines": ["Luck"]}, r"Expected `baselines` to be among RandomGenotype.*, but got 'Luck'"),
        ({"evaluation": {"options": {"trainer.epochs": 1}}}, "Expected an option"),
        ({"evaluation": None, "score": "test/top1"}, "Expected `evaluation`, since `score` is test/top1, but got none"),
    ]  # fmt: skip

    def check(row: tuple[Any, str]) -> None:
        changed, sentence = row
        tmp_path = tmp_path_factory.mktemp("row")
        assert main(["ablate", write(tmp_path, **changed), "--folder", str(tmp_path / "study")]) == 1
        said = capsys.readouterr().err
        assert re.search(sentence, said), said
        assert said.startswith("robustnas: Expected ")
        assert said.count("\n") == 1
        assert asked == []
        assert not (tmp_path / "study").exists()

    check_each(rows, check)


def test_a_cell_without_evaluation_is_scored_by_its_search(tmp_path: Path) -> None:
    root = tmp_path / "study"
    command = ["ablate", write(tmp_path, evaluation=None, score="val/loss", baselines=[]), "--folder", str(root)]
    assert main(command) == 0
    (record,) = read_results(root)
    assert record.held["score"] == {
        "name": "val/loss", "value": record.held["metrics"]["search"]["val/loss"], "higher_is_better": False,
    }  # fmt: skip
    assert record.held["metrics"]["test"] == {}
    assert not (root / record.folder / "evaluation").exists()


def test_every_edge_of_a_random_genotype_is_drawn_uniformly() -> None:
    for name in ("NASBench201", "DARTS", "S1"):
        space = find_space(name)
        found = [random_architecture(name, seed).validate(space) for seed in range(400)]
        assert found[7] == random_architecture(name, 7)
        for kind, cell in space.cells.items():
            last = max(cell.nodes)
            sources = [c.source for one in found for c in one.cells[kind] if c.node == last]
            kept = len(sources) / len(found)
            edges = cell.edges_into(last)
            for _, edge in edges:
                assert abs(sources.count(edge.source) / len(found) - kept / len(edges)) < 0.12
            drawn = [
                c.operation
                for one in found
                for c in one.cells[kind]
                if (c.source, c.node) == (0, 2 if name != "NASBench201" else 1)
            ]
            edge = cell.edges[0]
            allowed = [operation for operation in edge.operations if operation not in cell.never_selected]
            assert set(drawn) == set(allowed)
            for operation in allowed:
                assert abs(drawn.count(operation) / len(drawn) - 1 / len(allowed)) < 0.12


@pytest.mark.slow
def test_a_study_that_is_killed_and_goes_on_finds_the_same(tmp_path: Path) -> None:
    """On real workers: SIGKILL to the command at a moment of its searches, again and again, until it ends."""
    study = write(
        tmp_path, seeds=[0, 1],
        common={"model.init_args.channels": 4, "trainer": {"max_epochs": 6, "accelerator": "cpu"}},
    )  # fmt: skip
    path = os.pathsep.join([str(TINY.parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}

    def start(root: Path) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-m", "robustnas", "ablate", study, "--workers", "1", "--folder", str(root)]
        return subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)

    assert start(tmp_path / "calm").wait() == 0
    for seed, epoch in ((0, 1), (1, 4)):
        running = start(tmp_path / "rough")
        search = tmp_path / "rough" / "trials" / "DARTS" / f"seed-{seed}" / "search"
        while not (search / "alpha" / f"epoch_{epoch:04}.npz").exists():
            assert running.poll() is None
            time.sleep(0.02)
        running.kill()
        running.wait()
    assert start(tmp_path / "rough").wait() == 0
    calm, rough = (read_results(tmp_path / name) for name in ("calm", "rough"))
    assert [record.folder for record in calm] == [record.folder for record in rough]
    assert len(calm) == 4
    for one, other in zip(calm, rough, strict=True):
        for name in ("genotype", "score", "fingerprint", "parameters"):
            assert one.held[name] == other.held[name]
        assert one.held["metrics"]["test"] == other.held["metrics"]["test"]
    assert max(record.held["attempts"] for record in rough) > 1
