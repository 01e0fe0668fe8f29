"""Going back and going on with more weight decay: what is restored, what is run again, and that it resumes."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from robustnas.variants import DARTS, RobustDARTS
from runs import SMALLEST, differing, fit, rows, state

from robustnas.strategies import CurvatureRise, LpSparsity, RaiseDecay, RandomPerturbation, ShareThreshold, Unrolled
from robustnas.training.description import load
from robustnas.training.rollback import AdaptiveWatch, restore, state_of
from robustnas.training.search import SearchModule

RULE = CurvatureRise(window=1, lag=2, start=0, every=1)
VALUES = [[1, 1, 1, 2, 9, 9], [1, 1, 1, 1, 2, 9], [1, 9, 99, 999, 9999, 99999]]  # by increase and epoch
EPOCHS = [0, 1, 2, 3, 2, 3, 4, 3, 4, 5]  # back from 3 to 1, back from 4 to 2, and then no more
FIRST, SECOND, END = 20, 35, 50  # steps at the ends of these ways


class Scripted(RobustDARTS):
    """The eigenvalues are given."""

    def dominant_eigenvalue(self, batch: Any) -> float:
        return float(VALUES[self.watch.raised][self.current_epoch])


def adaptive(kind: type[RobustDARTS] = Scripted, **options: Any) -> RobustDARTS:
    given = {**SMALLEST["NASBench201"], "channels": 4, "image_channels": 1, "arch_lr": 0.03, **options}
    return kind(**{"stopping": RaiseDecay(RULE), **given})


def run(folder: Path, module: SearchModule, ckpt_path: Path | None = None, **options: Any) -> Trainer:
    return fit(folder, module, ckpt_path, max_epochs=6, **options)


def decay_of(running: Trainer) -> float:
    return running.optimizers[0].param_groups[0]["weight_decay"]


class Kept(Callback):
    """The state at the end of each epoch, after a return; and what is logged there."""

    def __init__(self) -> None:
        self.states: list[dict[str, torch.Tensor]] = []
        self.decays: list[float] = []

    def on_train_epoch_start(self, trainer: Trainer, module: Any) -> None:
        self.states.append(state(trainer))
        self.decays.append(decay_of(trainer))


def test_epochs_are_run_again_with_more_decay_until_it_would_be_too_much(tmp_path) -> None:
    kept, module = Kept(), adaptive()
    running = run(tmp_path, module, callbacks=[kept])
    assert [row["epoch"] for row in rows(running)] == EPOCHS
    assert [row["step"] for row in rows(running)] == list(range(5, END + 1, 5))
    assert (running.global_step, running.current_epoch) == (END, 6)
    decays = [3e-4] * 4 + [3e-3] * 3 + [3e-2] * 3
    assert kept.decays == pytest.approx(decays, rel=1e-12)
    assert [row["arch/weight_decay"] for row in rows(running)] == pytest.approx(decays, rel=1e-6)
    assert [row["arch/curvature"] for row in rows(running)] == [1, 1, 1, 2, 1, 1, 2, 999, 9999, 99999]
    assert module.watch.epochs == [0, 1, 2, 3, 4, 5]
    assert module.watch.values == [1, 1, 1, 999, 9999, 99999]
    assert (module.watch.left, module.watch.stop, module.watch.states) == (0, None, {})


def test_after_a_return_the_search_is_bit_for_bit_as_at_the_end_of_that_epoch(tmp_path) -> None:
    kept = Kept()
    run(tmp_path, adaptive(edge_weights=True), callbacks=[kept])
    starts = kept.states  # of the epochs in EPOCHS
    for again, first in ((4, 2), (7, 5)):
        assert EPOCHS[again] == EPOCHS[first]
        assert differing(starts[again], starts[first]) == []
        assert {"alphas.cell", "betas.cell", "optimiser 0 lr"} <= set(differing(starts[again], starts[again - 1]))


SEARCHES: dict[str, dict[str, Any]] = {
    "second order": {"gradient": Unrolled()},
    "learned edges, a penalty, pruning": {
        "edge_weights": True,
        "penalty": LpSparsity(),
        "pruning": ShareThreshold(0.15, 0.5),
    },
}


@pytest.mark.parametrize("name", SEARCHES)
def test_it_is_a_run_loaded_from_that_epoch_with_the_larger_decay(tmp_path, name: str) -> None:
    options = SEARCHES[name]

    def from_checkpoint(folder: str, start: Path | None, decay: float) -> Trainer:
        if start is not None:
            checkpoint = torch.load(start, weights_only=True)
            checkpoint["optimizer_states"][0]["param_groups"][0]["weight_decay"] = decay
            torch.save(checkpoint, start)
        saver = ModelCheckpoint(tmp_path / folder, "{epoch}", save_top_k=-1, save_on_train_epoch_end=True)
        module = DARTS(**{**SMALLEST["NASBench201"], "channels": 4, "image_channels": 1, "arch_lr": 0.03, **options})
        return run(tmp_path / folder, module, start, callbacks=[saver])

    from_checkpoint("a", None, 3e-4)
    from_checkpoint("b", tmp_path / "a/epoch=1.ckpt", 3e-3)
    expected = from_checkpoint("c", tmp_path / "b/epoch=2.ckpt", 3e-2)
    module = adaptive(**options)
    found = run(tmp_path / "d", module)
    assert decay_of(found) == pytest.approx(3e-2)
    assert differing(state(found), state(expected)) == []
    last, wanted = rows(found)[-3:], rows(expected)[-3:]
    for one, other in zip(last, wanted, strict=True):
        assert all(one[key] == value for key, value in other.items() if key != "step")
    plain = run(tmp_path / "e", DARTS(**{**module.description["init_args"], "stopping": None}) if False else from_plain(options))
    assert "supernet.body.classifier.weight" in differing(state(found), state(plain))


def from_plain(options: dict[str, Any]) -> DARTS:
    return DARTS(**{**SMALLEST["NASBench201"], "channels": 4, "image_channels": 1, "arch_lr": 0.03, **options})


class StopAfter(Callback):
    """Interrupts a run as a killed process is."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            raise RuntimeError("killed")


CUTS = {
    "before, at an epoch": (18, {"save_on_train_epoch_end": True}),
    "at the return": (FIRST + 2, {"save_on_train_epoch_end": True}),
    "decided, not done": (FIRST + 2, {"every_n_train_steps": 4}),
    "decided, measured": (FIRST + 2, {"save_on_train_epoch_end": False}),
    "inside an epoch run again": (FIRST + 6, {"every_n_train_steps": 4}),
    "after the second": (SECOND + 8, {"every_n_train_steps": 7}),
}


@pytest.mark.parametrize("name", CUTS)
def test_a_resumed_search_is_the_undisturbed_one_bit_for_bit(tmp_path: Path, name: str) -> None:
    step, when = CUTS[name]

    def made() -> RobustDARTS:
        return adaptive(drop_path=0.3, perturbation=RandomPerturbation(), pruning=ShareThreshold(0.1, 0.3))

    whole = run(tmp_path / "whole", made())
    saver = ModelCheckpoint(tmp_path / "cut", "last", enable_version_counter=False, **when)
    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path / "cut", made(), callbacks=[saver, StopAfter(step)])
    resumed = run(tmp_path / "cut", made(), tmp_path / "cut/last.ckpt")
    assert resumed.global_step == whole.global_step == END
    assert differing(state(resumed), state(whole)) == []
    assert rows(resumed) == rows(whole)
    assert decay_of(resumed) == decay_of(whole)
    first, second = whole.lightning_module.watch, resumed.lightning_module.watch
    assert (second.epochs, second.values, second.raised) == (first.epochs, first.values, 2)
    assert torch.equal(second.early["cell"], first.early["cell"])
    for file in ("genotype.json", "genotypes/epoch_0003.json"):
        assert (tmp_path / "cut" / file).read_text() == (tmp_path / "whole" / file).read_text()
