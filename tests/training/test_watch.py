"""What is measured, what is kept, and that a stopped search returns the architecture of an earlier epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from robustnas.variants import RobustDARTS
from runs import StopAfter, differing, fit, rows, search, state

from robustnas.spaces import Genotype
from robustnas.strategies import CurvatureRise, Never, SkipDominance, Stop, Stopping
from robustnas.training.hooks.early_stopping import EarlyStopping


@dataclass(frozen=True)
class At(Stopping):
    """Stops after the measurement of an epoch, whatever it was, and returns to another."""

    detected: int
    returned: int
    interval: int = 1
    monitor: ClassVar[Literal["curvature"]] = "curvature"
    samples: ClassVar[int] = 4

    def decide(self, epochs: Sequence[int], values: Sequence[float]) -> Stop | None:
        return Stop(self.detected, self.returned) if self.detected in epochs else None


def strengths(level: float) -> dict[str, torch.Tensor]:
    return {"cell": torch.full((2, 3), level)}


def test_measurements_are_due_every_so_often_and_at_the_last_epoch() -> None:
    def due(rule: Stopping, epochs: int) -> list[int]:
        return [epoch for epoch in range(epochs) if EarlyStopping(rule, None).due(epoch, epochs)]

    assert due(CurvatureRise(), 10) == [0, 2, 4, 6, 8, 9]
    assert due(CurvatureRise(), 9) == [0, 2, 4, 6, 8]
    assert due(CurvatureRise(interval=1), 3) == [0, 1, 2]
    assert due(SkipDominance(interval=5), 8) == [0, 5, 7]
    assert due(Never(), 8) == []


def test_strengths_are_kept_as_they_were() -> None:
    watch, present = EarlyStopping(At(2, 1), None), strengths(0.0)
    for epoch in range(3):
        present["cell"].fill_(epoch)
        stop = watch.add(epoch, 0.5 * epoch, present)
        assert (stop == Stop(2, 1)) if epoch == 2 else (stop is None)
        assert (watch.architecture_weights() is None) == (epoch < 2)
    present["cell"].fill_(9)
    assert torch.equal(watch.architecture_weights()["cell"], torch.ones(2, 3))
    assert (watch.epochs, watch.values) == ([0, 1, 2], [0.0, 0.5, 1.0])


@dataclass(frozen=True)
class Fickle(At):
    """Would stop at every measurement, and changes its mind on where to return."""

    def decide(self, epochs: Sequence[int], values: Sequence[float]) -> Stop | None:
        return Stop(epochs[-1], epochs[-1])


def test_a_decision_stands() -> None:
    watch = EarlyStopping(Fickle(0, 0), None)
    assert [watch.add(epoch, 1.0, strengths(epoch)) for epoch in range(3)] == [Stop(0, 0)] * 3


def test_the_last_epoch_is_judged_by_rules_that_want_it() -> None:
    for rule, values, stops in (
        (CurvatureRise(interval=1), [0.1] * 16 + [1.0], False),
        (SkipDominance(), [0.0] * 16 + [3.0], True),
    ):
        for epochs, expected in ((17, stops), (18, True), (None, True)):
            watch = EarlyStopping(rule, None)
            found = [watch.add(epoch, value, strengths(epoch), epochs) for epoch, value in enumerate(values)]
            assert found[:-1] == [None] * 16
            assert (found[-1] is not None) == expected, (rule, epochs)


@pytest.mark.parametrize("count", [0, 2, 3])
def test_its_state_makes_the_round_trip_through_a_checkpoint(tmp_path, count: int) -> None:
    watch = EarlyStopping(At(2, 1), None)
    for epoch in range(count):
        watch.add(epoch, 0.1 + epoch, strengths(epoch))
    torch.save(watch.state_dict(), tmp_path / "watch.ckpt")
    other = EarlyStopping(At(2, 1), None)
    other.load_state_dict(torch.load(tmp_path / "watch.ckpt", weights_only=True))
    assert (other.epochs, other.values, other.stop) == (watch.epochs, watch.values, watch.stop)
    assert other.kept.keys() == watch.kept.keys()
    assert all(torch.equal(other.kept[epoch]["cell"], watch.kept[epoch]["cell"]) for epoch in watch.kept)
    assert (other.architecture_weights() is None) == (count < 3)
    other.load_state_dict(watch.state_dict())
    other.add(7, 0.5, strengths(7))
    assert len(watch.epochs) == len(watch.values) == len(watch.kept) == count  # nothing is shared


class Note(Callback):
    """The genotype and the measured value at the end of each epoch."""

    def __init__(self) -> None:
        self.genotypes: list[Genotype] = []
        self.values: list[float] = []

    def on_train_epoch_end(self, trainer: Trainer, module: RobustDARTS) -> None:
        with torch.no_grad():
            self.genotypes.append(module.selection.genotype(module.space, module.architecture_weights()))
        if "arch/curvature" in trainer.callback_metrics:
            self.values.append(float(trainer.callback_metrics["arch/curvature"]))


def robust(**options: Any) -> RobustDARTS:
    return RobustDARTS(
        **{"space": "NASBench201", "cells": 1, "channels": 4, "image_channels": 1, "arch_lr": 0.03, **options}
    )


def test_a_stopped_search_returns_the_genotype_of_the_earlier_epoch(tmp_path) -> None:
    note = Note()
    module = robust(stopping=At(2, 0))
    running = fit(tmp_path, module, max_epochs=6, callbacks=[note])
    assert running.current_epoch == 3
    assert len(note.values) == 3
    assert (
        note.values == torch.tensor(module.hooks["early_stopping"].values, dtype=torch.float32).tolist()
    )  # as they are logged
    assert all(value > module.arch_weight_decay for value in note.values)
    assert note.genotypes[0] != note.genotypes[2]
    assert module.genotype() == note.genotypes[0]
    assert (tmp_path / "genotype.json").read_text() == (tmp_path / "genotypes/epoch_0000.json").read_text()


def test_skip_connections_are_counted_in_the_genotype(tmp_path) -> None:
    module = search("S2", channels=2, stopping=SkipDominance(max_skips=8))
    running = fit(tmp_path, module, max_epochs=1)
    counts = list(module.genotype().count("skip_connect").values())
    assert module.hooks["early_stopping"].values == [counts[0]]
    assert float(running.callback_metrics["arch/skips"]) == counts[0]


@pytest.mark.slow
def test_watching_changes_nothing_in_a_search_that_goes_on(tmp_path) -> None:
    plain = fit(tmp_path / "a", search(), max_epochs=2)
    watched = fit(tmp_path / "b", search(stopping=CurvatureRise(interval=1)), max_epochs=2)
    assert differing(state(plain), state(watched)) == []


@pytest.mark.parametrize(
    "when",
    [
        pytest.param({"save_on_train_epoch_end": True}, marks=pytest.mark.slow, id="epoch"),
        pytest.param({"every_n_train_steps": 4}, id="step"),
    ],
)
def test_a_resumed_search_stops_where_the_undisturbed_one_does(tmp_path: Path, when: dict[str, Any]) -> None:
    def made() -> RobustDARTS:
        return robust(stopping=At(2, 1), drop_path=0.3)

    short: dict[str, Any] = {"max_epochs": 5, "limit_train_batches": 3}
    whole = fit(tmp_path / "whole", made(), **short)
    saver = ModelCheckpoint(tmp_path / "cut", "last", enable_version_counter=False, **when)
    with pytest.raises(RuntimeError, match="killed"):
        fit(tmp_path / "cut", made(), callbacks=[saver, StopAfter(6)], **short)
    resumed = fit(tmp_path / "cut", made(), tmp_path / "cut/last.ckpt", **short)
    assert whole.current_epoch == resumed.current_epoch == 3
    assert differing(state(resumed), state(whole)) == []
    assert rows(resumed) == rows(whole)
    first, second = whole.lightning_module.hooks["early_stopping"], resumed.lightning_module.hooks["early_stopping"]
    assert (second.epochs, second.values, second.stop) == (first.epochs, first.values, Stop(2, 1))
    assert all(torch.equal(second.kept[epoch]["cell"], first.kept[epoch]["cell"]) for epoch in range(3))
    for file in ("genotype.json", "genotypes/epoch_0002.json"):
        assert (tmp_path / "cut" / file).read_text() == (tmp_path / "whole" / file).read_text()
