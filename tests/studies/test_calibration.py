"""How well indicators foretold bad ends, on searches whose answer is known; TensorBoard's page of a study."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_studies import VARIANTS, study_cells, write_study

from robustnas.analysis.metrics import ENTROPY, MATCH, RANKING
from robustnas.analysis.registry import Metric
from robustnas.reports.study import write_report
from robustnas.reports.study.calibration import (
    Case,
    calibrate,
    cases_of,
    first_alarm,
    pooled_area,
    standing_since,
)
from robustnas.reports.study.study_data import RANDOM, StudyData
from robustnas.statistics import separation
from robustnas.studies.searchers import BASELINES

HIGH = (Metric("mine/sign", "a sign", worse="high"), "last")
LOW = (Metric("mine/sign", "a sign", worse="low"), "last")
PEAK = (HIGH[0], "peak")
END = 9


def case(values: Any, bad: bool, task: str = "t", name: str = "mine/sign", **more: Any) -> Case:
    series = dict(enumerate(values)) if isinstance(values, list) else {END: values}
    return Case(task, {name: series}, bad, END, **more)


def test_an_indicator_that_is_always_right_has_an_area_of_one_and_one_that_is_wrong_of_nought() -> None:
    cases = [case(float(k), k > 5) for k in range(12)]
    (high,) = calibrate(cases, [HIGH])
    (low,) = calibrate(cases, [LOW])
    assert (high.area, low.area) == (1.0, 0.0)
    assert (high.bad, high.good, high.unmeasured) == (6, 6, 0)
    assert high.threshold == 5.5
    assert high.chosen
    assert (high.conclusion, low.conclusion) == ("predicts bad results", "points the other way")
    assert low.threshold is None
    assert calibrate(cases, [(Metric("not/measured", "", worse="high"), "last")]) == []
    (few,) = calibrate(cases[2:10], [HIGH])
    assert few.conclusion == "none: fewer than 5 bad or good trials"
    (none,) = calibrate(cases[:4], [HIGH])
    assert none.area is None


def test_the_area_counts_pairs_within_tasks_only() -> None:
    """By brute force; a task whose scale is a thousand times that of another changes nothing."""
    rng = np.random.default_rng(0)
    cases = [
        case(float(scale * (rng.standard_normal() + bad)), bool(bad), task)
        for task, scale, chance in (("a", 1, 0.3), ("b", 1000, 0.6), ("c", 0.01, 0.0))
        for bad in rng.random(14) < chance
    ]
    (row,) = calibrate(cases, [HIGH])
    pairs = [
        (one.series["mine/sign"][END] > other.series["mine/sign"][END])
        for one, other in itertools.product(cases, cases)
        if one.task == other.task and one.bad and not other.bad
    ]
    assert row.area == pytest.approx(np.mean(pairs))
    shuffled = [case(v.series["mine/sign"][END], v.bad, "one") for v in cases]
    assert calibrate(shuffled, [HIGH])[0].area != pytest.approx(row.area, abs=0.01)


def test_one_task_is_the_plain_area_and_two_like_it_a_narrower_one() -> None:
    bad, good = [1.0, 2.5, 3.0, 1.5], [0.0, 1.2, 2.0, 0.5, 0.7]
    plain = separation(bad, good)
    assert pooled_area([(bad, good), ([], [1.0])]) == (plain.value, plain.interval)
    twice = pooled_area([(bad, good), (bad, good)])
    assert twice is not None
    assert twice[0] == pytest.approx(plain.value)
    assert plain.interval.low < twice[1].low < twice[1].high < plain.interval.high
    assert pooled_area([([], [1.0])]) is None
    wide = pooled_area([([1.0], [0.0]), ([1.0], [0.0])])
    assert wide is not None
    assert wide[0] == wide[1].high == 1.0
    assert wide[1].low < 0.6


def test_intervals_over_tasks_cover() -> None:
    """Normal values in three tasks: an area of 0.76 lies in 95 % of the intervals."""
    rng, hits, truth = np.random.default_rng(1), 0, 0.7602499389065233  # the normal distribution at 1 / sqrt(2)
    for _ in range(300):
        groups = [(rng.standard_normal(6) + 1, rng.standard_normal(8)) for _ in range(3)]
        found = pooled_area((list(map(float, bad)), list(map(float, good))) for bad, good in groups)
        assert found is not None
        hits += truth in found[1]
    assert 0.92 <= hits / 300 <= 0.99


def test_the_lead_is_counted_from_the_alarm_to_the_end() -> None:
    flat = [0.0] * 10
    bad = [[0.0] * k + [1.0] * (10 - k) for k in (3, 5, 9)]  # passed for good in these epochs
    early = [0, 0, 1, 0, 0, 0, 0, 0, 0, 0.0]
    cases = [*(case(values, True) for values in bad), case(flat, False), case(early, False)]
    (row,) = calibrate(cases, [HIGH])
    assert row.lead is not None
    assert (row.lead.hits.count, row.lead.hits.n, row.lead.median) == (3, 3, END - 5)
    assert row.lead.false is not None
    assert (row.lead.false.count, row.lead.false.n) == (0, 2)
    (peak,) = calibrate(cases, [PEAK])
    assert peak.lead is not None
    assert peak.lead.false is not None
    assert peak.lead.false.count == 1  # it was passed once


def test_thresholds_of_the_verdict_are_used_as_the_verdict_uses_them() -> None:
    """Entropy over 0.99 counts after the first fifth only, and three times in a row."""
    entropy = [1.0] * 3 + [0.9] * 7
    cases = [case([1.0] * 10, True, name="alpha/entropy"), case(entropy, False, name="alpha/entropy")]
    (row,) = calibrate(cases, [(ENTROPY, "last")])
    assert (row.threshold, row.chosen) == (0.99, False)
    assert row.lead is not None
    assert (row.lead.hits.count, row.lead.median) == (1, END - 3)
    assert row.lead.false is not None
    assert row.lead.false.count == 0
    assert first_alarm({0: 1.0, 1: 0.0, 2: 1.0, 3: 1.0}, bool, hold=2) == 3
    assert first_alarm({0: 1.0, 1: 0.0}, bool, hold=2) is None
    assert first_alarm({0: 1.0, 1: 0.0}, lambda value: value < 0.5) == 1
    assert standing_since({0: 1.0, 1: 0.0, 2: 1.0, 4: 1.0}, bool) == 2
    assert standing_since({0: 1.0, 1: 0.0}, bool) is None


@pytest.mark.parametrize(("metric", "alarms"), [(MATCH, 1), (RANKING, 0)], ids=lambda given: getattr(given, "name", ""))
def test_a_value_at_the_threshold_is_an_alarm_where_the_verdict_sees_a_sign(metric: Metric, alarms: int) -> None:
    """``match`` holds at 0 or less, ``ranking`` under 0.2."""
    (row,) = metric.thresholds
    values = [row.value] * 10
    (found,) = calibrate([case(values, True, name=metric.name)], [(metric, "last")])
    assert row.passes(row.value, row.value) == bool(alarms)
    assert found.lead is not None
    assert (found.threshold, found.lead.hits.count) == (row.value, alarms)


def test_bad_is_under_the_mean_of_random_or_in_the_bottom_third(tmp_path: Path) -> None:
    scores = {"A": 0.1, "B": 0.5, "C": 0.9, RANDOM: 0.4}
    assert RANDOM in BASELINES

    def held(cell: Any, rng: Any) -> float:
        return scores[cell.variant] + 0.01 * cell.seed

    grid = study_cells(("A", "B", "C"), (None,), range(3))
    cases, said = cases_of(StudyData.read(write_study(tmp_path / "r", grid, held)))
    assert [one.bad for one in cases] == [True, False, False] * 3
    assert said == f"the only task: under 41.00, the mean of 3 random architectures ({RANDOM})"
    grid = study_cells(("A", "B", "C"), (None,), range(2), random=False)
    cases, said = cases_of(StudyData.read(write_study(tmp_path / "t", grid, held)))
    assert [one.bad for one in cases] == [True, False, False] * 2
    assert "the bottom third of 6 searches" in said
    assert all(one.end == 11 for one in cases)


def test_every_cell_is_a_session_of_the_hparams_page(tmp_path: Path) -> None:
    """Read back by TensorBoard's own backend, as its page asks for it."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    levels = [{"lr": "low"}, {"lr": "high"}]
    root = write_study(tmp_path / "s", study_cells(VARIANTS[:1], ("S1",), range(2), levels), truth=True)
    write_report(root)
    folders = sorted(path.parent for path in root.glob("tensorboard/**/events*"))
    assert [folder.relative_to(root / "tensorboard").as_posix() for folder in folders] == [
        "DARTS/S1/lr=high/seed-0", "DARTS/S1/lr=high/seed-1", "DARTS/S1/lr=low/seed-0", "DARTS/S1/lr=low/seed-1",
        "RandomGenotype/S1/seed-0", "RandomGenotype/S1/seed-1",
    ]  # fmt: skip
    study = StudyData.read(root)
    for folder in folders:
        events = EventAccumulator(str(folder)).Reload()
        held = events.summary_metadata
        plugin = {name: HParamsPluginData.FromString(one.plugin_data.content) for name, one in held.items()
            if one.plugin_data.plugin_name == "hparams"}  # fmt: skip
        given = plugin["_hparams_/session_start_info"].session_start_info.hparams
        record = next(r for r in study.records if r.folder == f"trials/{folder.relative_to(root / 'tensorboard')}")
        assert given["variant"].string_value == record.variant
        assert given["seed"].number_value == record.seed
        assert plugin["_hparams_/session_end_info"].session_end_info.status == 1  # success
        experiment = plugin["_hparams_/experiment"].experiment
        assert {one.name for one in experiment.hparam_infos} >= {"variant", "space", "lr", "seed", "verdict"}
        shown = [one.name.tag for one in experiment.metric_infos]
        assert shown[:5] == ["score", "search/lambda_max", "search/skip_share", "truth/regret", "seconds/total"]
        (score,) = events.Scalars("score")
        assert score.value == pytest.approx(record.score)
        assert ("search/lambda_max" in events.Tags()["scalars"]) == (not record.baseline)
    gone = root / "tensorboard" / "Gone" / "seed-0"
    gone.mkdir(parents=True)
    (gone / "events.out.tfevents.study").write_bytes(b"")
    write_report(root)
    assert not gone.exists()
