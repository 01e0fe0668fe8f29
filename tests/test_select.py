"""``robustnas select``: one search, read by several rules."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from tables import with_slow
from words import SMALL

from robustnas.__main__ import main
from robustnas.commands.selection_rules import truth_of
from robustnas.runs.record import Run, read_genotype, write_json
from robustnas.spaces import NASBench201, decode
from robustnas.strategies import Strongest
from robustnas.tabular import Table
from robustnas.training import SearchModule, load

pytestmark = pytest.mark.usefixtures("few_samples")

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


RULES = ("strongest", "largest_drop", "sampled_by_alpha", "sampled_uniformly")
ONE_SHOT: dict[str, tuple[list[str], str]] = {
    "LargestDrop": (["finetune=0", "criterion=loss"], "decisions.json"),
    "BestOfSampled": (["samples=5", "criterion=loss", "source=alpha"], "sampled.json"),
}


@pytest.mark.parametrize("rule", with_slow(ONE_SHOT, ["LargestDrop"]))
def test_a_rule_that_evaluates_finds_what_the_search_itself_would_have_found(
    rule: str, searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options, file = ONE_SHOT[rule]
    before = content(searched)
    words = [f"--selection={rule}", *(f"--selection.{option}" for option in options)]
    assert main(["select", str(searched), *words, "-o", str(tmp_path / "after")]) == 0
    said = capsys.readouterr().out
    assert content(searched) == before
    part = [f"--model.selection={rule}", *(f"--model.selection.{option}" for option in options)]
    assert main(["fit", *SEARCH, *part, "--trainer.max_epochs=2", f"--run-dir={tmp_path / 'own'}"]) == 0
    own, after = Run(tmp_path / "own"), Run(tmp_path / "after")
    assert after.genotype() == own.genotype()
    assert (after.path / file).read_text() == (own.path / file).read_text()
    assert str(own.genotype()) in said
    assert {"config.yaml", "genotype.png", "genotype.svg"} <= {path.name for path in after.path.iterdir()}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All cells of NAS-Bench-201 in which the accuracy is a hundredth of the number, ten of them left out."""
    genotypes = [decode(number, NASBench201) for number in range(10, 15625)]
    path = tmp_path_factory.mktemp("table") / "table.parquet"
    Table.of(genotypes, {"top1": [number / 100 for number in range(10, 15625)]}, "made", NASBench201).write(path)
    return path


def test_rules_are_compared_side_by_side(
    searched: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, out = content(searched), tmp_path / "out"
    words = ["--selection.samples=4", "--selection.criterion", "loss", "--table", str(table)]
    assert main(["select", str(searched), "--compare", *words, "-o", str(out)]) == 0
    said = capsys.readouterr().out
    assert content(searched) == before
    entries = json.loads((out / "comparison.json").read_text(encoding="utf-8"))["rules"]
    assert [one["folder"] for one in entries] == list(RULES)
    assert entries[0]["genotype"] == str(Run(searched).genotype())
    assert [one["selection"].get("init_args", {}).get("criterion") for one in entries] == [None, "loss", "loss", "loss"]
    assert [one["selection"]["init_args"].get("samples") for one in entries[2:]] == [4, 4]
    assert [one["selection"]["init_args"].get("source") for one in entries[2:]] == ["alpha", "uniform"]
    known = Table.read(table)
    for one in entries:
        genotype = Run(out / one["folder"]).genotype()
        assert one["genotype"] == str(genotype)
        assert (out / one["folder"] / "config.yaml").is_file()
        assert one["truth"]["accuracy"] == known.accuracy(genotype, "top1")
        assert one["truth"]["rank"] == known.rank(genotype, "top1").place
        assert one["rule"] in said
        assert f"{one['truth']['accuracy']:.2f}" in said
        assert str(genotype) in said
    for one in entries[2:]:  # measured again on other batches: the same architecture, nearly the same loss
        sampled = json.loads((out / one["folder"] / "sampled.json").read_text(encoding="utf-8"))
        (own,) = [other for other in sampled["sampled"] if other["genotype"] == one["genotype"]]
        assert one["loss"] == pytest.approx(own["loss"], rel=0.1)
        assert sampled["best"] == one["genotype"]
    assert main(["select", str(searched), "--compare", "--selection.samples=2", "-o", str(out)]) == 0  # written anew
    assert json.loads((out / "comparison.json").read_text(encoding="utf-8"))["rules"][0]["truth"] is None
    assert "rank" not in capsys.readouterr().out


def test_the_table_of_the_run_is_looked_up(
    searched: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(searched, run)
    write_json(run / "truth.json", {"table": str(table), "column": "top1"})
    assert main(["select", str(run), "--compare", "--selection.samples=2"]) == 0
    assert "rank" in capsys.readouterr().out
    entries = json.loads((run / "compared" / "comparison.json").read_text(encoding="utf-8"))["rules"]
    assert entries[0]["truth"]["table"] == str(table)
    write_json(run / "truth.json", {"table": str(tmp_path / "gone.csv"), "column": "top1"})
    assert truth_of(None, None, run, NASBench201) is None
    said = "No true accuracies are shown, since the table of the run cannot be read: Expected "
    assert capsys.readouterr().out.startswith(said)


@pytest.mark.slow
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


def test_a_folder_with_another_selection_is_not_continued(
    searched: Path, decided: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = decided
    assert main(["select", str(searched), *DROP, "--selection.finetune=2", "-o", str(folder)]) == 1
    assert capsys.readouterr().err.startswith("robustnas: Expected `--run-dir` to be a new folder, but ")
    assert main(["select", str(folder), *DROP, "-o", str(tmp_path / "more")]) == 1
    assert "to be from before the selection began, but " in capsys.readouterr().err
    assert main(["select", str(folder), "--compare"]) == 1
    assert "to be from before the selection began, but " in capsys.readouterr().err
    assert main(["select", str(searched), "-o", str(folder)]) == 1
    assert "Expected `--run-dir` to be a folder without a run, but " in capsys.readouterr().err
