"""A size is chosen by what steps take; here they take what the test says."""

from __future__ import annotations

import pytest
import torch

from robustnas.planning.choosing import Epochs, Measured, choose, watched
from robustnas.planning.probe import Memory, Stage
from robustnas.planning.rules import MARGIN, Size

SIZES = [Size(8, 1), Size(16, 1), Size(16, 5)]
EPOCHS = Epochs(fewest=10, enough=50, most=200)


class Machine:
    """A machine on which a step takes a thousandth of a second for each channel of each cell."""

    def __init__(self, probing: float = 0.0, **stage: float) -> None:
        self.probing, self.stage, self.asked, self.now = probing, stage, list[Size](), 0.0

    def __call__(self, size: Size | None) -> tuple[Stage, Memory]:
        assert size is not None
        self.asked.append(size)
        self.now += self.probing
        given = {"start": 1.0, "val_step": 0.0, "val_steps": 0.0, "epochs": 200.0, **self.stage}
        return Stage(step=(size.channels * (size.depth or 1)) / 1000, steps=50.0, **given), Memory(
            (size.channels * (size.depth or 1)), 0
        )

    def choose(self, budget: float | None, epochs: Epochs = EPOCHS) -> Measured:
        return choose(SIZES, self, budget, epochs, lambda: self.now)


def test_a_long_budget_gets_the_largest_network_and_the_epochs_of_the_recipe() -> None:
    found = Machine().choose(10_000)
    assert (found.size, found.epochs, found.memory.resident) == (Size(16, 5), 200, 80)


@pytest.mark.parametrize(("budget", "size"), [(31, SIZES[0]), (62, SIZES[1]), (200, SIZES[1]), (240, SIZES[2])])
def test_the_largest_network_that_gets_enough_epochs_is_chosen(budget: float, size: Size) -> None:
    found = Machine().choose(budget)
    assert found.size == size
    assert found.stage.seconds(found.epochs) <= MARGIN * budget
    assert found.epochs == 200 or found.stage.seconds(found.epochs + 1) > MARGIN * budget


def test_a_network_that_cannot_fit_is_not_even_measured() -> None:
    machine = Machine()
    machine.choose(200)
    assert machine.asked == SIZES[:2]  # 223 epochs with a cell a stage, and less than 50 with five


def test_where_none_gets_enough_the_smallest_gets_what_fits() -> None:
    found = Machine().choose(10)
    assert (found.size, found.epochs) == (SIZES[0], 19)


@pytest.mark.parametrize("fitting", [1, 0])
def test_a_network_that_does_not_fit_into_memory_is_not_chosen(fitting: int) -> None:
    machine = Machine()

    def measure(size: Size | None) -> tuple[Stage, Memory]:
        if len(machine.asked) == fitting:
            raise torch.OutOfMemoryError
        return machine(size)

    if fitting:
        assert choose(SIZES, measure, 10_000, EPOCHS, lambda: 0.0).size == SIZES[0]
    else:
        with pytest.raises(ValueError, match="Expected the smallest network here to fit into the memory of the GPU"):
            choose(SIZES, measure, 10_000, EPOCHS, lambda: 0.0)


def test_measuring_counts() -> None:
    found = Machine(probing=5.0).choose(30)
    assert found.stage.seconds(found.epochs) + 5.0 <= MARGIN * 30


def test_a_budget_that_nothing_fits_into_is_refused_with_one_that_would_do() -> None:
    with pytest.raises(ValueError, match=r"Expected `--budget` to allow 10 epochs .* about 6 s, but got 5 s"):
        Machine().choose(5)
    assert Machine().choose(5.6).epochs == 10


def test_given_epochs_are_kept_or_refused() -> None:
    given = Epochs(30, 30, 30)
    assert (Machine().choose(40, given).size, Machine().choose(40, given).epochs) == (SIZES[1], 30)
    assert Machine().choose(None, given).size == SIZES[2]
    with pytest.raises(ValueError, match="to allow 30 epochs"):
        Machine().choose(10, given)


def test_diagnostics_and_the_test_count() -> None:
    stage = Stage(start=1, step=0.5, steps=4, val_step=0.25, val_steps=2, epochs=10, epoch_end=0.5, test_steps=8,
        headline=3.0, points=8, last=2.0, share=0.1)  # fmt: skip
    own = 1 + 8 * 0.25 + 10 * (4 * 0.5 + 2 * 0.25 + 0.5)
    assert stage.seconds() == own + 8 * 3 + 2
    assert stage.seconds(2) == 1 + 2 + 2 * 3 + 2 * 3 + 2
    assert stage.seconds(1000) == 1.1 * (3 + 3000)
    for seconds in (10, 17, 40, 59, 100, 4000):
        epochs = stage.epochs_within(seconds)
        assert epochs == 0 or stage.seconds(epochs) <= seconds
        assert stage.seconds(epochs + 1) > seconds


def test_what_diagnostics_take_is_said_where_it_is_more_than_a_quarter() -> None:
    assert watched(25.0, 100.0) == watched(0.0, 0.0) == ""
    assert watched(34.0, 100.0) == ", 34% of it for diagnostics (none with `--diagnostics.measures=[]`)"
