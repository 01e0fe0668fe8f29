"""What loggers get of a search on the command line, read back from what each has written, and how they go on."""

from __future__ import annotations

import csv
import json
import struct
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from robustnas.__main__ import main
from robustnas.cli import lightning_cli
from robustnas.training.lightning import loggers
from robustnas.training.lightning.displays import Display, display_of

MISSING = [name for name in ("wandb", "mlflow") if find_spec(name) is None]
needs_packages = pytest.mark.skipif(bool(MISSING), reason=f'no {MISSING}: pip install -e ".[loggers]"')
pytestmark = pytest.mark.usefixtures("few_samples")

SEARCH = [
    "fit", "--model=DARTS", "--model.space=NASBench201", "--model.cells=1", "--model.channels=2", "--data=Digits",
    "--data.batch_size=16", "--data.fractions=[0.04, 0.02, 0.02]", "--trainer.enable_progress_bar=false",
    "--trainer.accelerator=cpu", "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1",
]  # fmt: skip
ALL = {
    "trainer": {
        "logger": [
            "CSVLogger",
            "TensorBoardLogger",
            {"class_path": "WandbLogger", "init_args": {"offline": True, "tags": ["small"]}},
            "MLFlowLogger",
        ]
    },
    "diagnostics": {"measures": ["AlphaShares", "LoggerView"], "budget": None},
}
ARTEFACTS = {"config.yaml", "genotype.json", "genotype.svg", "genotype.png", "curves.svg", "verdict.json"}
VARIABLES = ("WANDB_MODE", "WANDB_PROJECT", "WANDB_NAME", "WANDB_RUN_ID", "MLFLOW_TRACKING_URI", "WANDB_API_KEY")


@pytest.fixture(scope="module", autouse=True)
def clean() -> Iterator[pytest.MonkeyPatch]:
    """No setting of this machine, and no message of W&B."""
    with pytest.MonkeyPatch.context() as patch:
        for name in VARIABLES:
            patch.setenv(name, "")  # so that what a logger sets is taken back
            patch.delenv(name)
        patch.setenv("WANDB_SILENT", "true")
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        yield patch


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of two epochs with all loggers, which is resumed after the first."""
    folder = tmp_path_factory.mktemp("of loggers") / "small run"  # with a space, as some folders have
    (folder.parent / "all.yaml").write_text(yaml.safe_dump(ALL), encoding="utf-8")
    options = [*SEARCH, f"-c={folder.parent / 'all.yaml'}", f"--run-dir={folder}"]
    assert main([*options, "--trainer.max_epochs=1"]) == 0
    assert main([*options, "--trainer.max_epochs=2", "--ckpt_path=last"]) == 0
    import wandb

    wandb.finish()
    for _ in range(600):  # its service writes what is left by itself
        if any(record.WhichOneof("record_type") == "exit" for record in wandb_records(offline_runs(folder)[-1])):
            break
        time.sleep(0.1)
    return folder


def offline_runs(folder: Path) -> list[Path]:
    return sorted((folder / "wandb").glob("offline-run-*"))


def wandb_records(folder: Path) -> Iterator[Any]:
    """The records of the file of a run offline: a log of LevelDB in blocks of 32 KiB after a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = folder.glob("*.wandb")
    data, place, whole = file.read_bytes(), 7, b""
    while place + 7 <= len(data):
        if (left := 2**15 - place % 2**15) < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        place += 7 + length
        if place > len(data):  # it is being written
            return
        whole += data[place - length : place]
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(whole)
            whole = b""


def items(records: list[Any], kind: str) -> dict[str, Any]:
    """The last values of the records of a kind by the names of nested keys."""
    found = {}
    for record in records:
        if record.WhichOneof("record_type") == kind:
            part = getattr(record, kind)
            for item in part.item if kind == "history" else part.update:
                found["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
    return found


def mlflow_run(folder: Path) -> tuple[Any, Any]:
    """The client of the store in a run's folder, and the only run there."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient((folder / "mlflow").as_uri())
    experiment = client.get_experiment_by_name("robustnas")
    (found,) = client.search_runs([experiment.experiment_id])
    return client, found


@needs_packages
def test_wandb_has_numbers_pictures_verdict_and_files(run: Path) -> None:
    records = list(wandb_records(offline_runs(run)[-1]))
    (started,) = (record.run for record in records if record.WhichOneof("record_type") == "run")
    assert (started.display_name, started.project, list(started.tags)) == ("small run", "robustnas", ["small"])
    history, config = items(records, "history"), items(records, "config")
    assert history["trainer/global_step"] == 3
    assert 0.99 < history["alpha/entropy"] <= 1
    verdict = json.loads((run / "verdict.json").read_text(encoding="utf-8"))
    assert items(records, "summary")["verdict"].startswith(verdict["state"])
    assert (config["Method"], config["channels"]) == ("DARTS", 2)
    assert config["model"]["init_args"]["cells"] == 1
    files = offline_runs(run)[-1] / "files"
    for name in ("heatmap/cell", "genotype", "curves"):
        assert list((files / "media" / "images").glob(f"{name}_*.png")), name
    assert history["shares/cell/_type"] == "histogram"
    (text,) = files.rglob("*.html")
    assert "**Take** " in text.read_text(encoding="utf-8")
    assert (files / "robustnas" / "genotype.json").read_bytes() == (run / "genotype.json").read_bytes()
    sent = {Path(one.path).name for record in records for one in record.files.files}
    assert sent >= ARTEFACTS
    assert not [path for path in files.rglob("*") if path.is_symlink()]


@needs_packages
def test_mlflow_has_numbers_pictures_verdict_and_files(run: Path) -> None:
    client, found = mlflow_run(run)
    identity = found.info.run_id
    assert found.data.tags["mlflow.runName"] == "small run"
    assert "**Take** " in found.data.tags["mlflow.note.content"]
    assert found.data.tags["verdict"]
    assert (found.data.params["Method"], found.data.params["space"]) == ("DARTS", "NASBench201")
    assert [one.step for one in client.get_metric_history(identity, "alpha/entropy")] == [1, 3]
    assert {one.path for one in client.list_artifacts(identity)} >= {*ARTEFACTS, "verdict.md"}
    pictures = [Path(one.path).name for one in client.list_artifacts(identity, "images")]
    assert all(any(name.startswith(start) for name in pictures) for start in ("heatmap", "genotype", "curves"))
    held = client.download_artifacts(identity, "genotype.json")
    assert Path(held).read_bytes() == (run / "genotype.json").read_bytes()


@needs_packages
def test_a_resumed_search_goes_on_in_the_same_runs(run: Path) -> None:
    known = json.loads((run / "loggers.json").read_text(encoding="utf-8"))
    assert known["mlflow"]["robustnas"] == mlflow_run(run)[1].info.run_id
    assert len(offline_runs(run)) == 2  # a folder for each start, of one run
    assert {path.name.rpartition("-")[2] for path in offline_runs(run)} == {known["wandb"]["robustnas"]}


@needs_packages
def test_a_table_has_every_step_once(run: Path) -> None:
    with (run / "csv" / "metrics.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows if row["alpha/entropy"]] == ["1", "3"]
    assert [row["step"] for row in rows if row["val/loss"]] == ["1", "3"]


def test_a_table_forgets_what_an_interrupted_run_logged(tmp_path: Path) -> None:
    first = loggers.CSVLogger(tmp_path)
    for step in range(4):
        first.log_metrics({"loss": step}, step)
    first.save()
    second = loggers.CSVLogger(tmp_path)
    assert second.go_on(2)
    second.log_metrics({"loss": 20, "other": 1}, 2)
    second.log_metrics({"loss": 21}, 2)  # logged at this step already
    second.save()
    with (tmp_path / "csv" / "metrics.csv").open(encoding="utf-8") as file:
        assert [(row["step"], row["loss"], row["other"]) for row in csv.DictReader(file)] == [
            ("0", "0", ""), ("1", "1", ""), ("2", "20", "1"),
        ]  # fmt: skip


@pytest.mark.parametrize("name", ["CSVLogger", "MLFlowLogger", "TensorBoardLogger", "WandbLogger"])
def test_a_name_means_the_logger_that_knows_the_folder(name: str) -> None:
    parsed = lightning_cli.main([*SEARCH, f"--trainer.logger={name}"], stop_after="parsing")
    assert parsed.config.fit.trainer.logger.class_path == f"robustnas.training.lightning.loggers.{name}"
    assert parsed.config.fit.trainer.logger.init_args.save_dir is None


@pytest.mark.parametrize(("name", "package"), [("WandbLogger", "wandb"), ("MLFlowLogger", "mlflow")])
def test_a_missing_package_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], clean: pytest.MonkeyPatch, name: str, package: str
) -> None:
    with clean.context() as patch:
        patch.setattr(loggers, "find_spec", lambda asked: None)
        assert main([*SEARCH, f"--run-dir={tmp_path / 'run'}", f"--trainer.logger={name}"]) != 0
    said = capsys.readouterr().err.strip()
    assert said == (
        f"robustnas: Expected the package of {name} to be installed, but there is no {package}; "
        '`pip install "robustnas[loggers]"` installs it.'
    )


@needs_packages
def test_wandb_without_an_account_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main([*SEARCH, f"--run-dir={tmp_path / 'run'}", "--trainer.logger=WandbLogger", "--trainer.max_epochs=1"]) != 0
    )
    said = capsys.readouterr().err.strip()
    assert "Expected Weights & Biases to start a run, but it reports: No API key configured." in said
    assert said.endswith("`--trainer.logger.offline=true` keeps the run in its folder.")


@needs_packages
def test_arguments_that_a_parser_leaves_out_keep_what_lightning_asks_for(tmp_path: Path) -> None:
    made = loggers.WandbLogger(save_dir=tmp_path / "run", resume=None, mode=None, offline=True)
    assert {name: made._wandb_init[name] for name in ("resume", "mode", "name", "project")} == {
        "resume": "allow", "mode": "offline", "name": "run", "project": "robustnas",
    }  # fmt: skip


def test_identities_that_are_no_object_are_refused(tmp_path: Path) -> None:
    (tmp_path / "loggers.json").write_text('{"mlflow": ["a"]}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"Expected .*loggers\.json to hold an object of ids for each server, but got"):
        loggers._identity(tmp_path, "mlflow", "robustnas")


def test_an_own_logger_gets_pictures_by_registering() -> None:
    class Own:
        pass

    class OwnDisplay(Display):
        pictures = True

    assert not display_of(Own()).pictures
    display_of.register(Own, OwnDisplay)
    assert display_of(Own()).pictures
