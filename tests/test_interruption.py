"""A run that is asked to end writes a checkpoint first, says how to go on, and ends as the undisturbed one would."""

from __future__ import annotations

import contextlib
import csv
import os
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pytorch_lightning import Callback, Trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from words import SMALL

from robustnas.__main__ import main
from robustnas.runs.record import Run
from robustnas.runs.run_lock import held
from robustnas.training.checkpointing import AtomicCheckpoints, LastCheckpoint
from robustnas.training.lightning import interruption
from robustnas.training.lightning.interruption import Interrupted, Interruption

pytestmark = pytest.mark.usefixtures("few_samples", "no_pictures", "known_costs")

SEARCH = [
    "fit",
    *SMALL,
    "--diagnostics.measures=[]",
    "--trainer.log_every_n_steps=2",
    "--trainer.max_epochs=3",
    "--checkpoint_every=3",
]
MOMENTS = [
    ("on_train_batch_start", signal.SIGTERM),
    pytest.param("on_validation_batch_start", signal.SIGINT, marks=pytest.mark.slow),
    pytest.param("on_train_epoch_end", signal.SIGTERM, marks=pytest.mark.slow),
    pytest.param("on_train_end", signal.SIGINT, marks=pytest.mark.slow),
]


class Ask(Callback):
    """Sends a signal to its own process, in the second epoch or at the end."""

    def __init__(self, moment: str, number: int, step: int = 7) -> None:
        self.number, self.step = number, step
        setattr(self, moment, self.send)

    def send(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        if trainer.global_step >= self.step and not trainer.sanity_checking:
            self.step = 1000
            os.kill(os.getpid(), self.number)


@pytest.fixture(autouse=True)
def handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "asked", sys.modules[__name__])
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    yield
    assert {number: signal.getsignal(number) for number in before} == before, "handlers were left behind"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main([*SEARCH, f"--run-dir={folder}"]) == 0
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def points(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def check_same(folder: Path, whole: Path) -> None:
    found, expected = (torch.load(one / "last.ckpt", weights_only=True)["state_dict"] for one in (folder, whole))
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []
    assert rows(folder) == rows(whole)
    assert points(folder) == points(whole)
    assert (folder / "genotype.json").read_bytes() == (whole / "genotype.json").read_bytes()
    settings = [yaml.safe_load((one / "config.yaml").read_text(encoding="utf-8")) for one in (folder, whole)]
    assert {name for name in settings[0] if settings[0][name] != settings[1][name]} <= {"run_dir", "trainer"}
    assert settings[0]["ckpt_path"] is None


@pytest.mark.parametrize(("moment", "number"), MOMENTS)
def test_a_signal_ends_the_run_with_a_checkpoint(
    whole: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], moment: str, number: signal.Signals
) -> None:
    words = [*SEARCH, f"--run-dir={tmp_path}"]
    ask = ["--trainer.callbacks+=asked.Ask", f"--trainer.callbacks.moment={moment}"]
    with pytest.raises(SystemExit) as ended:
        main([*words, *ask, f"--trainer.callbacks.number={int(number)}"])
    assert ended.value.code == 128 + number
    said = capfd.readouterr().err
    assert "robustnas: Stopping after this step, with a checkpoint; a second signal stops at once." in said
    assert f"Ended by {number.name}" in said
    step = torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"]
    assert step == {"on_train_batch_start": 8, "on_train_end": 15}.get(moment, 10)
    if moment != "on_train_end":
        assert main(words) == 1  # refused
        (command,) = re.findall(r"`(robustnas fit .*)` goes on\.", said)
        again = shlex.split(command)[1:]
        assert again[-6:] == ["--run-dir", str(tmp_path), "--ckpt_path", "last", "--trust", "asked"]
        assert main([word for word in again if "callbacks" not in word]) == 0  # what has sent the signal would again
        assert len(Run(tmp_path).manifest["continued"]) == 1
    check_same(tmp_path, whole)


class Kill(Callback):
    """Ends its run without a checkpoint."""

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == 2:
            raise KeyboardInterrupt


def test_what_was_logged_before_the_first_checkpoint_is_shown_once(whole: Path, tmp_path: Path) -> None:
    words = [*SEARCH, f"--run-dir={tmp_path}", "--trainer.log_every_n_steps=1", "--trainer.max_epochs=1"]
    with contextlib.suppress(SystemExit, KeyboardInterrupt):
        main([*words, "--trainer.callbacks+=asked.Kill"])
    assert not (tmp_path / "last.ckpt").exists()
    assert len(list(tmp_path.glob("events.*"))) == 1
    assert main([*words, "--ckpt_path=auto"]) == 0
    assert [step for step, _ in points(tmp_path)["train/loss_step"]] == list(range(5))


def test_all_files_of_a_run_lie_in_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables in its name are replaced once, before anything is written; ``~`` inside a path is a name."""
    monkeypatch.setenv("PLACE", "here")
    folder = tmp_path / "$PLACE" / "a${PLACE}b" / "~" / "run"
    short = ["--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1", "--trainer.max_epochs=1"]
    assert main([*SEARCH, *short, f"--run-dir={folder}"]) == 0
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("run")] == ["here/ahereb/~/run"]
    assert [len(list(path.iterdir())) for path in (tmp_path, tmp_path / "here", tmp_path / "here/ahereb")] == [1, 1, 1]
    found = {path.name.split(".out")[0] for path in (tmp_path / "here/ahereb/~/run").iterdir()}
    assert {"config.yaml", "manifest.json", "last.ckpt", "genotype.json", "events"} <= found


def test_a_manifest_that_cannot_be_read_is_named(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "run"))
    for text, says in (("{", "be JSON, but got a truncated file"), ('{"schema": 1, "continued": 3}', "be a list, but")):
        (folder / "manifest.json").write_text(text, encoding="utf-8")
        assert main([*SEARCH, f"--run-dir={folder}", "--ckpt_path=last", "--trainer.max_epochs=4"]) == 1
        assert says in capsys.readouterr().err
        assert (folder / "manifest.json").read_text(encoding="utf-8") == text


def test_a_finished_run_is_left_as_it_is(whole: Path) -> None:
    def contents() -> dict[str, bytes]:
        paths = (path for path in whole.rglob("*") if path.is_file() and "tfevents" not in path.name)
        return {str(path): path.read_bytes() for path in paths if path.name != "manifest.json"}

    before, curves = contents(), points(whole)
    assert main([*SEARCH, f"--run-dir={whole}", "--ckpt_path=auto"]) == 0
    assert contents() == before
    assert points(whole) == curves


def test_a_folder_that_is_written_to_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with held(tmp_path):
        assert main([*SEARCH, f"--run-dir={tmp_path}"]) == 1
    assert "Expected `--run-dir` to be a folder that no other process writes to, but" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_checkpoint_is_named_and_the_one_before_offered(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("config.yaml", "manifest.json", "metrics.csv", "last.ckpt", "previous.ckpt")
    for name in names:
        (tmp_path / name).write_bytes((whole / name).read_bytes())
    last, previous = tmp_path / "last.ckpt", tmp_path / "previous.ckpt"
    last.write_bytes(last.read_bytes()[:20_000])
    words = [*SEARCH, f"--run-dir={tmp_path}"]
    assert main([*words, "--ckpt_path=last"]) == 1
    said = capsys.readouterr().err
    assert f"to be a checkpoint of robustnas, but reading {last} fails with " in said
    assert said.endswith(f"; the previous checkpoint is intact: `--ckpt_path {previous}`\n")
    good = previous.read_bytes()
    assert main([*words, f"--ckpt_path={previous}", "--trainer.max_epochs=4"]) == 0
    assert torch.load(last, weights_only=True)["global_step"] == 20
    assert previous.read_bytes() != good  # replaced by whole ones only
    assert torch.load(previous, weights_only=True)["global_step"] == 18
    for path in (last, previous):
        path.write_bytes(b"nothing")
    capsys.readouterr()
    assert main([*words, "--ckpt_path=auto"]) == 1
    assert "the one before" not in capsys.readouterr().err


def test_the_checkpoint_before_is_kept_unless_it_is_damaged(tmp_path: Path) -> None:
    last, previous = tmp_path / "last.ckpt", tmp_path / "previous.ckpt"
    plugin = AtomicCheckpoints()
    for number in range(3):
        plugin.save_checkpoint({"number": number}, last)
    assert [torch.load(path, weights_only=True)["number"] for path in (last, previous)] == [2, 1]
    last.write_bytes(b"damaged")
    another = AtomicCheckpoints()
    assert another.load_checkpoint(previous, weights_only=True) == {"number": 1}
    another.save_checkpoint({"number": 3}, last)
    assert [torch.load(path, weights_only=True)["number"] for path in (last, previous)] == [3, 1]
    another.save_checkpoint({"number": 4}, tmp_path / "epoch=1.ckpt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch=1.ckpt", "last.ckpt", "previous.ckpt"]
    with pytest.raises(AttributeError):
        another.save_checkpoint({"number": lambda: 0}, last)  # which cannot be written
    assert torch.load(last, weights_only=True) == {"number": 3}


def test_a_second_signal_ends_at_once_but_not_the_echo_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, int]] = []
    now = [10.0]
    monkeypatch.setattr(interruption.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(interruption.os, "kill", lambda process, number: sent.append((process, number)))
    asked, before = Interruption(), signal.getsignal(signal.SIGTERM)
    asked.note(signal.SIGINT, None)
    now[0] = 10.5  # torchrun passes on what the terminal has sent to all already
    asked.note(signal.SIGTERM, None)
    assert (asked.asked, sent) == (signal.SIGINT, [])
    now[0] = 12.0
    asked.note(signal.SIGTERM, None)
    assert sent == [(os.getpid(), signal.SIGTERM)]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    signal.signal(signal.SIGTERM, before)


def test_slurm_is_asked_to_start_the_job_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    """The signal that comes before the time limit; Lightning would save in the middle of a step."""
    script = tmp_path / "bin" / "scontrol"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n', encoding="utf-8")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    slurm = {"NTASKS": "1", "JOB_NAME": "search", "JOB_ID": "4711", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}
    for name, value in {**slurm, "NTASKS_PER_NODE": "1", "NODELIST": "here"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    words = [*SEARCH, "--trainer.max_epochs=2", f"--run-dir={tmp_path / 'run'}"]
    ask = ["--trainer.callbacks+=asked.Ask", "--trainer.callbacks.moment=on_train_batch_start"]
    with pytest.raises(Interrupted) as ended:
        main([*words, *ask, f"--trainer.callbacks.number={int(signal.SIGUSR1)}"])
    assert ended.value.code == 0
    assert (tmp_path / "asked").read_text(encoding="utf-8") == "requeue 4711\n"
    assert not list((tmp_path / "run").glob("hpc_ckpt_*"))
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert main(words) == 0  # the very same command
    assert [row["epoch"] for row in rows(tmp_path / "run")] == ["0", "1"]
    capfd.readouterr()


def test_steps_between_checkpoints_are_a_number(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Expected `checkpoint_every` to be 0 or a number of steps, but got -1"):
        LastCheckpoint(tmp_path, -1)
