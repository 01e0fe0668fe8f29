"""Environment variables, folders and machines that prevent a run are refused in one sentence."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from refusals import DATA, MODEL, QUIET, SEARCH, said, trained, untrained
from tables import check_each

TORCHRUN = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "GROUP_RANK": "0", "LOCAL_WORLD_SIZE": "2"}
NUMBER = "Expected the environment variable `{}` to be a whole number, but got "
TRAINER = "Expected `trainer` to be valid on this machine, but Lightning reports: "
ROWS: dict[str, tuple[Mapping[str, str], Sequence[str], str]] = {
    "a rank that is a word": ({"LOCAL_RANK": "first"}, [], NUMBER.format("LOCAL_RANK")),
    "a rank below zero": ({"RANK": "-1"}, [], NUMBER.format("RANK")),
    "a size that is a word": ({"WORLD_SIZE": "two"}, [], NUMBER.format("WORLD_SIZE")),
    "a port that is a word": ({"MASTER_PORT": "http"}, [], NUMBER.format("MASTER_PORT")),
    "a SLURM rank that is a word": ({"SLURM_PROCID": "x"}, [], NUMBER.format("SLURM_PROCID")),
    "SLURM tasks that are a fraction": ({"SLURM_NTASKS": "1.5"}, [], NUMBER.format("SLURM_NTASKS")),
    "a process of many without folder": (TORCHRUN, [], "Expected `--run-dir` to be given for a run with"),
    "a run that is a file": ({"ROBUSTNAS_RUN": "file"}, [], "Expected to read or write "),
    "a run without name": ({"ROBUSTNAS_RUN": ""}, [], "Expected the environment variable `ROBUSTNAS_RUN` to name a fo"),
    "trust in no module": ({"ROBUSTNAS_TRUST": "a-b"}, [], "Expected `ROBUSTNAS_TRUST` to be names of modules, such a"),
    "a folder below a file": ({}, ["--run-dir=file/run"], "Expected to read or write "),
    "a folder that cannot be made": ({}, ["--run-dir=/proc/none/run"], "Expected to read or write /proc/none"),
    "a GPU where there is none": ({"CUDA_VISIBLE_DEVICES": ""}, ["--trainer.accelerator=gpu"], TRAINER + "No supporte"),
    "CUDA where there is none": ({"CUDA_VISIBLE_DEVICES": ""}, ["--trainer.accelerator=cuda"], TRAINER + "`CUDAAccel"),
    "devices that are a word": ({}, ["--trainer.devices=some"], TRAINER + "`devices` selected with `CPUAccelerator`"),
    "no nodes": ({}, ["--trainer.num_nodes=0"], TRAINER + "`num_nodes` must be a positive integer, but got 0."),
    "an unknown strategy": ({}, ["--trainer.strategy=magic"], TRAINER + "You selected an invalid strategy name"),
    "no batches": ({}, ["--trainer.limit_train_batches=0"], "Expected `limit_train_batches` to leave at least one bat"),
    "never to validate": ({}, ["--trainer.check_val_every_n_epoch=0"], "Expected `check_val_every_n_epoch` to be posi"),
    "clipping by the trainer": ({}, ["--trainer.gradient_clip_val=1"], TRAINER + "Automatic gradient clipping is not"),
    "accumulation": ({}, ["--trainer.accumulate_grad_batches=2"], TRAINER + "Automatic gradient accumulation is not"),
    "float16 by a plugin": (
        {},
        ["--trainer.plugins=MixedPrecision", "--trainer.plugins.precision=16-mixed", "--trainer.plugins.device=cpu"],
        "Expected `precision` to be 32-true, 64-true or bf16-mixed, but got 16-mixed: gradients of α underflow in ",
    ),
    "Nesterov without momentum": ({}, ["--model.nesterov=true", "--model.momentum=0"], "Expected `momentum` to be pos"),
    "a run without a name": ({}, ["--run-dir="], "Expected `--run-dir` to be a path, but got ''."),
    "an empty word for a run": ({}, ["--run-dir", ""], "Expected `--run-dir` to be a path, but got ''."),
    "a checkpoint without a name": ({}, ["--ckpt_path="], "Expected `--ckpt_path` to be a path, but got ''."),
    "trust without a module": ({}, ["--trust"], "Expected `--trust` to be names of modules, such as my_space, but got"),
    "trust in the parser": ({}, ["--trust=jsonargparse"], "Expected `--trust` to be names of modules, such as my_spac"),
    "a genotype read as YAML": (
        {},
        ["--model=EvaluationModule", "--model.architecture=Found", "--model.architecture.genotype=S1 cell: 0-1 none"],
        "Expected `genotype` to be a file, a run folder or a line that YAML reads as text, but got",
    ),
}  # fmt: skip
COMMANDS: dict[str, tuple[Sequence[str], str]] = {
    "nothing to evaluate": (["evaluate"], "Expected `RUN` to be given, but got none."),
    "a budget in words": (
        ["evaluate", "x", "--budget", "soon"],
        "Expected `--budget` to be a duration such as 90s, 30m, 2h or 1h30m, but got 'soon'.",
    ),
    "a budget below zero": (
        ["fit", "-c", "digits_darts", "--recipe=auto", "--budget=-5m"],
        "Expected `--budget` to be a duration such as 90s, 30m, 2h or 1h30m, but got '-5m'.",
    ),
    "a budget of no time": (
        ["fit", "-c", "digits_darts", "--recipe=auto", "--budget=0s"],
        "Expected `--budget` to be longer than no time, but got '0s'.",
    ),
    "a budget without a choice": (
        ["fit", "-c", "digits_darts", "--budget=5m"],
        "Expected `--budget` with `--recipe auto`, which chooses what fits",
    ),
    "an unknown recipe": (
        ["evaluate", "x", "--recipe=best"],
        "Expected `--recipe` to be one of 'auto', 'paper', but got 'best'.",
    ),
    "nothing to tune": (["tune"], "Expected `TUNING` to be given, but got none."),
    "no trials": (["tune", "digits_search", "--trials=0"], "Expected `--trials` to be 1 or larger, but got 0."),
    "nothing to draw": (["draw"], "Expected `genotype` to be given, but got none."),
    "nothing to profile": (["profile"], "Expected `-c/--config` to be given, but got none."),
    "a misspelt option": (
        ["report", "x", "--ot=y"],
        "Expected an option of `robustnas report`, but got `--ot`; did you m",
    ),
    "a stray word": (["doctor", "now"], "Expected an option of `robustnas doctor`, but got `now`; see --help."),
    "a word for a number": (["landscape", "x", "--steps=many"], "Expected `--steps` to be int, but got 'many'."),
    "an option without value": (["diagnose", "x", "--space"], "Expected `--space` to have a value, but got none."),
    "a seed that is a word": (["quickstart", "--seed=x"], "Expected `--seed` to be int, but got 'x'."),
    "a seed below zero": (
        ["quickstart", "--seed=-1"],
        "Expected `seed_everything` to be a number from 0 to 4294967295",
    ),
    "a checkpoint that is not there": (
        ["select", "none"],
        "Expected `path` to be a checkpoint, but there is no file none.",
    ),
    "a run that is not there": (
        ["report", "none"],
        "Expected RUN to be the folder of a search, but there is no folder none.",
    ),
    "a quickstart without a name": (["quickstart", "--run-dir="], "Expected `--run-dir` to be a path, but got ''."),
    "an evaluation without a name": (
        ["evaluate", "x", "--run-dir="],
        "Expected `--run-dir` to be a path, but got ''.",
    ),
    "a selection without a name": (["select", "x", "--run-dir", ""], "Expected `--run-dir` to be a path, but got ''."),
    "an empty word for a folder": (["diagnose", ""], "Expected `RUN` to be a path, but got ''."),
    "a zero byte": (["diagnose", "a\0b"], "Expected RUN to be the folder of a search, but there is no folder a"),
}


@contextmanager
def untrained_folder(folders: pytest.TempPathFactory) -> Iterator[tuple[Path, pytest.MonkeyPatch]]:
    """A new working directory, in which a step of training fails the test."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder := folders.mktemp("row"))
        untrained(monkeypatch)
        yield folder, monkeypatch


def test_nothing_starts_where_it_cannot_run(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    def check(case: str) -> None:
        with untrained_folder(tmp_path_factory) as (tmp_path, monkeypatch):
            Path("file").write_text("")
            variables, words, beginning = ROWS[case]
            for name, value in variables.items():
                monkeypatch.setenv(name, value)
            search = ["fit", *DATA, *QUIET] if any("--model=" in word for word in words) else SEARCH
            sentence = said([*search, *words], capsys)
            assert sentence.startswith(beginning), sentence
            assert trained(tmp_path) == []

    check_each(ROWS, check)


def test_every_command_says_what_is_wrong_in_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    def check(case: str) -> None:
        with untrained_folder(tmp_path_factory) as (tmp_path, _):
            words, beginning = COMMANDS[case]
            sentence = said(words, capsys)
            assert sentence.startswith(beginning), sentence
            assert list(tmp_path.iterdir()) == []

    check_each(COMMANDS, check)


@pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else True, reason="nothing is unwritable to root")
def test_a_folder_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    untrained(monkeypatch)
    tmp_path.chmod(0o500)
    assert said(["fit", *MODEL, *DATA, *QUIET, f"--run-dir={tmp_path / 'run'}"], capsys).startswith(
        "Expected to read or write "
    )
