"""The launcher of a run (torchrun, SLURM, Lightning) is detected, and options that disagree with it are refused."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning import Trainer
from refusals import SEARCH, said

from robustnas.__main__ import main
from robustnas.runtime.launch import Launcher, check_launch, find_launcher, is_one_of_several

TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4", "RANK": "5", "LOCAL_RANK": "1"}
SLURM = {"SLURM_NTASKS": "8", "SLURM_NTASKS_PER_NODE": "4", "SLURM_JOB_NAME": "robustnas", "SLURM_PROCID": "5"}
ONE = {"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "robustnas"}
LIGHTNING = {"WORLD_SIZE": "2", "LOCAL_RANK": "1", "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
NAMES = {*TORCHRUN, *SLURM, *LIGHTNING, "GROUP_RANK", "SLURM_JOB_ID", "SLURM_NNODES", "ROBUSTNAS_RUN"}


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def under(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("variables", "found", "others"),
    [
        ({}, None, False),
        (LIGHTNING, None, True),
        (TORCHRUN, Launcher("torchrun", 8, 4), True),
        ({**SLURM, **TORCHRUN}, Launcher("torchrun", 8, 4), True),  # torchrun inside a job, as Lightning decides too
        (SLURM, Launcher("SLURM", 8, 4), True),
        (ONE, Launcher("SLURM", 1, 1), False),
        ({**SLURM, "SLURM_JOB_NAME": "interactive"}, None, False),
        ({**SLURM, "SLURM_JOB_NAME": "bash"}, None, False),
    ],
)
def test_who_started_the_processes(
    variables: Mapping[str, str], found: Launcher | None, others: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    under(monkeypatch, variables)
    assert find_launcher() == found
    assert is_one_of_several() is others


def test_a_job_must_say_how_many_processes_a_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    under(monkeypatch, {"SLURM_NTASKS": "8", "SLURM_JOB_NAME": "robustnas"})
    for on_each in ("", "4(x2)"):
        monkeypatch.setenv("SLURM_NTASKS_PER_NODE", on_each)
        with pytest.raises(
            ValueError, match=r"^Expected the SLURM job to set `--ntasks-per-node`, .* only `--ntasks=8`\.$"
        ):
            find_launcher()


@pytest.mark.parametrize("variables", [TORCHRUN, SLURM], ids=["torchrun", "SLURM"])
def test_options_that_mean_other_processes_are_refused(
    variables: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    under(monkeypatch, variables)
    check_launch(8, 2)
    by = "torchrun" if "RANK" in variables else "SLURM"
    started = f"as {by} started 4 processes on each of 2 machines"
    for processes, nodes, sentence in (
        (1, 1, f"Expected `--trainer.devices` to be 4, {started}, but got 1."),
        (4, 2, f"Expected `--trainer.devices` to be 4, {started}, but got 2."),
        (4, 1, f"Expected `--trainer.num_nodes` to be 2, {started}, but got 1."),
        (16, 4, f"Expected `--trainer.num_nodes` to be 2, {started}, but got 4."),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
            check_launch(processes, nodes)


def test_any_options_fit_where_lightning_starts_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    check_launch(7, 1)
    under(monkeypatch, LIGHTNING)
    check_launch(7, 1)


@pytest.mark.parametrize(
    ("variables", "words", "sentence"),
    [
        ({**TORCHRUN, "WORLD_SIZE": "4"}, ["--run-dir=run"], "`--trainer.devices` to be 4, as torchrun started 4 "),
        (SLURM, ["--run-dir=run", "--trainer.devices=4"], "`--trainer.num_nodes` to be 2, as SLURM started 4"),
        (SLURM, ["--trainer.devices=4", "--trainer.num_nodes=2"], "`--run-dir` to be given for a run with"),
        ({"NODE_RANK": "1"}, ["--trainer.num_nodes=2"], "`--run-dir` to be given for a run with"),
    ],
)  # fmt: skip
def test_the_command_refuses_them(
    variables: Mapping[str, str],
    words: list[str],
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    under(monkeypatch, variables)
    assert said([*SEARCH, *words], capsys).startswith(f"Expected {sentence}")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("variables", "devices", "first"),
    [
        ({}, (1, 1), True),
        ({"NODE_RANK": "1"}, (1, 1), True),  # left by a cluster whose jobs are one process each
        ({"NODE_RANK": "0"}, (2, 2), True),
        ({"NODE_RANK": "1"}, (2, 2), False),  # the process that Lightning starts those of the second machine from
        ({"GROUP_RANK": "1"}, (2, 2), False),
        (LIGHTNING, (2, 1), False),
        ({**LIGHTNING, "LOCAL_RANK": "0"}, (2, 1), True),
        ({**TORCHRUN, "GROUP_RANK": "1"}, (4, 2), False),
        ({**TORCHRUN, "RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0"}, (4, 2), True),
    ],
)
def test_the_first_process_of_all_holds_the_folder(
    variables: Mapping[str, str], devices: tuple[int, int], first: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = []

    @functools.wraps(Trainer.fit)  # whose arguments are options of the command
    def fit(*_: Any, **__: Any) -> None:
        held.append((tmp_path / "run/.lock").exists())

    monkeypatch.setattr(Trainer, "fit", fit)
    monkeypatch.chdir(tmp_path)
    under(monkeypatch, variables)
    each, machines = devices
    words = ["--run-dir=run", "--data.batch_size=4", f"--trainer.devices={each}", f"--trainer.num_nodes={machines}"]
    assert main([*SEARCH, *words]) == 0
    assert held == [first]
