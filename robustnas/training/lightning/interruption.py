"""How a run ends when it is asked to: after its step, with a checkpoint, on all processes together."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from pytorch_lightning import Trainer

from robustnas.training.processes import process

SAME = 1.0  # seconds within which a launcher passes on what its processes have got themselves


class Interrupted(SystemExit):
    """The run has ended because it was asked to; its code is 128 and the number of the signal, as shells have it."""


class Interruption:
    """Asks the run to end after its step at the first signal; one more than a second later ends the process at once."""

    def __init__(self) -> None:
        self.asked = 0
        self._since = 0.0
        self._launcher: Any = None

    def install(self, trainer: Trainer) -> None:
        """Take the place of Lightning's handlers, which raise in the middle of a step, until the trainer ends."""
        self._launcher = trainer.strategy.launcher
        if threading.current_thread() is not threading.main_thread():
            return
        wanted = [signal.SIGINT, signal.SIGTERM]
        if hasattr(signal, "SIGUSR1") and callable(signal.getsignal(signal.SIGUSR1)):  # set where SLURM requeues
            wanted.append(signal.SIGUSR1)
        for number in wanted:
            signal.signal(number, self.note)

    def note(self, number: int, frame: FrameType | None) -> None:
        """What the operating system calls."""
        now = time.monotonic()
        if not self.asked:
            self.asked, self._since = number, now
            if process()[0] == 0:
                _write("\nrobustnas: Stopping after this step, with a checkpoint; a second signal stops at once.\n")
        elif now - self._since > SAME:
            if self._launcher is not None:
                self._launcher.kill(signal.SIGKILL)
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def agreed(self, trainer: Trainer) -> int:
        """The signal that any process has got, or 0; all processes must ask at the same step."""
        if trainer.world_size > 1 and dist.is_initialized():
            number = torch.tensor(self.asked, device=trainer.strategy.root_device)
            dist.all_reduce(number, dist.ReduceOp.MAX)
            self.asked = int(number)
        return self.asked

    def end(self, trainer: Trainer, checkpoint: Path, again: str, over: bool = False) -> NoReturn:
        name = signal.Signals(self.asked).name
        where = f"Ended by {name} in epoch {trainer.current_epoch}, after step {trainer.global_step}."
        said = f"Ended by {name}." if over else f"{where} {checkpoint} holds the complete run."
        _say(trainer, f"{said} {again} goes on." if again else said)
        requeue = self.asked == getattr(signal, "SIGUSR1", None)
        if requeue and trainer.is_global_zero and not over:
            _requeue(trainer)
        raise Interrupted(128 + self.asked if trainer.is_global_zero and not requeue else 0)


def end_at_once(doing: str) -> None:
    """From now on until the trainer ends, a signal ends the process at once, without a checkpoint to go on from."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        _write(f"\nrobustnas: Ended by {signal.Signals(number).name} while {doing}.\n")
        raise Interrupted(128 + number)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, end)


def _requeue(trainer: Trainer) -> None:
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{task}" if array else os.environ.get("SLURM_JOB_ID", "")
    try:
        subprocess.run(["scontrol", "requeue", job], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        _say(trainer, f"SLURM was asked to start job {job} again, but that failed: {error}.")


def _say(trainer: Trainer, sentence: str) -> None:
    if trainer.is_global_zero:
        print(f"\nrobustnas: {sentence}", file=sys.stderr, flush=True)


def _write(text: str) -> None:
    with contextlib.suppress(OSError):  # nobody may be reading it
        os.write(2, text.encode())  # a handler must not enter a stream that the process may be writing to
