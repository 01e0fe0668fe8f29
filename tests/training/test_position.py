"""A run goes on exactly from a checkpoint of any step: the last of an epoch, before its validation, among them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint
from robustnas.diagnostics import Diagnostics
from robustnas.variants import DARTSPT, PCDARTS, RobustDARTS
from runs import SMALLEST, StopAfter, differing, fit, rows, search, state
from test_adaptive import Scripted, adaptive
from test_watch import At

from robustnas.strategies import LargestDrop, ShareThreshold, SkipDominance, Unrolled
from robustnas.training.lightning.loops import steps_over
from robustnas.training.search import SearchModule

pytestmark = pytest.mark.usefixtures("few_samples", "no_pictures", "known_costs")

SMALL: dict[str, Any] = {**SMALLEST["NASBench201"], "channels": 4, "image_channels": 1}
SEARCHES: dict[str, tuple[int, Callable[[], SearchModule]]] = {
    "plain": (2, search),
    "stopped early": (4, lambda: RobustDARTS(stopping=At(1, 0), **SMALL)),
    "sent back": (6, lambda: adaptive(Scripted)),
    "pruned": (3, lambda: search(pruning=ShareThreshold(0.0, 1.0), alpha_init=0.3, arch_lr=0.03)),
    "selecting": (1, lambda: DARTSPT(selection=LargestDrop("loss", finetune=1), **SMALL)),
    "selecting, stopped": (
        3,
        lambda: DARTSPT(selection=LargestDrop("loss", finetune=2), stopping=SkipDominance(max_skips=0), **SMALL),
    ),
    "β, late α": (3, lambda: PCDARTS(arch_start=1, **SMALL)),
    "second order": (2, lambda: search(gradient=Unrolled(), drop_path=0.2)),
}
WATCHED = ("plain", "stopped early", "selecting, stopped")
TIMED = {"diagnostics/share"}


class EveryStep(Checkpoint):
    """A checkpoint after every step, and after every batch of validation where an epoch ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        trainer.save_checkpoint(self.folder / f"{trainer.global_step}.ckpt")

    def on_validation_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        if not trainer.sanity_checking:
            assert steps_over(trainer)
            trainer.save_checkpoint(self.folder / f"{trainer.global_step} in validation.ckpt")


def untimed(running: Trainer) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name not in TIMED} for row in rows(running)]


def check(folder: Path, name: str, last_steps: bool, **limits: int) -> None:
    epochs, make = SEARCHES[name]

    def run(where: str, path: Path | None = None, *callbacks: Callback) -> Trainer:
        watching = [Diagnostics(budget=None)] if name in WATCHED else []
        return fit(
            folder / where,
            make(),
            path,
            max_epochs=epochs,
            callbacks=[*callbacks, *watching],
            enable_checkpointing=bool(callbacks),
            **limits,
        )

    whole = run("whole", None, EveryStep(folder))
    expected, expected_rows = state(whole), untimed(whole)
    checkpoints = sorted(folder.glob("*.ckpt"), key=lambda path: (int(path.stem.split()[0]), path.stem))
    held = [torch.load(path, weights_only=True) for path in checkpoints]
    ending = [checkpoint["robustnas"]["position"]["validation"] for checkpoint in held]
    assert sum(ending) == 2 * len(expected_rows)
    for path, ends in zip(checkpoints, ending, strict=True):
        if last_steps and not ends:
            continue
        resumed = run(path.stem, path)
        assert differing(state(resumed), expected) == [], path
        assert untimed(resumed) == expected_rows, path
        assert resumed.global_step == whole.global_step
        module, other = resumed.lightning_module, whole.lightning_module
        assert module.genotype() == other.genotype()
        assert (
            "perturbation_selection" not in module.hooks
            or module.hooks["perturbation_selection"].entries == other.hooks["perturbation_selection"].entries
        )
        files = [folder / where / "genotype.json" for where in (path.stem, "whole")]
        assert files[0].read_bytes() == files[1].read_bytes(), path


@pytest.mark.slow
def test_a_run_goes_on_from_the_last_steps_of_its_epochs(tmp_path: Path) -> None:
    check(tmp_path, "stopped early", last_steps=True, limit_train_batches=2, limit_val_batches=2)


@pytest.mark.slow
@pytest.mark.parametrize("name", SEARCHES)
def test_a_run_goes_on_from_any_step(tmp_path: Path, name: str) -> None:
    check(tmp_path, name, last_steps=False)


def test_a_loss_that_is_not_counted_yet_has_no_value(tmp_path: Path) -> None:
    """Interrupted after the last step of an epoch in which α rests."""
    make = SEARCHES["β, late α"][1]
    with pytest.raises(RuntimeError, match="killed"):
        fit(tmp_path, make(), max_epochs=2, callbacks=[EveryStep(tmp_path), StopAfter(5)], enable_checkpointing=True)
    resumed = fit(tmp_path / "resumed", make(), tmp_path / "5.ckpt", max_epochs=2)
    whole = fit(tmp_path / "whole", make(), max_epochs=2)
    assert rows(resumed) == rows(whole)
    assert ["arch/loss" in row for row in rows(resumed)] == [False, True]


def test_without_validation_the_next_epoch_follows_and_begins_as_it_should(tmp_path: Path) -> None:
    """The row of the epoch is missing, as documented."""
    options = {"limit_val_batches": 0, "max_epochs": 3}
    saver = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=5, save_top_k=-1)
    whole = fit(tmp_path / "whole", callbacks=[saver], **options)
    resumed = fit(tmp_path / "resumed", ckpt_path=tmp_path / "step=5.ckpt", **options)
    assert differing(state(resumed), state(whole)) == []
    assert rows(resumed) == rows(whole)[1:]
    assert [row["epoch"] for row in rows(resumed)] == [1, 2]
