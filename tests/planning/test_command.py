"""``--recipe``, ``--budget`` and ``--dry-run`` on the command line, with real steps of the smallest networks."""

from __future__ import annotations

import csv
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from made import write_folders
from words import QUIET, SMALL

from robustnas.__main__ import main
from robustnas.planning import command, probe

pytestmark = pytest.mark.usefixtures("few_samples", "no_pictures", "known_costs")

TINY = [*QUIET, *(f"--trainer.limit_{part}_batches=1" for part in ("train", "val", "test")), "--trainer.max_epochs=2"]
NETWORK = ["--model.architecture.channels=2", "--model.architecture.cells=1"]


@pytest.fixture(scope="module", autouse=True)
def short_probes() -> Any:
    """Probes of one epoch, in a module that is not about their accuracy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe, "SECONDS", 0.0)
        yield


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search on own images, in a size that was chosen."""
    root = tmp_path_factory.mktemp("own")
    images = write_folders(root / "images")
    words = ["-c", "my_images", f"--data.root={images}", "--data.image_size=8", "--model.space=NASBench201"]
    small = ["--model.channels=2", "--model.cells=1", "--model.layers=null", "--diagnostics.measures=[]"]
    assert main(["fit", *words, *small, *TINY, "--recipe", "auto", "--budget=5m", f"--run-dir={root / 'run'}"]) == 0
    return root / "run"


def tree(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def config(folder: Path) -> Any:
    return yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))


def test_a_search_has_what_was_chosen_and_what_is_given(search: Path) -> None:
    held = config(search)
    assert held["data"]["init_args"]["batch_size"] == 8  # chosen: 17 images a role
    assert held["model"]["init_args"]["arch_lr"] == 0.05  # chosen: two steps of α
    assert held["model"]["init_args"]["channels"] == 2
    assert held["trainer"]["max_epochs"] == 2
    assert len(rows(search)) == 2


def test_an_evaluation_is_planned_trained_and_continued(search: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(search.parent)
    words = ["evaluate", str(search), *NETWORK, *TINY, "--budget=5m"]
    assert main([*words, "--dry-run"]) == 0
    planned = " ".join(capsys.readouterr().out.split())
    assert tree(search.parent) == before
    for said in ("Plan of the evaluation in NASBench201: 38 images of 8 pixels, 2 classes", "given",
        "Estimated from the first steps on this CPU", "2 epochs of 1 step, 2 in all", "of 5 min, ",
        f"{search}/evaluation: config.yaml", "test.json", "--data.init_args.batch_size=8"):  # fmt: skip
        assert said in planned, planned
    assert main(words) == 0
    assert "Plan of the evaluation" in capsys.readouterr().out
    assert config(search / "evaluation")["data"]["init_args"]["batch_size"] == 8
    assert main([*words, "--ckpt_path=auto"]) == 0
    continued = capsys.readouterr().out
    assert "Continues with the sizes of" in continued
    assert "Plan of" not in continued
    assert main(words) == 1
    assert "to be a new folder" in capsys.readouterr().err


def test_a_probe_leaves_no_trace_in_the_run(search: Path, tmp_path: Path) -> None:
    words = ["evaluate", str(search), *NETWORK, *TINY, "--data.batch_size=8", "--model.lr=0.1"]
    for recipe in command.RECIPES:
        assert main([*words, f"--recipe={recipe}", f"--run-dir={tmp_path / recipe}"]) == 0
    assert rows(tmp_path / "auto") == rows(tmp_path / "paper")


def test_a_dry_run_of_a_plain_configuration_trains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["fit", *SMALL, "--trainer.max_epochs=3", "--diagnostics.measures=[]", "--dry-run"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Plan of the search in NASBench201: 58 images a role of 8 pixels, 10 classes" in said
    assert "3 epochs of 5 steps, 15 in all" in said
    assert "a new folder under runs/: config.yaml" in said
    assert list(tmp_path.iterdir()) == []


def test_a_budget_that_nothing_fits_into_is_refused_and_nothing_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    small = [*SMALL, "--data.batch_size=16", "--diagnostics.measures=[]"]
    assert main(["fit", *small, "--trainer.max_epochs=900", "--recipe=auto", "--budget=1s", "--run-dir=run"]) == 1
    said = capsys.readouterr()
    measured, refused = said.err.splitlines()
    assert measured == "Measuring the first steps with 2 channels and depth 1 ..."
    assert refused.startswith("robustnas: Expected `--budget` to allow 900 epochs of the smallest network here, about ")
    assert said.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_signal_ends_a_dry_run_at_once_and_names_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(probe._Stopwatch, "on_train_batch_end", stop)
    with pytest.raises(SystemExit, match="143"):
        main(["fit", *SMALL, "--diagnostics.measures=[]", "--dry-run"])
    assert capfd.readouterr().err.splitlines() == [
        "Measuring the first steps ...", "",
        "robustnas: Ended by SIGTERM while measuring the first steps; nothing was written.",
    ]  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_processes_of_one_run_share_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = command.Asked("auto", None, False)
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(ValueError, match="Expected `--recipe paper`"), command.prepared(asked, [], [], None):
        pass
    monkeypatch.setenv(command.CHOSEN, '["--a=1"]')
    with command.prepared(asked, [], [], None) as words:
        assert words == ["--a=1"]
