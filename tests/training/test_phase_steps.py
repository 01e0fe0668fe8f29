"""The steps of a phase of selection: their sizes, where they begin after a stop, and that they resume exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from phases import TINY, Snapshots, briefly, tiny
from pytorch_lightning.callbacks import ModelCheckpoint
from runs import StopAfter, differing, rows, state
from test_watch import At

from robustnas.strategies import LargestDrop, RandomPerturbation
from robustnas.training.search import SearchModule


@pytest.mark.slow
@pytest.mark.parametrize(("lr", "wanted"), [(None, 0.0025), (0.004, 0.004)])
def test_schedules_are_those_of_the_search_and_the_phase_has_a_constant_step(
    tmp_path: Path, lr: float | None, wanted: float
) -> None:
    seen, plain = Snapshots(), Snapshots()
    running = briefly(tmp_path / "a", tiny(LargestDrop(finetune=1, lr=lr)), max_epochs=2, callbacks=[seen])
    briefly(tmp_path / "b", SearchModule(TINY, 4, 3, image_channels=1), max_epochs=2, callbacks=[plain])
    assert [seen.lr[epoch] for epoch in range(2)] == [plain.lr[epoch] for epoch in range(2)]
    assert [seen.lr[epoch] for epoch in range(2, 8)] == [wanted] * 6
    assert [seen.momentum[epoch] for epoch in range(8)] == [epoch not in (0, 2) for epoch in range(8)]
    assert running.max_epochs == 2  # as it was given
    assert running.current_epoch == 8
    module: Any = running.lightning_module
    context = module.context("weights")
    assert (context.epoch, context.epochs) == (2, 2)


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "drop path, smoothed": {"drop_path": 0.3, "perturbation": RandomPerturbation()},
}


SAVES: dict[str, tuple[int, dict[str, Any]]] = {
    "inside an epoch of the phase": (6, {"every_n_train_steps": 5}),
    "after the search": (2, {"save_on_train_epoch_end": True}),
    "between epochs of the phase": (8, {"save_on_train_epoch_end": True}),
}


@pytest.mark.parametrize(
    ("case", "places"),
    [
        ("plain", list(SAVES)[:1]),
        pytest.param("plain", list(SAVES)[1:], marks=pytest.mark.slow),
        pytest.param("drop path, smoothed", list(SAVES), marks=pytest.mark.slow),
    ],
)
def test_a_phase_that_is_resumed_is_the_undisturbed_one(tmp_path: Path, case: str, places: list[str]) -> None:
    whole = briefly(tmp_path / "whole", tiny(**CASES[case]))
    module: Any = whole.lightning_module
    expected, entries = state(whole), module.hooks["perturbation_selection"].entries
    assert whole.global_step == 14
    for where in places:
        step, when = SAVES[where]
        folder = tmp_path / where
        saver = ModelCheckpoint(folder, "last", enable_version_counter=False, **when)
        with pytest.raises(RuntimeError, match="killed"):
            briefly(folder, tiny(**CASES[case]), callbacks=[saver, StopAfter(step)])
        resumed = briefly(folder, tiny(**CASES[case]), folder / "last.ckpt")
        assert resumed.global_step == 14, where
        assert differing(state(resumed), expected) == [], where
        again: Any = resumed.lightning_module
        assert again.hooks["perturbation_selection"].entries == entries, where
        assert again.genotype() == module.genotype(), where
        assert rows(resumed) == rows(whole), where


@pytest.mark.slow
def test_a_finished_phase_is_not_begun_again(tmp_path: Path) -> None:
    running = briefly(tmp_path, tiny())
    running.save_checkpoint(tmp_path / "end.ckpt")
    before: Any = running.lightning_module
    again = briefly(tmp_path, tiny(), tmp_path / "end.ckpt")
    module: Any = again.lightning_module
    assert again.global_step == running.global_step
    assert module.genotype() == before.genotype()
    assert module.hooks["perturbation_selection"].entries == before.hooks["perturbation_selection"].entries


@pytest.mark.slow
def test_a_stopped_search_selects_at_once(tmp_path: Path) -> None:
    """The supernet is that of the stop; the epoch returned to counts for what is open."""
    seen = Snapshots()
    running = briefly(tmp_path, tiny(stopping=At(2, 1)), max_epochs=9, callbacks=[seen])
    module: Any = running.lightning_module
    assert running.current_epoch == 3 + 6
    assert module.hooks["perturbation_selection"].began == module.search_epochs == 3
    assert [one["epoch"] for one in module.hooks["perturbation_selection"].entries] == [
        epoch for epoch in range(3, 9) for _ in "nr"
    ]
    for kind, strength in module.hooks["perturbation_selection"].weights.items():
        assert torch.equal(strength, module.hooks["early_stopping"].kept[1][kind])
    assert seen.lr[3] == pytest.approx(0.0025)
    saver = ModelCheckpoint(tmp_path, "last", enable_version_counter=False, every_n_train_steps=3)
    with pytest.raises(RuntimeError, match="killed"):
        briefly(tmp_path, tiny(stopping=At(2, 1)), max_epochs=9, callbacks=[saver, StopAfter(10)])
    resumed = briefly(tmp_path, tiny(stopping=At(2, 1)), tmp_path / "last.ckpt", max_epochs=9)
    assert differing(state(resumed), state(running)) == []
    again: Any = resumed.lightning_module
    assert again.hooks["perturbation_selection"].entries == module.hooks["perturbation_selection"].entries
