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


def spend(budget: Budget, clock: Clock, name: str, seconds: float, required: bool = False) -> None:
    with budget.timed(name, required):
        clock.now += seconds


def test_a_measure_waits_until_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, budget = Clock(monkeypatch), Budget(0.1)
    budget.start()
    spend(budget, clock, "a", 2)
    assert (budget.spent, budget.elapsed) == (2, 2)
    assert not budget.affords("a", 0.1)
    clock.now += 48  # 2 of 5 seconds
    assert budget.affords("a", 0.5)
    spend(budget, clock, "a", 2.0)
    assert not budget.affords("a", 0.5)  # 4 and 2 of 5.2
    clock.now += 8
    assert budget.affords("a", 0.5)  # 6 of 6
    assert budget.left_out == {"a": 2}


def test_what_is_required_is_paid_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the whole run it takes 8 times 0.5, twice 0.25 and 0.5 seconds; the rest of the budget is for all else."""
    clock, budget = Clock(monkeypatch), Budget(0.1)
    budget.start()
    budget.expect("headline", 0.5, 8)
    budget.expect("other", 0.25, 2)
    budget.ending = 0.5
    clock.now += 50
    spend(budget, clock, "headline", 0.0, required=True)
    budget.expect("headline", 7.0, 8)  # an estimate that is no longer asked for
    assert budget.affords("other", 0.5)  # 0.25 of 5 less half of 1
    budget.costs["headline"] = [0.5]
    assert budget.affords("headline", 0.5)  # 0.5 of 5 less half of 5
    for _ in range(5):
        spend(budget, clock, "headline", 0.5, required=False)
        spend(budget, clock, "headline", 0.5, required=True)  # is not counted again
    assert budget.affords("other", 0.5)  # 2.5 and 0.25 of 5.5 less 2.5
    assert not budget.affords("headline", 0.52)  # 2.5 and 0.5 of 5.5 less 2.6
    assert budget.affords("headline", None)  # counts as half way


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
    assert resumed.affords("b", 0.1) is False  # 4 and 1 of 4.5: what was optional is remembered
    assert (resumed.cost("a"), resumed.left_out) == (3, {"b": 2})


def test_the_summary_is_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, budget = Clock(monkeypatch), Budget(0.05)
    budget.start()
    for name, seconds in (("Curvature", 2.0), ("DiscretisationGap", 0.5), ("DiscretisationGap", 0.5), ("Free", 0.0)):
        spend(budget, clock, name, seconds)
    clock.now += 97
    budget.left_out = {"Curvature": 9, "GradientMatch": 1}
    assert budget.summary() == "Diagnostics took 3.0 s of 100.0 s, 3.0% (budget: 5.0%)."
    assert budget.summary(verbose=True).splitlines() == [
        "Diagnostics took 3.0 s of 100.0 s, 3.0% (budget: 5.0%).",
        "  Curvature             2.0 s  measured once      skipped 9 times: over budget",
        "  DiscretisationGap     1.0 s  measured twice",
        "  GradientMatch         0.0 s  not measured       skipped once: over budget",
    ]
    spend(budget, clock, "Curvature", 9.0, required=True)
    took = "Diagnostics took 12.0 s of 109.0 s, 11.0% (budget: 5.0%, exceeded by what is always measured)."
    assert budget.summary() == took


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
    assert slow.calls == 2  # the clock stands still otherwise
    found = rows(running)
    assert ["slow/calls" in row for row in found] == [True, False, True]  # the last epoch has all
    assert all("genotype/skips_cell" in row for row in found)  # what is free is never left out
    assert found[-1]["diagnostics/share"] == 1


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
