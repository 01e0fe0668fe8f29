"""The command that a newcomer runs first."""

from __future__ import annotations

import json
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pytorch_lightning import Callback

from robustnas.__main__ import main
from robustnas.analysis.registry import METRICS
from robustnas.cli import lightning_cli
from robustnas.commands import quickstart
from robustnas.data import ClutteredDigits
from robustnas.runs.record import Run, read_genotype
from robustnas.spaces import find_space
from robustnas.tabular import Table
from robustnas.training.checkpointing import LastCheckpoint

pytestmark = pytest.mark.usefixtures("few_samples", "known_costs")

ROOT = Path(__file__).resolve().parents[1]
COMMON = {"config.yaml", "last.ckpt", "manifest.json", "metrics.csv"}
SEARCHED = COMMON | {
    "alpha",
    "curves.png",
    "curves.svg",
    "evaluation",
    "verdict.json",
    "genotype.json",
    "genotype.png",
    "genotype.svg",
    "genotypes",
    "truth.json",
}
SEARCHES = [method.folder for method in quickstart.METHODS]
RUNS = dict.fromkeys(SEARCHES, SEARCHED) | {f"{name}/evaluation": COMMON | {"test.json"} for name in SEARCHES}


def check_files(root: Path, *more: str) -> None:
    """Two searches and the evaluation of each, with their records and maybe more, on the same data roles."""
    assert {path.name for path in root.iterdir()} == {*SEARCHES, "report.html", "curves.png"}
    for name, wanted in RUNS.items():
        found = {path.name for path in (root / name).iterdir()}
        assert {file for file in found if not file.startswith("events.out.tfevents")} == {*wanted, *more}, name
    data = [Run(root / name).manifest["data"] for name in RUNS]
    assert all(one == data[0] for one in data)
    assert data[0]["roles"]["test"]["sha256"] == ClutteredDigits().split.hashes()["test"]


@pytest.fixture
def shrunk(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The command line of each run, which takes one batch."""
    asked: list[list[str]] = []
    run = lightning_cli.main

    def short(words: list[str], **more: Any) -> lightning_cli.RobustCLI:
        assert torch.get_num_threads() == 1
        asked.append(words)
        limits = [f"--trainer.limit_{stage}_batches=1" for stage in ("train", "val", "test")]
        return run([*words, "--trainer.max_epochs=1", *limits, "--trainer.enable_progress_bar=false"], **more)

    monkeypatch.setattr(lightning_cli, "main", short)
    return asked


def test_it_searches_evaluates_and_compares(shrunk: list[list[str]], tmp_path: Path, capsys: Any) -> None:
    root, threads = tmp_path / "quick", torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert main(["quickstart", f"--run-dir={root}", "--seed=3"]) == 0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert len(shrunk) == 4
    check_files(root)
    assert [Run(root / name).manifest["data"]["seed"] for name in RUNS] == [3] * 4
    printed = capsys.readouterr().out
    for name in SEARCHES:
        genotype = Run(root / name).genotype()
        assert str(genotype) in printed
        measured = json.loads((root / name / "evaluation" / "test.json").read_text(encoding="utf-8"))
        assert METRICS["test/top1"].show(measured["test/top1"]) in printed
        assert f"{genotype.count('skip_connect')['cell']} of 6" in printed
        trained = yaml.safe_load((root / name / "evaluation" / "config.yaml").read_text(encoding="utf-8"))
        assert read_genotype(trained["model"]["init_args"]["architecture"]["init_args"]["genotype"]) == genotype
    methods = [Run(root / name).manifest["module"] for name in SEARCHES]
    assert [one["class_path"].rpartition(".")[2] for one in methods] == ["DARTS", "SmoothDARTS"]
    settings = [{k: v for k, v in one["init_args"].items() if k != "perturbation"} for one in methods]
    assert settings[0] == settings[1]  # the searches differ in the method alone
    assert all(name in (root / "report.html").read_text(encoding="utf-8") for name in SEARCHES)


def send(moment: str) -> Callback:
    """Ends one run by a signal."""

    def sent(*_: Any) -> None:
        signal.raise_signal(signal.SIGTERM)

    return type("Send", (Callback,), {moment: sent})()


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.slow
@pytest.mark.parametrize(("part", "moment"), [(0, "on_train_epoch_start"), (1, "on_train_end")])
def test_the_command_that_an_interruption_prints_goes_on(
    part: int, moment: str, shrunk: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "quickstart-001").mkdir(parents=True)  # the next run has the next number
    fit = LastCheckpoint.on_fit_start

    def asked(self: Any, trainer: Any, *rest: Any) -> None:
        if len(shrunk) == part + 1:
            trainer.callbacks.append(send(moment))
        fit(self, trainer, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(LastCheckpoint, "on_fit_start", asked)
        with pytest.raises(SystemExit) as ended:
            main(["quickstart", "--seed=3"])
    assert ended.value.code == 128 + signal.SIGTERM
    (command,) = re.findall(r"`(robustnas .*)` goes on\.", capfd.readouterr().err)
    assert command == "robustnas quickstart --run-dir runs/quickstart-002 --seed 3"
    assert main(shlex.split(command)[1:]) == 0
    for before in Path("runs").rglob("previous.ckpt"):
        before.unlink()
    check_files(Path("runs", "quickstart-002"))


def test_the_folder_of_another_run_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()
    with pytest.raises(ValueError, match="Expected `--run-dir` to be new or the folder of a quickstart, but "):
        quickstart.main(["quickstart", f"--run-dir={tmp_path}"])
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_a_run_on_other_data_in_the_place_of_a_search_is_refused(tmp_path: Path) -> None:
    Run(tmp_path / "darts").write_manifest({"data": {"source": "Digits()"}})
    with pytest.raises(ValueError, match=r"but .* holds another run"):
        quickstart.main(["quickstart", f"--run-dir={tmp_path}"])


@pytest.mark.slow
def test_both_searches_are_measured_at_every_epoch_and_judged_within_three_minutes(tmp_path: Path) -> None:
    root = tmp_path / "quick"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = [sys.executable, "-m", "robustnas", "quickstart", "--run-dir", str(root)]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(words, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = spent.ru_utime + spent.ru_stime - before.ru_utime - before.ru_stime  # whatever else the machine does
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    check_files(root, "previous.ckpt")  # after a second epoch
    table = Table.read_cached("digits").within(find_space("NASBench201SkipConv"))
    for name in SEARCHES:  # which cells are found differs between processors: the searches are chaotic
        genotype = Run(root / name).genotype()
        truth = json.loads((root / name / "truth.json").read_text(encoding="utf-8"))
        assert truth["accuracy"] == table.accuracy(genotype, table.usual_column)
        state = json.loads((root / name / "verdict.json").read_text(encoding="utf-8"))["state"]
        assert state == "collapsed" or genotype.count("skip_connect")["cell"] < 5
        assert f"{truth['rank']} of 64" in done.stdout
        rows = (root / name / "metrics.csv").read_text(encoding="utf-8").splitlines()
        for measure in ("curvature/max", "gap/accuracy", "alpha/entropy", "shares/skip_connect", "truth/accuracy"):
            column = rows[0].split(",").index(measure)
            assert all(row.split(",")[column] for row in rows[1:]), measure  # at every epoch
        tested = json.loads((root / name / "evaluation" / "test.json").read_text(encoding="utf-8"))
        assert tested["test/top1"] > 0.4
    assert seconds < 180, f"{seconds:.0f} s"
