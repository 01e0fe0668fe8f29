"""``robustnas select``: one search, read by several rules."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from words import SMALL

from robustnas.__main__ import main
from robustnas.runs.record import Run, read_genotype
from robustnas.spaces import NASBench201
from robustnas.strategies import Strongest
from robustnas.training import SearchModule, load

SEARCH = [*SMALL, "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1"]
SEARCH += ["--diagnostics.measures=[]"]
DROP = ["--selection", "LargestDrop", "--selection.finetune", "1", "--selection.criterion=loss"]


class Killed(Callback):
    """Ends a run at the start of an epoch, after the checkpoint of the one before."""

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        if trainer.current_epoch == 4:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("select") / "run"
    saver = ["--trainer.callbacks+=ModelCheckpoint", "--trainer.callbacks.every_n_train_steps=3"]
    inside = [f"--trainer.callbacks.dirpath={folder}", "--trainer.callbacks.filename=inside"]  # the second epoch
    assert main(["fit", *SEARCH, *saver, *inside, "--trainer.max_epochs=2", f"--run-dir={folder}"]) == 0
    return folder


@pytest.fixture(scope="module")
def decided(searched: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The search, read by the larger drop in the loss; the search is as it was."""
    folder = tmp_path_factory.mktemp("decided") / "run"
    before = content(searched)
    assert main(["select", str(searched / "last.ckpt"), *DROP, "-o", str(folder)]) == 0
    assert content(searched) == before
    return folder


def content(folder: Path) -> dict[str, str]:
    """Hashes of the files of a run."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_one_search_is_read_by_two_rules(
    searched: Path, decided: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strongest = tmp_path / "strongest"
    assert main(["select", str(searched), "-o", str(strongest)]) == 0
    assert Run(strongest).genotype() == Run(searched).genotype()
    assert str(Run(searched).genotype()) in capsys.readouterr().out
    assert {"config.yaml", "genotype.json", "genotype.png", "genotype.svg"} == {p.name for p in strongest.iterdir()}

    decisions = json.loads((decided / "decisions.json").read_text())["decisions"]
    assert [one["epoch"] for one in decisions] == [2, 3, 4, 5, 6, 7]
    found = {tuple(map(int, one["edge"].split("-"))): one["keeps"] for one in decisions}
    genotype = Run(decided).genotype()
    assert {(c.source, c.node): c.operation for c in genotype.cells["cell"]} == found
    assert (decided / "config.yaml").is_file()

    again = tmp_path / "again"  # what was decided hides nothing of the search
    assert main(["select", str(decided), "-o", str(again)]) == 0
    assert read_genotype(str(again)) == Run(searched).genotype()


def test_an_interrupted_selection_goes_on_by_the_same_command(
    searched: Path, decided: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = tmp_path / "cut"
    monkeypatch.setitem(sys.modules, "killing", sys.modules[__name__])
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        main(["select", str(searched), *DROP, "-o", str(cut), "--trainer.callbacks+=killing.Killed"])
    assert len(json.loads((cut / "decisions.json").read_text())["decisions"]) == 2
    assert main(["select", str(searched), *DROP, "-o", str(cut)]) == 0
    for name in ("genotype.json", "decisions.json", "genotypes/epoch_0007.json"):
        assert (cut / name).read_text() == (decided / name).read_text(), name
    assert str(Run(decided).genotype()) in capsys.readouterr().out
    assert main(["select", str(searched), *DROP, "-o", str(cut)]) == 0  # a finished one answers at once
    ends = [torch.load(folder / "last.ckpt", weights_only=True) for folder in (decided, cut)]
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            *([v for k, v in end["state_dict"].items() if k.startswith("supernet")] for end in ends), strict=True
        )
    )


def test_a_search_inside_an_epoch_ends_it_and_then_selects(searched: Path, decided: Path, tmp_path: Path) -> None:
    assert main(["select", str(searched / "inside.ckpt"), *DROP, "-o", str(tmp_path / "other")]) == 0
    decisions = [(folder / "decisions.json").read_text() for folder in (decided, tmp_path / "other")]
    assert decisions[0] == decisions[1]


@pytest.mark.slow
def test_the_strongest_of_a_search_that_decided_itself_are_those_before_it_did(searched: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pt"
    own = [*SEARCH, "--model=DARTSPT", "--model.selection=LargestDrop", "--model.selection.finetune=1"]
    assert (
        main(
            [
                "fit",
                *own,
                "--model.space=NASBench201",
                "--model.cells=1",
                "--model.channels=2",
                "--trainer.max_epochs=2",
                f"--run-dir={folder}",
            ]
        )
        == 0
    )
    module = load(folder / "last.ckpt", SearchModule)
    assert module.genotype() == Run(folder).genotype()
    assert main(["select", str(folder)]) == 0
    assert Run(folder / "strongest").genotype() == Strongest().genotype(
        NASBench201, module.hooks["perturbation_selection"].weights
    )


def wrong(searched: Path, tmp_path: Path) -> dict[str, tuple[list[str], str]]:
    torch.save({"a": 1}, tmp_path / "other.ckpt")
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "last.ckpt").write_bytes((searched / "last.ckpt").read_bytes())
    run = str(searched)
    return {
        "no checkpoint": (["nowhere"], "Expected `path` to be a checkpoint, but there is no file nowhere."),
        "other file": ([str(tmp_path / "other.ckpt")], f"Expected {tmp_path}/other.ckpt to be a checkpoint of"),
        "unknown rule": (
            [run, "--selection", "LargestDrp"],
            "Expected `selection` to be the name or import path of a class that fits, but got 'LargestDrp'; "
            "did you mean `LargestDrop`?",
        ),
        "unknown option": (
            [run, *DROP[:2], "--selection.finetun=2"],
            "Expected an option of LargestDrop, but got `finetun`; did you mean `finetune`?",
        ),
        "wrong option": (
            [run, *DROP[:2], "--selection.finetune=-1"],
            "Expected `finetune` to be at least 0, but got -1.",
        ),
        "options for nothing": (
            [run, "--trainer.accelerator=cpu"],
            "Expected no options of `robustnas fit`, since Strongest does not train, but got --trainer.accelerator=cpu",
        ),
        "the same folder": (
            [run, "-o", run],
            "Expected `--run-dir` to be another folder than that of the search, but got",
        ),
        "no configuration": (
            [str(alone), *DROP],
            f"Expected {alone}/config.yaml to be a configuration in YAML, but reading it fails: No such file",
        ),
    }


def test_a_wrong_command_is_named_in_a_sentence(
    searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for case, (words, says) in wrong(searched, tmp_path).items():
        assert main(["select", *words]) == 1, case
        error = capsys.readouterr().err
        assert error.startswith(f"robustnas: {says}"), case
        assert len(error.strip().splitlines()) == 1, case


def test_a_folder_with_another_selection_is_not_continued(
    searched: Path, decided: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = decided
    assert main(["select", str(searched), *DROP, "--selection.finetune=2", "-o", str(folder)]) == 1
    assert capsys.readouterr().err.startswith("robustnas: Expected `--run-dir` to be a new folder, but ")
    assert main(["select", str(folder), *DROP, "-o", str(tmp_path / "more")]) == 1
    assert "to be from before the selection began, but " in capsys.readouterr().err
    assert main(["select", str(searched), "-o", str(folder)]) == 1
    assert "Expected `--run-dir` to be a folder without a run, but " in capsys.readouterr().err
