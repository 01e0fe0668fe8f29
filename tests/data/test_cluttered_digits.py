"""The task of the embedded table: disjoint originals, the same images on every machine, disjoint roles."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import affine_transform

from robustnas.data import ClutteredDigits
from robustnas.data import cluttered_digits as module
from robustnas.data.cluttered_digits import ONE, Draws, divide_originals
from robustnas.tabular.embedded import TASK


@pytest.fixture(scope="module")
def data() -> ClutteredDigits:
    return ClutteredDigits()


def test_the_task_is_the_one_that_the_table_was_made_on(data: ClutteredDigits) -> None:
    """The hashes in the manifest of the table; a change of one pixel makes its accuracies those of another task."""
    described = data.describe()
    assert {name: described[name] for name in TASK} == TASK
    assert described["image_shape"] == [1, 12, 12]
    assert described["duplicates"] == {"copies": 0, "across_roles": 0, "with_test": 0}
    assert {role: held["size"] for role, held in described["roles"].items()} == {
        "weights": 1617, "arch": 1617, "selection": 360, "test": 2995,
    }  # fmt: skip


def test_training_and_test_part_are_of_disjoint_originals(data: ClutteredDigits) -> None:
    reading = data.describe()["reading"]
    train, test = set(reading["training"]["originals"]), set(reading["test"]["originals"])
    assert not train & test
    assert train | test == set(range(1797))
    assert (len(train), len(test)) == (1198, 599)


def test_pieces_come_from_the_same_part() -> None:
    """With one bright original in a part, no brightness reaches the other part."""
    dark, bright = np.zeros((5, 8, 8), np.int64), np.full((5, 8, 8), 255, np.int64)
    low, high = (module.draw_images(part, 20, Draws(0, 1)) for part in (dark, bright))
    assert low.max() <= module.BACKGROUND + 4 * module.NOISE
    assert high.max() > 150


def test_every_class_is_in_every_role(data: ClutteredDigits) -> None:
    for role, counts in data.split.class_counts().items():
        assert len(counts) == 10, role
        assert min(counts.values()) >= 30, role


def test_other_seeds_and_numbers_of_drawings_are_other_tasks(data: ClutteredDigits) -> None:
    assert data.split.train.content_hash() == ClutteredDigits().split.train.content_hash()
    assert ClutteredDigits(task_seed=1).split.train.content_hash() != data.split.train.content_hash()
    few = ClutteredDigits(drawings=1, test_drawings=2, seed=3)
    assert (len(few.split.train), len(few.load()[1])) == (1198, 1198)
    assert few.source == "ClutteredDigits(drawings=1, task_seed=0)"
    with pytest.raises(ValueError, match=r"^Expected `drawings` to be at least 1, but got 0\.$"):
        ClutteredDigits(drawings=0)
    with pytest.raises(ValueError, match=r"^Expected `task_seed` to be at least 0, but got -1\.$"):
        ClutteredDigits(task_seed=-1)


def test_draws_are_uniform_and_never_change() -> None:
    draws = Draws(3, 1).between(-2, 4, 70_000)
    assert np.bincount(draws + 2).tolist() == pytest.approx([10_000] * 7, rel=0.05)
    assert Draws(0, 1).between(0, 999, 6).tolist() == [889, 557, 800, 956, 58, 236]
    assert sorted(divide_originals(0).tolist()) == list(range(1797))


def test_placing_agrees_with_interpolation_in_floating_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fixed rotation, scale and shift, against scipy's bilinear interpolation; fixed point differs by rounding."""
    angle, scale, shift = 20, 70, (ONE // 2, -ONE)
    monkeypatch.setattr(module, "ROTATION", angle)
    image = np.random.default_rng(0).integers(0, 256, (8, 8))
    room = (12 - 6 * scale / 64) / 2

    class Fixed:
        def __init__(self) -> None:
            self.values = iter(([2 * angle], [scale], [shift]))

        def between(self, low: int, high: int, *shape: int) -> np.ndarray:
            return np.array(next(self.values), np.int64)

    placed = module._place(image[None], Fixed())[0]
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    matrix = np.array([[cos, sin], [-sin, cos]]) * 64 / scale
    centre = np.array([5.5, 5.5]) + np.array(shift) / ONE * room
    wanted = affine_transform(
        image.astype(float), matrix, 3.5 - matrix @ centre, (12, 12), order=1, mode="grid-constant"
    )
    assert np.abs(placed - wanted).max() < 2
