"""When a run is saved, how its checkpoints are written, and from which a run can continue."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from robustnas.runtime.atomic_files import keep_copy, open_atomically
from robustnas.runtime.safe_files import load_checkpoint
from robustnas.training.changes import Options, changes_of
from robustnas.training.description import KEY
from robustnas.training.lightning.contents import check_contents, check_optimizer
from robustnas.training.lightning.events import flush, settle
from robustnas.training.lightning.interruption import Interruption
from robustnas.training.lightning.loggers import RunLogger
from robustnas.training.lightning.loops import ends_after, loop_states, steps_over

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"


class AtomicCheckpoints(TorchCheckpointIO):
    """Checkpoints are written completely or not at all; the one before ``last.ckpt`` stays as ``previous.ckpt``."""

    def __init__(self) -> None:
        super().__init__()
        self._good: set[Path] = set()

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        if "://" in str(path) or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        path = Path(path)
        with open_atomically(path) as file:
            torch.save(checkpoint, file)
            if path.name == LAST and path.resolve() in self._good:  # a damaged one must not replace the one before
                keep_copy(path, PREVIOUS)
        self._good.add(path.resolve())

    def load_checkpoint(self, path: Any, *args: Any, **options: Any) -> dict[str, Any]:
        checkpoint: dict[str, Any] = super().load_checkpoint(path, *args, **options)
        self._good.add(Path(path).resolve())
        return checkpoint


class LastCheckpoint(Checkpoint):
    """Keeps ``last.ckpt``, from which a run goes on as if it had not been interrupted.

    It is written after each epoch, after ``every`` steps inside an epoch (0 for never), and when the run is asked to
    end, at the next step or in the validation (:class:`~robustnas.training.lightning.interruption.Interruption`). The
    one at the end of training comes last of all files, so that a run that is killed before does the rest again.
    ``again`` is the command that goes on with an interrupted run, ``more`` whether it has more to do when this is over.
    """

    def __init__(self, folder: str | Path, every: int = 0, again: str | None = None, more: bool = False) -> None:
        if every < 0:
            raise ValueError(f"Expected `checkpoint_every` to be 0 or a number of steps, but got {every}.")
        self.path, self.every = Path(folder) / LAST, every
        self.again = f"`{again}`" if again else f"The same command with `--run-dir {folder} --ckpt_path last`"
        self.more = more
        self.interruption = Interruption()
        self._logged: dict[str, float] = {}

    def state_dict(self) -> dict[str, Any]:
        return {"logged": self._logged}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._logged = dict(state_dict["logged"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Heed signals from now on; what an interrupted run logged after its checkpoint, or without one, is void."""
        self.interruption.install(trainer)
        own = trainer.ckpt_path is not None and Path(trainer.ckpt_path).parent.resolve() == self.path.parent.resolve()
        step = trainer.global_step if own else 0
        again = own and getattr(pl_module, "resumed", {}).get("validation", False)
        for logger in trainer.loggers:
            # a validation logs at the step before it
            if isinstance(logger, RunLogger) and logger.go_on(step - 1 if again else step) and again:
                logger.log_metrics(self._logged, step - 1)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """Save inside an epoch; after its last step the checkpoint of the epoch follows soon."""
        asked = self.interruption.agreed(trainer)
        if trainer.is_last_batch:
            self._logged = settle(trainer, epoch=False)
        if asked or (self.every and trainer.global_step % self.every == 0 and not trainer.is_last_batch):
            settle(trainer, epoch=False)
            self._save(trainer)
        if asked:
            self.interruption.end(trainer, self.path, self.again)

    def on_validation_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """End in the validation of an epoch, too; several processes have not the same number of batches there."""
        if self.interruption.asked and trainer.world_size == 1 and steps_over(trainer):
            self._save(trainer)
            self.interruption.end(trainer, self.path, self.again)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        asked = self.interruption.agreed(trainer)
        if ends_after(trainer):
            return
        settle(trainer, epoch=True)
        self._save(trainer)
        if asked:
            self.interruption.end(trainer, self.path, self.again)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go no further where the run was asked to end: to no test, and to no other run."""
        if self.interruption.agreed(trainer):
            self.interruption.end(trainer, self.path, self.again if self.more else "", over=True)

    def _save(self, trainer: Trainer) -> None:
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            flush(trainer)
            trainer.save_checkpoint(self.path, weights_only=False)


def readable(path: Path) -> bool:
    """Whether a checkpoint is complete and one of this library."""
    return fault(path) is None


def fault(path: Path) -> str | None:
    """What is wrong with a checkpoint, or ``None``; nothing in it is executed."""
    try:
        read(path)
    except Exception as error:  # a damaged file can raise nearly anything
        return " ".join([f"{type(error).__name__}:", *str(error).splitlines()[:1]])
    return None


def read(path: Path) -> tuple[dict[str, Any], str]:
    """A checkpoint, and the class path of the module that it holds."""
    checkpoint = load_checkpoint(path)
    return checkpoint, str(checkpoint[KEY]["module"]["class_path"])


def check_checkpoint(path: str | Path, module: LightningModule, trainer: Trainer, given: Options | None = None) -> None:
    """Refuse a checkpoint from which the run cannot continue."""
    if (reason := fault(Path(path))) is not None:
        before = Path(path).with_name(PREVIOUS)
        offered = Path(path).name == LAST and before.is_file() and readable(before)
        hint = f"; the previous checkpoint is intact: `--ckpt_path {before}`" if offered else ""
        raise ValueError(
            f"Expected `--ckpt_path` to be a checkpoint of robustnas, but reading {path} fails with {reason}{hint}"
        )
    checkpoint, class_path = read(Path(path))
    held, name = class_path.rpartition(".")[2], type(module).__name__
    if held != name:
        raise ValueError(
            f"Expected `--ckpt_path` to hold a search or evaluation by {name}, but {path} holds one by {held}."
        )
    check_contents(checkpoint, str(path), loop_states(trainer))
    _check_callbacks(checkpoint, [*trainer.callbacks, *module.configure_callbacks()], str(path))  # type: ignore[attr-defined, misc]
    if given is not None:
        changes_of(checkpoint, given, getattr(module, "trains_on", False))
    states = (module.state_dict(), checkpoint["state_dict"])
    own, saved = ({key: getattr(value, "shape", None) for key, value in state.items()} for state in states)
    if other := [key for key in {**own, **saved} if own.get(key, 0) != saved.get(key, 0)]:
        raise ValueError(
            f"Expected `--ckpt_path` to hold the network that the options describe, but {path} holds another one, "
            f"which differs in {other[0]}; the config.yaml beside it describes it."
        )
    made: Any = module.configure_optimizers()
    optimizers = made[0] if isinstance(made, tuple) and isinstance(made[0], list) else []  # as this library names them
    for states, optimizer in zip(checkpoint["optimizer_states"], optimizers, strict=False):
        check_optimizer(states, optimizer.state_dict(), str(path))


def _check_callbacks(checkpoint: dict[str, Any], callbacks: list[Any], name: str) -> None:
    """Refuse states that callbacks cannot take."""
    for callback in callbacks:
        state = checkpoint["callbacks"].get(callback.state_key)
        try:
            if state is not None:
                copy.copy(callback).load_state_dict(copy.deepcopy(state))
        except Exception as error:  # a damaged state can raise nearly anything
            reason = " ".join([f"{type(error).__name__}:", *str(error).splitlines()[:1]])
            raise ValueError(
                f"Expected {name} to hold what {type(callback).__name__} can load in `callbacks`, "
                f"but got a state that fails: {reason}"
            ) from error
