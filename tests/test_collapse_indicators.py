"""The table of indicators: areas before and after the loss, and thresholds that are chosen on one half alone."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from collapse_indicators import Case, cases_of, main, rows_of, show, verdict_rows

CURVATURE, LOSS = "curvature/max", "val/loss"


def case(lost: int | None, half: int, before: float, group: str = "a", noise: float = 0.0) -> Case:
    """A search of 40 epochs: its curvature is 1, from epoch 8 on ``before``, and tells nothing else."""
    series = {CURVATURE: {at: 1.0 if at < 8 else before for at in range(40)}, LOSS: dict.fromkeys(range(40), noise)}
    state = "healthy" if lost is None else "collapsed"
    return Case(group, half, series, 40, lost, {state: 30}, state)


def cases(group: str = "a", scale: float = 1.0) -> list[Case]:
    drawn = random.Random(group)
    bad = [case(24, k % 2, scale * (5 + k), group, drawn.random()) for k in range(8)]
    return bad + [case(None, k % 2, scale * (2 + k / 10), group, drawn.random()) for k in range(8)]


def test_an_indicator_that_foretells_and_one_that_does_not() -> None:
    rows = {row.title: row for row in rows_of(cases())}
    curvature = rows["largest eigenvalue in α, last (high)"]
    area, interval, bad, good = curvature.areas["a half"] or pytest.fail("no area")
    assert (area, bad, good) == (1.0, 8, 8)
    assert interval.low > 0.7
    assert curvature.areas["three quarters"] is None  # all that would lose their cell have lost it
    assert (curvature.areas["the end"] or (0,))[0] == 1.0
    loss = rows["loss of the supernet on validation (high)"].areas["a half"] or pytest.fail("no area")
    assert loss[1].low < 0.5 < loss[1].high


def test_a_threshold_is_chosen_on_one_half_and_tried_on_the_other() -> None:
    given = cases()
    row = next(row for row in rows_of(given) if row.title.startswith("largest eigenvalue"))
    assert row.threshold == pytest.approx((2.6 + 5) / 2)  # between the even ones
    assert row.lead is not None
    assert (row.lead.hits.count, row.lead.hits.n, row.lead.median) == (4, 4, 24 - 8)
    assert row.lead.false is not None
    assert (row.lead.false.count, row.lead.false.n) == (0, 4)
    wild = [one if one.half == 0 else case(one.lost, 1, 3.0) for one in given]
    again = next(row for row in rows_of(wild) if row.title.startswith("largest eigenvalue"))
    assert again.threshold == row.threshold
    assert again.lead is not None
    assert again.lead.hits.count == 0


def test_searches_are_compared_within_a_setting() -> None:
    both = rows_of([*cases("a"), *cases("b", scale=100.0)])
    row = next(row for row in both if row.title == "largest eigenvalue in α, last (high)")
    assert (row.areas["a half"] or (0,))[0] == 1.0


def test_an_alarm_after_the_loss_is_no_hit() -> None:
    late = [Case("a", 0, {CURVATURE: {39: 9.0}}, 40, 24, {"collapsed": 30}, "collapsed"), case(None, 0, 2.0)]
    lead = verdict_rows(late)[0].lead
    assert lead is not None
    assert (lead.hits.count, lead.late, lead.median) == (0, 1, -6.0)
    assert "0 of 1, 1 late" in show(late)


def test_an_empty_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="to hold finished searches as METHOD/seed-N, but it does not"):
        cases_of(tmp_path)
    with pytest.raises(SystemExit):
        main([])
    assert "Expected folders with finished searches, or --recorded, but found none" in capsys.readouterr().err
