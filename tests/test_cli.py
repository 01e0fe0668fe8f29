"""The command ``robustnas``, from its words to the files it leaves."""

from __future__ import annotations

import csv
import functools
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from pytorch_lightning import Callback, Trainer
from words import QUIET, SMALL

import robustnas
from robustnas.__main__ import COMMANDS, main
from robustnas.cli import lightning_cli
from robustnas.data import Digits
from robustnas.runs.record import Run

pytestmark = pytest.mark.usefixtures("few_samples", "no_pictures", "known_costs")

ROOT = Path(__file__).resolve().parents[1]
SEARCH = ["fit", *SMALL, "--diagnostics.budget=null"]
ONCE = ["--trainer.max_epochs=1"]
TINY = ["--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1", *QUIET]


class Kill(Callback):
    """Interrupts a run in its second epoch, as Ctrl-C does."""

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        if trainer.current_epoch == 1 and trainer.global_step % 5 == 2:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search of two epochs that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main([*SEARCH, "--trainer.max_epochs=2", f"--run-dir={folder}"]) == 0
    return folder


@pytest.fixture(scope="module")
def evaluated(whole: Path) -> Path:
    """The folder of its evaluation."""
    tiny = [*TINY, *ONCE, "--data.batch_size=16", "--model.architecture.channels=2"]
    assert main(["evaluate", str(whole), "--recipe=paper", "--model.architecture.cells=1", *tiny]) == 0
    return whole / "evaluation"


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        timed = {"seconds", "diagnostics/share"}
        return [{name: value for name, value in row.items() if name not in timed} for row in csv.DictReader(file)]


def files(folder: Path) -> list[str]:
    """What lies in a folder, with the names of event files shortened."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(re.sub(r"tfevents\..*", "tfevents", name) for name in names)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "last.ckpt", weights_only=True)["state_dict"]


def test_a_search_leaves_exactly_the_documented_files(whole: Path) -> None:
    epochs = [f"epoch_000{epoch}" for epoch in range(2)]
    found = [name for name in files(whole) if not name.startswith("evaluation/")]
    assert found == sorted(
        [
            *(f"alpha/{name}.npz" for name in epochs),
            *(f"genotypes/{name}.json" for name in epochs),
            "config.yaml",
            "curves.png",
            "curves.svg",
            "events.out.tfevents",
            "genotype.json",
            "genotype.png",
            "genotype.svg",
            "last.ckpt",
            "manifest.json",
            "metrics.csv",
            "previous.ckpt",
            "verdict.json",
        ]
    )


def test_the_manifest_says_what_was_run_on_which_samples(whole: Path) -> None:
    manifest = Run(whole).manifest
    roles = manifest["data"]["roles"]
    split = Digits(batch_size=16, fractions=(0.06, 0.04, 0.04)).split
    assert {role: held["sha256"] for role, held in roles.items()} == split.hashes()
    assert manifest["epochs"] == 2
    assert manifest["processes"] == 1
    assert manifest["module"]["class_path"] == "robustnas.variants.darts.DARTS"
    assert manifest["module"]["init_args"]["image_channels"] == 1  # from the data
    assert manifest["versions"]["torch"] == torch.__version__


def test_metrics_have_one_row_for_each_epoch(whole: Path) -> None:
    found = rows(whole)
    assert [(row["epoch"], row["step"]) for row in found] == [("0", "5"), ("1", "10")]
    wanted = {f"{role}/{name}" for role in ("train", "val") for name in ("loss", "top1", "top5")} | {"arch/loss"}
    watched = ("alpha/", "curvature/", "gap/", "generalisation/", "genotype/", "gradient/", "shares/")
    assert {name for name in found[0] if not name.startswith(watched)} == wanted | {"epoch", "step"}
    assert all(any(name.startswith(group) for name in found[0]) for group in watched)
    assert all(0 < float(row["train/loss"]) < 10 for row in found)


def test_the_last_epoch_is_the_final_result(whole: Path) -> None:
    run, (alpha,) = Run(whole), Run(whole).alphas()[1].values()
    assert run.genotype() == run.genotype(1)
    assert alpha.tobytes() == weights(whole)["alphas.cell"].numpy().tobytes()
    assert not np.array_equal(alpha, run.alphas()[0]["cell"])


def test_the_saved_configuration_starts_the_same_run_again(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "again"
    assert main(["fit", "-c", str(whole / "config.yaml"), f"--run-dir={folder}"]) == 0
    assert rows(folder) == rows(whole)
    assert (folder / "genotype.json").read_bytes() == (whole / "genotype.json").read_bytes()


@pytest.mark.slow  # by default `test_interruption` continues searches that a signal has ended
def test_an_interrupted_search_continues_bit_for_bit(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    words = [*SEARCH, "--trainer.max_epochs=2", f"--run-dir={folder}"]
    monkeypatch.setitem(sys.modules, "interruption", sys.modules[__name__])
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as stopped:
        main([*words, "--trainer.callbacks+=interruption.Kill"])
    signal.signal(signal.SIGINT, handler)  # which Lightning switches off
    assert stopped.value.code == 1
    assert [row["epoch"] for row in rows(folder)] == ["0"]
    assert not (folder / "genotype.json").exists()
    assert main([*words, "--ckpt_path=last"]) == 0
    expected, found = weights(whole), weights(folder)
    assert found.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []
    assert rows(folder) == rows(whole)
    for name in ("genotype.json", "alpha/epoch_0001.npz", "genotypes/epoch_0001.json", "genotype.svg"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name


def test_a_second_start_in_the_same_folder_is_refused(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in whole.glob("*.*")}
    assert main([*SEARCH, *ONCE, f"--run-dir={whole}"]) == 1
    assert "Expected `--run-dir` to be a new folder, but" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in whole.glob("*.*")} == before


@pytest.mark.slow
def test_runs_without_a_name_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main([*SEARCH, *ONCE, *TINY]) == 0
    assert sorted(path.name for path in Path("runs").iterdir()) == ["darts-digits-001", "darts-digits-002"]


def test_validate_measures_a_checkpoint_as_training_did(whole: Path) -> None:
    before = files(whole), (whole / "config.yaml").read_bytes(), (whole / "metrics.csv").read_bytes()
    config = ["-c", str(whole / "config.yaml")]
    run = lightning_cli.main(["validate", *config, f"--ckpt_path={whole / 'last.ckpt'}", "--trainer.logger=false"])
    for name in ("loss", "top1"):
        assert float(run.trainer.callback_metrics[f"val/{name}"]) == float(rows(whole)[-1][f"val/{name}"])
    assert (files(whole), (whole / "config.yaml").read_bytes(), (whole / "metrics.csv").read_bytes()) == before


def test_test_measures_a_checkpoint_and_a_search_never_sees_the_test_set(
    whole: Path, evaluated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = json.loads((evaluated / "test.json").read_text(encoding="utf-8"))
    (evaluated / "test.json").unlink()
    config = ["-c", str(evaluated / "config.yaml")]
    assert main(["test", *config, f"--run-dir={evaluated}", "--ckpt_path=last", "--trainer.logger=false"]) == 0
    assert json.loads((evaluated / "test.json").read_text(encoding="utf-8")) == expected
    capsys.readouterr()
    assert main(["test", "-c", str(whole / "config.yaml"), "--ckpt_path=last"]) == 1
    assert capsys.readouterr().err.startswith("robustnas: Expected `model` to be an evaluation, since a search never")


def test_evaluate_trains_and_tests_what_a_run_found(whole: Path, tmp_path: Path, capsys: Any) -> None:
    folder = tmp_path / "evaluation"
    tiny = [*TINY, *ONCE, "--data.batch_size=16", "--model.architecture.channels=2"]
    assert (
        main(["evaluate", str(whole), f"--run-dir={folder}", "--recipe=paper", "--model.architecture.cells=1", *tiny])
        == 0
    )
    measured = json.loads((folder / "test.json").read_text(encoding="utf-8"))
    assert set(measured) == {"parameters", "test/loss", "test/top1", "test/top5"}
    printed = capsys.readouterr().out
    assert f"{measured['test/top1']:.2%}" in printed
    assert f"{measured['parameters']:,}" in printed
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    searched = yaml.safe_load((whole / "config.yaml").read_text(encoding="utf-8"))
    differing = {
        name for name, value in config["data"]["init_args"].items() if value != searched["data"]["init_args"][name]
    }
    assert differing == set()
    assert config["model"]["init_args"]["lr"] == 0.1  # the recipe of NAS-Bench-201
    assert Run(folder).manifest["data"]["roles"] == Run(whole).manifest["data"]["roles"]


def test_draw_writes_every_form(whole: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    beginnings = {"svg": b"<?xml", "png": b"\x89PNG\r\n\x1a\n", "dot": b"digraph"}
    paths = [tmp_path / f"cells.{ending}" for ending in beginnings]
    assert main(["draw", str(whole), *(word for path in paths for word in ("--out", str(path)))]) == 0
    assert capsys.readouterr().out.split() == [str(path) for path in paths]
    for path, beginning in zip(paths, beginnings.values(), strict=True):
        assert path.read_bytes().startswith(beginning)
    monkeypatch.chdir(tmp_path)
    assert main(["draw", str(whole / "genotypes" / "epoch_0000.json")]) == 0
    assert (tmp_path / "genotype.svg").is_file()


def python(code: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", code]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)


def test_help_comes_at_once_without_torch_or_lightning() -> None:
    code = (
        "import sys; from robustnas.__main__ import main; main(['--help']);"
        "main(['fitt']); main(['--version']); print(sorted({'torch', 'pytorch_lightning', 'lightning_fabric', 'numpy'} "
        "& set(sys.modules)))"
    )
    done = python(code)
    assert done.stdout.splitlines()[-1] == "[]"
    for name in COMMANDS:
        assert f"\n  {name} " in done.stdout


def test_the_module_runs_as_a_program() -> None:
    words = [sys.executable, "-m", "robustnas"]
    done = subprocess.run([*words, "--version"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == f"{robustnas.__version__}\n"
    wrong = subprocess.run([*words, "serach"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "Traceback" not in wrong.stderr
    assert "but got 'serach'" in wrong.stderr


@pytest.fixture
def never_fitted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """All of the command but the training itself."""
    monkeypatch.setattr(Trainer, "fit", functools.wraps(Trainer.fit)(lambda *_, **__: None))
    return tmp_path / "run"


def test_the_seed_reaches_model_and_data(never_fitted: Path) -> None:
    runs = [
        lightning_cli.main([*SEARCH, *ONCE, f"--seed_everything={seed}", f"--run-dir={never_fitted}"])
        for seed in (5, 5, 6)
    ]
    assert [(run.model.seed, run.datamodule.seed) for run in runs] == [(5, 5), (5, 5), (6, 6)]
    first, same, other = (run.model.alphas["cell"] for run in runs)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert runs[0].datamodule.split_seed == runs[2].datamodule.split_seed == 0


def test_outputs_channels_and_task_come_from_the_data(never_fitted: Path) -> None:
    run = lightning_cli.main([*SEARCH, *ONCE, f"--run-dir={never_fitted}"])
    assert run.model.supernet.body.classifier.out_features == 10
    assert run.model.description["init_args"]["image_channels"] == 1
    assert run.model.task == "classification"


STRATEGIES = {
    "a search on two": (["--trainer.devices=2"], "FlatStrategy"),
    "a search on two machines": (["--trainer.num_nodes=2"], "FlatStrategy"),
    "a search on one": (["--trainer.devices=1"], "SingleDeviceStrategy"),
    "as asked for": (["--trainer.devices=2", "--trainer.strategy=ddp"], "DDPStrategy"),
}


@pytest.mark.parametrize("case", STRATEGIES)
def test_a_search_on_several_devices_averages_its_gradients_itself(never_fitted: Path, case: str) -> None:
    words, expected = STRATEGIES[case]
    run = lightning_cli.main([*SEARCH, *ONCE, *words, f"--run-dir={never_fitted}"])
    assert type(run.trainer.strategy).__name__ == expected


def test_an_evaluation_on_several_devices_uses_the_stock_strategy(never_fitted: Path) -> None:
    words = ["fit", "--model=EvaluationModule", "--model.architecture=ResNet", "--data=Digits", *QUIET]
    run = lightning_cli.main([*words, *ONCE, "--trainer.devices=2", f"--run-dir={never_fitted}"])
    assert type(run.trainer.strategy).__name__ == "DDPStrategy"
