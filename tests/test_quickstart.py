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
from robustnas.cli import lightning_cli
from robustnas.cli.configuration import Result
from robustnas.commands import quickstart
from robustnas.commands.quickstart import _resnet_like
from robustnas.data import Digits
from robustnas.networks import ResNet
from robustnas.runs.record import Run, read_genotype
from robustnas.training.checkpointing import LastCheckpoint

pytestmark = pytest.mark.usefixtures("few_samples", "known_costs")

ROOT = Path(__file__).resolve().parents[1]
COMMON = {"config.yaml", "last.ckpt", "manifest.json", "metrics.csv"}
SEARCHED = COMMON | {
    "alpha",
    "curves.png",
    "curves.svg",
    "verdict.json",
    "genotype.json",
    "genotype.png",
    "genotype.svg",
    "genotypes",
}
NAMES = {"search": SEARCHED, "evaluation": COMMON | {"test.json"}, "resnet": COMMON | {"test.json"}}


def measured_in(folder: Path) -> dict[str, float]:
    return json.loads((folder / "test.json").read_text(encoding="utf-8"))


def check_files(root: Path, *more: str) -> None:
    """Three runs, each with its record and maybe more, on the same roles of the same data."""
    assert {path.name for path in root.iterdir()} == set(NAMES)
    for name, wanted in NAMES.items():
        found = {path.name for path in (root / name).iterdir()}
        assert {file for file in found if not file.startswith("events.out.tfevents")} == {*wanted, *more}, name
    data = [Run(root / name).manifest["data"] for name in NAMES]
    assert data[0] == data[1] == data[2]
    assert data[0]["roles"]["test"]["sha256"] == Digits().split.hashes()["test"]


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
    assert len(shrunk) == 3
    check_files(root)
    assert [Run(root / name).manifest["data"]["seed"] for name in NAMES] == [3, 3, 3]
    printed = capsys.readouterr().out
    assert str(Run(root / "search").genotype()) in printed
    for name in ("evaluation", "resnet"):
        measured = measured_in(root / name)
        assert f"{measured['test/top1']:.2%}" in printed
        assert f"{measured['parameters']:,}" in printed
    sizes = [measured_in(root / name)["parameters"] for name in ("evaluation", "resnet")]
    assert 0.8 < sizes[0] / sizes[1] < 1.25
    trained = yaml.safe_load((root / "evaluation" / "config.yaml").read_text(encoding="utf-8"))
    chosen = trained["model"]["init_args"]["architecture"]["init_args"]["genotype"]
    assert read_genotype(chosen) == Run(root / "search").genotype()


def send(moment: str) -> Callback:
    """Ends one run by a signal."""

    def sent(*_: Any) -> None:
        signal.raise_signal(signal.SIGTERM)

    return type("Send", (Callback,), {moment: sent})()


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize(
    ("part", "moment"),
    [pytest.param(0, "on_train_epoch_start", marks=pytest.mark.slow), (1, "on_train_end")],
)
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


@pytest.mark.parametrize("parameters", [500, 20_000, 300_000])
def test_the_resnet_is_the_nearest_in_size(parameters: int, tmp_path: Path) -> None:
    chosen = _resnet_like(Result("found", {}, parameters, 0.0, tmp_path))["init_args"]
    sizes = {}
    for channels in range(2, 40):
        network = ResNet(channels, chosen["blocks"], num_classes=10, image_channels=1)
        sizes[channels] = sum(parameter.numel() for parameter in network.parameters())
    assert abs(sizes[chosen["channels"]] - parameters) == min(abs(size - parameters) for size in sizes.values())


@pytest.mark.slow
def test_in_three_minutes_it_finds_a_network_of_97_per_cent(tmp_path: Path) -> None:
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
    found = measured_in(root / "evaluation")
    assert found["test/top1"] >= 0.97
    assert re.search(rf"found by DARTS.*{found['test/top1']:.2%}", done.stdout)
    epochs = [len((root / name / "metrics.csv").read_text(encoding="utf-8").splitlines()) - 1 for name in NAMES]
    assert epochs == [10, 18, 18]
    assert torch.load(root / "search" / "last.ckpt", weights_only=True)["epoch"] == 10
    assert seconds < 180, f"{seconds:.0f} s"
