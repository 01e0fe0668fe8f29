"""At which epochs headline measures are taken, whatever they cost."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger
from robustnas.diagnostics import Diagnostic, Diagnostics, default_diagnostics
from robustnas.diagnostics.schedule import is_scheduled
from runs import StopAfter, fit, rows, search
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from robustnas.data import Probe
from robustnas.training.search import SearchModule

pytestmark = pytest.mark.usefixtures("no_pictures", "known_costs")

SHORT: dict[str, Any] = {"limit_train_batches": 1, "limit_val_batches": 1}
HEADLINES = {"curvature/max", "alpha/entropy", "gap/accuracy", "shares/skip_connect", "genotype/skips_cell"}


def epochs_of(epochs: int | None, end: int, points: int = 8) -> list[int]:
    return [epoch for epoch in range(end) if is_scheduled(epoch, epochs, points)]


@pytest.mark.parametrize("epochs", [1, 2, 7, 8, 9, 10, 13, 50, 600])
def test_at_least_eight_epochs_evenly_apart_with_the_first_and_the_last(epochs: int) -> None:
    found = epochs_of(epochs, epochs + 20)  # none in the epochs of a selection that follow
    assert len(found) == min(epochs, 8)
    assert (found[0], found[-1]) == (0, epochs - 1)
    gaps = [after - before for before, after in pairwise(found)]
    assert max(gaps, default=0) - min(gaps, default=0) <= 1


@pytest.mark.parametrize("end", [1, 8, 15, 16, 17, 40, 100, 1000])
def test_of_an_open_number_of_epochs_eight_are_evenly_apart_at_any_end(end: int) -> None:
    found = epochs_of(None, end)
    interval = 1
    while interval * 16 <= end:
        interval *= 2
    assert set(range(0, end, interval)) <= set(found)
    assert len(range(0, end, interval)) >= min(end, 8)
    assert len(found) <= max(16, 8 * (end.bit_length() - 2))


@pytest.mark.parametrize("points", [9, 20, 40])
def test_as_many_epochs_as_asked_for(points: int) -> None:
    found = epochs_of(40, 60, points)
    assert (len(found), found[0], found[-1]) == (points, 0, 39)
    assert len(epochs_of(None, 1000, points)) >= points


class Recorded(Diagnostic):
    """Notes when it is asked to measure."""

    def __init__(self, headline: bool = True, **shared: Any) -> None:
        super().__init__(**shared)
        self.headline, self.epochs = headline, list[int]()

    def measure(self, search: SearchModule, probe: Probe) -> dict[str, float]:
        self.epochs.append(search.current_epoch)
        return {"recorded/epoch": float(search.current_epoch)}


class Rest(Recorded):
    """Another class, since there is one of each."""


def recorded(folder: Path, **options: Any) -> tuple[list[int], list[int]]:
    """Epochs of a headline measure and of another one, without a budget."""
    own, rest = Recorded(), Rest(headline=False)
    fit(folder, search(channels=2), callbacks=[Diagnostics([own, rest], budget=0.0)], **SHORT, **options)
    return own.epochs, rest.epochs


def test_without_a_budget_the_schedule_and_the_last_epoch_remain(tmp_path: Path) -> None:
    assert recorded(tmp_path, max_epochs=11) == ([0, 1, 3, 4, 6, 7, 9, 10], [10])


def test_more_points_are_more_epochs(tmp_path: Path) -> None:
    own, rest = Recorded(), Rest(headline=False)
    watching = [Diagnostics([own, rest], budget=0.0, points=11)]
    fit(tmp_path, search(channels=2), max_epochs=11, callbacks=watching, **SHORT)
    assert (own.epochs, rest.epochs) == (list(range(11)), [10])


def test_fewer_points_than_eight_are_refused() -> None:
    with pytest.raises(ValueError, match="Expected `points` to be at least 8, but got 7"):
        Diagnostics(points=7)


def test_where_steps_end_the_search_the_last_epoch_has_everything(tmp_path: Path) -> None:
    assert recorded(tmp_path, max_epochs=1000, max_steps=18) == ([*range(16), 16, 17], [17])


def test_where_time_ends_the_search_every_epoch_counts_at_first(tmp_path: Path) -> None:
    head, rest = recorded(tmp_path, max_epochs=1000, max_time="00:00:00:02")
    assert head[: min(len(head), 16)] == list(range(min(len(head), 16)))
    assert rest == head[-1:]


def test_an_interval_does_not_thin_out_the_schedule(tmp_path: Path) -> None:
    own = Recorded(interval=4, budget=None)
    fit(tmp_path, search(channels=2), max_epochs=11, callbacks=[own], **SHORT)
    assert own.epochs == [0, 1, 3, 4, 6, 7, 8, 9, 10]


def test_a_resumed_search_keeps_the_schedule(tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=5, save_top_k=-1)
    first, second = Recorded(), Recorded()
    watching = [saver, StopAfter(5), Diagnostics([first], budget=0.0)]
    with pytest.raises(RuntimeError, match="killed"):
        fit(tmp_path, search(channels=2), max_epochs=11, callbacks=watching, **SHORT)
    again = [Diagnostics([second], budget=0.0)]
    fit(tmp_path, search(channels=2), tmp_path / "step=5.ckpt", max_epochs=11, callbacks=again, **SHORT)
    assert (first.epochs, second.epochs) == ([0, 1, 3, 4], [4, 6, 7, 9, 10])


@pytest.mark.usefixtures("few_samples")
def test_headlines_at_every_epoch_of_a_short_search_and_everything_at_its_end(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, "", "", default_hp_metric=False)
    watching = Diagnostics(default_diagnostics(), budget=0.0)
    found = rows(fit(tmp_path, search(channels=2), max_epochs=2, logger=logger, callbacks=[watching], **SHORT))
    assert all(row.keys() >= HEADLINES for row in found)
    assert ["gradient/match" in row for row in found] == [False, True]
    events = EventAccumulator(str(tmp_path), size_guidance={"images": 0})
    events.Reload()
    assert {tag: [image.step for image in events.Images(tag)] for tag in events.Tags()["images"]} == {
        "heatmap/cell": [1], "genotype": [1], "curves": [1],
    }  # fmt: skip
