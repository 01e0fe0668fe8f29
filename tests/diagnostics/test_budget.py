"""The budget of diagnostics, with a clock of its own."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from robustnas.diagnostics import Budget, Diagnostic, Diagnostics, GenotypeChurn
from runs import fit, rows

from robustnas.data import Probe
from robustnas.training.search import SearchModule


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("robustnas.diagnostics.budget.time", SimpleNamespace(perf_counter=lambda: self.now))


def spend(budget: Budget, clock: Clock, name: str, seconds: float) -> None:
    with budget.timed(name):
        clock.now += seconds


def test_a_measure_waits_until_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, budget = Clock(monkeypatch), Budget(0.15)
    budget.start()
    assert budget.affords("a")  # what was never measured counts as free
    spend(budget, clock, "a", 2)
    assert (budget.spent, budget.elapsed) == (2, 2)
    assert not budget.affords("b")  # but not while too much is spent
    clock.now += 37.9  # 4 of 39.9 seconds: above two thirds of the share, below the whole
    assert not budget.affords("a")
    assert budget.affords("a", last_epoch=True)
    clock.now += 0.2
    assert budget.affords("a")
    assert budget.affords("b")
    assert budget.left_out == {"a": 1, "b": 1}
    assert "a 1 times (2.0 s)" in budget.summary()
    assert "To stay within 15% of the time, left out: a 1 times, b 1 times." in budget.summary()


def test_measures_share_the_budget_and_time_goes_on_after_a_resume(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, budget = Clock(monkeypatch), Budget(0.75)
    budget.start()
    spend(budget, clock, "a", 3)
    spend(budget, clock, "b", 1)
    clock.now += 6.1
    assert budget.affords("b")
    assert not budget.affords("a")
    resumed = Budget(0.75)
    resumed.load_state_dict(budget.state_dict())
    clock.now += 1000  # while nothing ran
    resumed.start()
    assert (resumed.spent, resumed.elapsed) == (4, pytest.approx(10.1))
    assert resumed.left_out == {"a": 1}


def test_no_limit_is_none_and_others_are_shares() -> None:
    budget = Budget(None)
    budget.costs["a"] = [1e9]
    assert budget.affords("a")
    for wrong in (-0.1, 1.5):
        with pytest.raises(ValueError, match=r"Expected `budget` to be between 0 and 1 or null, but got"):
            Budget(wrong)


class Slow(Diagnostic):
    """Takes as long as the clock is told to."""

    def __init__(self, clock: Clock, every: int = 1) -> None:
        super().__init__(every)
        self.clock, self.calls = clock, 0

    def measure(self, search: SearchModule, probe: Probe) -> dict[str, float]:
        self.calls += 1
        self.clock.now += 1
        return {"slow/calls": self.calls}


def test_a_search_leaves_out_what_it_cannot_afford(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    slow = Slow(clock)
    running = fit(tmp_path, max_epochs=3, callbacks=[Diagnostics([slow, GenotypeChurn()], budget=0.03)])
    assert slow.calls == 1  # the clock stands still otherwise
    found = rows(running)
    assert ["slow/calls" in row for row in found] == [True, False, False]
    assert all("genotype/skips_cell" in row for row in found)  # what is free is never left out
    assert found[0]["diagnostics/share"] == 1


def test_without_a_limit_the_interval_and_the_last_epoch_decide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(Clock(monkeypatch), every=2)
    running = fit(tmp_path, max_epochs=4, callbacks=[Diagnostics([slow], budget=None)])
    assert ["slow/calls" in row for row in rows(running)] == [True, False, True, True]


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="Expected `every` to be at least 1, but got 0"):
        GenotypeChurn(every=0)
    with pytest.raises(ValueError, match="Expected `measures` to be of different classes"):
        Diagnostics([GenotypeChurn(), GenotypeChurn()])
