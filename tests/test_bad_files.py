"""Files in which something is wrong, handed to every command that reads them, get one sentence."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from refusals import QUIET, said, short_search, trained, untrained
from tables import check_each

from robustnas.cli import lightning_cli
from robustnas.training.checkpointing import check_checkpoint

FIT = [*QUIET[1:], "--trainer.max_epochs=2"]
CKPT = "Expected bad/last.ckpt to hold "

CONFIGS: dict[str, tuple[str | bytes, str]] = {
    "nested too deeply": ("[" * 5000, "be a configuration in YAML, but reading it fails: it nests too deeply"),
    "aliases that explode": (
        "a: &a [1,1,1,1,1,1,1,1,1]\n"
        + "".join(f"{c}: &{c} [{','.join(['*' + p] * 9)}]\n" for p, c in zip("abcdef", "bcdefg", strict=True)),
        "be a configuration in YAML, but reading it fails: more than 100,000 values, those of an alias ",
    ),
    "a mapping in itself": (
        "model: &m\n  init_args: *m\n",
        "be a configuration in YAML, but reading it fails: it nests",
    ),
    "a date for a model": (
        "model: 2001-99-99\n",
        "`model` to be the name or import path of a class that fits, but got '2001-99-99'",
    ),
    "tabs": ("model:\n\tclass_path: DARTS\n", "be a configuration in YAML, but reading it fails: while scanning for"),
    "zero bytes": ("model: \0", "be a configuration in YAML, but reading it fails: unacceptable character #x0000"),
    "another encoding": (
        "# \u00e9\n".encode("latin-1"),
        "be a configuration in YAML, but reading it fails: 'utf-8' codec",
    ),
    "nothing": ("", "`--config` to be a YAML file of options with their values, but got ''."),
    "no model": ("model: null\ndata: Digits\n", "`model` to be given, but got none."),
    "a number for a model": (
        "model: 3\ndata: Digits\n",
        "`model` to be a class, by name or as class_path and init_args",
    ),
    "a list for a model": ("model: [DARTS]\ndata: Digits\n", "`model` to be a class, by name or as class_path and "),
    "a model without class": ("model: {init_args: {}}\ndata: Digits\n", "`model` to be a class, by name or as class_"),
    "a list for the trainer": (
        "model: DARTS\ndata: Digits\ntrainer: [1]\n",
        "`trainer` to be options with their values",
    ),
    "an unknown callback": (
        "model: DARTS\ndata: Digits\ntrainer: {callbacks: Nope}\n",
        "`trainer.callbacks` to be the name",
    ),
}

Change = Callable[[dict[str, Any]], object]
CHECKPOINTS: dict[str, tuple[Change, str]] = {
    "no loops": (
        lambda c: c.pop("loops"),
        "Expected bad/last.ckpt to hold `loops`, a dict, but got none.",
    ),
    "loops of another type": (lambda c: c.update(loops=[1]), f"{CKPT}`loops`, a dict, but got a list."),
    "no training in the loops": (lambda c: c["loops"].pop("fit_loop"), f"{CKPT}the progress of a training in `loops`"),
    "callbacks of another type": (
        lambda c: c.update(callbacks=[1]),
        f"{CKPT}`callbacks`, a dict, but got",
    ),
    "no optimisers": (lambda c: c.pop("optimizer_states"), f"{CKPT}`optimizer_states`, a list, but got"),
    "an optimiser too few": (lambda c: c["optimizer_states"].pop(), f"{CKPT}the states of 2 optimisers, but got 1."),
    "no version": (
        lambda c: c.pop("pytorch-lightning_version"),
        f"{CKPT}`pytorch-lightning_version`, a ",
    ),
    "an epoch that is a word": (lambda c: c.update(epoch="x"), f"{CKPT}`epoch`, an int, but got a str."),
    "another epoch than is counted": (lambda c: c.update(epoch=7), f"{CKPT}`epoch` 1, as its loops count, but got 7."),
    "a step below zero": (lambda c: c.update(global_step=-3), f"{CKPT}`global_step` 1, as its loops count, but got -3"),
    "counts that are words": (
        lambda c: c["loops"]["fit_loop"]["epoch_progress"]["current"].update(processed="x"),
        f"{CKPT}a count in `loops.fit_loop.epoch_progress.current.processed`, but got 'x'.",
    ),
    "loops without steps": (
        lambda c: c["loops"]["fit_loop"].pop("epoch_loop.batch_progress"),
        f"{CKPT}a dict in `loops.fit_loop.epoch_loop.batch_progress`, but got none.",
    ),
    "a callback without its state": (
        lambda c: c["callbacks"].update(RunRecorder=3),
        f"{CKPT}a dict for RunRecorder in `callbacks`, but got 3.",
    ),
    "a callback with another state": (
        lambda c: c["callbacks"].update(LastCheckpoint={}),
        f"{CKPT}what LastCheckpoint can load in `callbacks`, but got a state that fails: KeyError: 'logged'",
    ),
    "rows that are numbers": (
        lambda c: c["callbacks"]["RunRecorder"].update(rows=[1]),
        f"{CKPT}what RunRecorder can load in `callbacks`, but got a state that fails: TypeError: rows are dict",
    ),
    "param_groups that are words": (
        lambda c: c["optimizer_states"][0].update(param_groups="x"),
        f"{CKPT}`param_groups` of its optimisers, but got 'x'.",
    ),
    "a step size that is a word": (
        lambda c: c["optimizer_states"][1]["param_groups"][0].update(lr="fast"),
        f"{CKPT}lr in `param_groups`, but got 'fast'.",
    ),
    "parameters too few": (
        lambda c: c["optimizer_states"][0]["param_groups"][0]["params"].pop(),
        f"{CKPT}39 params in `param_groups`, but got 38.",
    ),
    "a schedule that is a list": (
        lambda c: c.update(lr_schedulers=[[1]]),
        f"{CKPT}schedules with their epoch in `lr_schedulers`, but got a list.",
    ),
    "a version that is none": (
        lambda c: c.update({"pytorch-lightning_version": "two"}),
        f"{CKPT}a version in `pytorch-lightning_version`, but got 'two'.",
    ),
    "undefined α": (
        lambda c: c["state_dict"]["alphas.cell"].fill_(torch.nan),
        f"{CKPT}finite numbers, but got others in",
    ),
    "no description": (
        lambda c: c.update(robustnas=None),
        "Expected `--ckpt_path` to be a checkpoint of robustnas, but",
    ),
    "no weights": (lambda c: c.pop("state_dict"), f"{CKPT}`state_dict`, a dict, but got none."),
}


def _archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("cell.npy", "w") as member:
        for _ in range(257):
            member.write(bytes(2**20))


def _config(change: Change) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        content = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        change(content)
        (folder / "config.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")

    return write


def _json(name: str, change: Change) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        content = json.loads((folder / name).read_text(encoding="utf-8"))
        change(content)
        (folder / name).write_text(json.dumps(content), encoding="utf-8")

    return write


def _text(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text, encoding="utf-8")


EVALUATE, DRAW, DIAGNOSE = ["evaluate", "bad", *QUIET], ["draw", "bad"], ["diagnose", "bad"]
REPORT, LANDSCAPE, SELECT = ["report", "bad"], ["landscape", "bad"], ["select", "bad", "-o", "out"]
RUNS: dict[str, tuple[Callable[[Path], object], Sequence[str], str]] = {
    "JSON too deep": (_text("genotype.json", "[" * 100_000), DRAW, "`bad/genotype.json` to be JSON, but got JSON that"),
    "a number too long": (_text("genotype.json", "1" * 5000), EVALUATE, "`bad/genotype.json` to be JSON, but got a nu"),
    "a genotype without cells": (_json("genotype.json", lambda g: g.update(cells={})), DIAGNOSE, "`genotype` to have "),
    "a genotype of no space": (_json("genotype.json", lambda g: g.update(space=3)), DRAW, "`bad/genotype.json` to hol"),
    "an unknown operation": (
        _json("genotype.json", lambda g: g["cells"]["cell"][0].__setitem__(1, "magic")), REPORT, "edge 0-1 of the cell "
    ),
    "a manifest that is a list": (_text("manifest.json", "[1]"), DIAGNOSE, "`bad/manifest.json` to be an object of sc"),
    "an archive too large": (lambda f: _archive(f / "alpha/epoch_0000.npz"), DIAGNOSE, "`bad/alpha/epoch_0000.npz` to"),
    "costs that are words": (_text("cost.json", '{"schema": 1}'), DIAGNOSE, "bad/cost.json to hold the costs of a sea"),
    "metrics that are words": (_text("metrics.csv", "epoch,a/b\nx,y\n"), REPORT, "bad/metrics.csv to hold one row of "),
    "metrics without epochs": (_text("metrics.csv", "a/b\n1\n"), REPORT, "bad/metrics.csv to have a column `epoch`"),
    "data left out": (_config(lambda c: c.pop("data")), LANDSCAPE, "bad/config.yaml to be the configuration of a run "),
    "data without options": (_config(lambda c: c["data"].update(init_args=3)), EVALUATE, "bad/config.yaml to be the c"),
    "an unknown option of data": (_config(lambda c: c["data"]["init_args"].update(siz=1)), LANDSCAPE, "an option of D"),
    "a checkpoint that is a folder": (
        lambda f: ((f / "last.ckpt").unlink(), (f / "last.ckpt").mkdir()), SELECT, "`path` to be a checkpoint, but ther"
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return short_search(tmp_path_factory.mktemp("files") / "good")


@pytest.fixture
def bad(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a good run, in the current folder, in which something is to be spoilt."""
    monkeypatch.chdir(tmp_path)
    untrained(monkeypatch)
    return Path(shutil.copytree(good, "bad"))


def test_a_wrong_configuration(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    untrained(monkeypatch)

    def check(case: str) -> None:
        monkeypatch.chdir(tmp_path_factory.mktemp("row"))
        content, says = CONFIGS[case]
        Path("bad.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
        sentence = said(["fit", "-c", "bad.yaml"], capsys, statuses=(2,))
        wanted = "Expected bad.yaml to " + says if says.startswith("be ") else f"Expected {says}"
        assert sentence.startswith(wanted), sentence
        assert [path.name for path in Path().iterdir()] == ["bad.yaml"]

    check_each(CONFIGS, check)


# One of each step of the check; the slow tests hand all of them to the commands.
HANDED = ("no loops", "an optimiser too few", "a callback with another state", "undefined α", "no description")
# A validation saves no checkpoint: it has no `LastCheckpoint`, and that state is not read.
VALIDATED = tuple(case for case in CHECKPOINTS if case != "a callback with another state")


@pytest.mark.parametrize(
    ("command", "handed"),
    [
        ("fit", HANDED),
        pytest.param("fit", tuple(CHECKPOINTS), marks=pytest.mark.slow),
        pytest.param("validate", VALIDATED, marks=pytest.mark.slow),
    ],
    ids=["fit", "fit, all", "validate, all"],
)
def test_a_wrong_checkpoint(
    command: str, handed: tuple[str, ...], bad: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right = (bad / "last.ckpt").read_bytes()
    searching = lightning_cli.main(["fit", "-c", "bad/config.yaml", *FIT, "--run-dir=new"], stop_after="instantiation")

    def check(case: str) -> None:
        change, says = CHECKPOINTS[case]
        content = torch.load(io.BytesIO(right), weights_only=True)
        change(content)
        torch.save(content, bad / "last.ckpt")
        files = sorted(Path().rglob("*"))
        if case in handed:
            words = [command, "-c", "bad/config.yaml", "--run-dir=bad", "--ckpt_path=bad/last.ckpt", *FIT]
            sentence = said(words, capsys)
        else:
            with pytest.raises(ValueError, match=r"^Expected ") as caught:
                check_checkpoint("bad/last.ckpt", searching.model, searching.trainer)
            sentence = str(caught.value)
        assert sentence.startswith(says), sentence
        assert sorted(Path().rglob("*")) == files

    check_each(handed if command == "validate" else CHECKPOINTS, check)


def test_a_wrong_run_folder(good: Path, bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def check(case: str) -> None:
        shutil.rmtree(bad)
        shutil.copytree(good, bad)
        change, words, says = RUNS[case]
        change(bad)
        before = trained(Path())
        sentence = said(words, capsys)
        assert sentence.startswith(f"Expected {says}"), sentence
        assert trained(Path()) == before

    check_each(RUNS, check)


def test_a_selection_needs_the_progress_of_its_search(bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = torch.load(bad / "last.ckpt", weights_only=True)
    torch.save({**content, "loops": None}, bad / "last.ckpt")
    sentence = said(["select", "bad", "--selection=LargestDrop", "-o", "out"], capsys)
    assert sentence.startswith("Expected bad/last.ckpt to be a checkpoint of a training run, but it holds no progress")
    assert not Path("out").exists()
