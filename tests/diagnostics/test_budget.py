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
    clock, budget = Clock(monkeypatch), Budget(0.1)
    budget.start()
    spend(budget, clock, "a", 2)
    assert (budget.spent, budget.elapsed) == (2, 2)
    assert not budget.affords("a", 0.1)
    clock.now += 48  # 5 of 50 seconds may be spent, and what half of the last epoch costs is kept
    assert budget.affords("a", 0.5)
    spend(budget, clock, "a", 1.0)
    assert budget.affords("b", 1)
    spend(budget, clock, "a", 1.5)
    assert not budget.affords("a", 0.5)
    assert not budget.affords("a", 1)  # 4.5 and 1.5 of 5.25 seconds
    clock.now += 8
    assert not budget.affords("a", 0.5)  # 6 of 6.05, of which 0.75 are kept
    assert budget.affords("a", 1)
    assert budget.left_out == {"a": 4}


def test_the_last_epoch_keeps_room_for_every_measure_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, budget = Clock(monkeypatch), Budget(0.1)
    budget.start()
    budget.estimates, budget.ending = {"a": 1.0, "b": 2.0, "never": 1000.0}, 0.5
    clock.now += 50
    assert budget.affords("a", 0.5)  # 1 of 5, of which 1.75 are kept: the run will have 10
    spend(budget, clock, "a", 3.0)  # three times the estimate
    assert not budget.affords("b", 0.5)
    clock.now += 47
    assert budget.affords("b", 1)  # 3 and 2 of 10, of which 0.5 are kept
    spend(budget, clock, "b", 2.0)
    assert budget.affords("a", 1)
    assert not budget.affords("never", 1)
    assert budget.affords("b", None)  # counts as half way: 5 and 2 of 10.2, of which 2.75 are kept


def test_measures_share_the_budget_and_time_goes_on_after_a_resume(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, budget = Clock(monkeypatch), Budget(0.75)
    budget.start()
    spend(budget, clock, "a", 3)
    spend(budget, clock, "b", 1)
    clock.now += 2
    assert budget.affords("b", 1) is False
    resumed = Budget(0.75)
    resumed.load_state_dict(budget.state_dict())
    clock.now += 1000  # while nothing ran
    resumed.start()
    assert (resumed.spent, resumed.elapsed) == (4, pytest.approx(6))
    assert (resumed.cost("a"), resumed.left_out) == (3, {"b": 1})


def test_the_summary_is_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, budget = Clock(monkeypatch), Budget(0.05)
    budget.start()
    for name, seconds in (("Curvature", 2.0), ("DiscretisationGap", 0.5), ("DiscretisationGap", 0.5), ("Free", 0.0)):
        spend(budget, clock, name, seconds)
    clock.now += 97
    budget.left_out = {"Curvature": 9, "GradientMatch": 1}
    assert budget.summary().splitlines() == [
        "Diagnostics took 3.0 s of 100.0 s, 3.0% (budget: 5.0%).",
        "  Curvature             2.0 s  measured once      skipped 9 times: over budget",
        "  DiscretisationGap     1.0 s  measured twice",
        "  GradientMatch         0.0 s  not measured       skipped once: over budget",
    ]


def test_no_limit_is_none_and_others_are_shares() -> None:
    budget = Budget(None)
    budget.costs["a"] = [1e9]
    assert budget.affords("a", 0.1)
    for wrong in (-0.1, 1.5):
        with pytest.raises(ValueError, match=r"Expected `budget` to be between 0 and 1 or null, but got"):
            Budget(wrong)


class Slow(Diagnostic):
    """Takes as long as the clock is told to."""

    def __init__(self, clock: Clock, interval: int = 1) -> None:
        super().__init__(interval)
        self.clock, self.calls = clock, 0

    def measure(self, search: SearchModule, probe: Probe) -> dict[str, float]:
        self.calls += 1
        self.clock.now += 1
        return {"slow/calls": self.calls}


def test_a_search_leaves_out_what_it_cannot_afford(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    slow = Slow(clock)
    running = fit(
        tmp_path, limit_train_batches=1, max_epochs=3, callbacks=[Diagnostics([slow, GenotypeChurn()], budget=0.03)]
    )
    assert slow.calls == 1  # the clock stands still otherwise
    found = rows(running)
    assert ["slow/calls" in row for row in found] == [True, False, False]
    assert all("genotype/skips_cell" in row for row in found)  # what is free is never left out
    assert found[0]["diagnostics/share"] == 1


def test_without_a_limit_the_interval_and_the_last_epoch_decide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(Clock(monkeypatch), interval=2)
    running = fit(tmp_path, limit_train_batches=1, max_epochs=4, callbacks=[Diagnostics([slow], budget=None)])
    assert ["slow/calls" in row for row in rows(running)] == [True, False, True, True]


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="Expected `interval` to be at least 1, but got 0"):
        GenotypeChurn(interval=0)
    with pytest.raises(ValueError, match="Expected `measures` to be of different classes"):
        Diagnostics([GenotypeChurn(), GenotypeChurn()])
