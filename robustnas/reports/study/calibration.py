r"""How well each indicator predicted a bad final architecture, over trials of studies (docs/guides/study_report.md).

Trials are compared within a task only, since a curvature in one space says nothing about another. The area is the share
of pairs that the indicator orders correctly, :math:`\hat\theta = \sum_t U_t / \sum_t n_t m_t`; a tie counts half. An
indicator without a threshold of the verdict gets the one that separates these trials best (Youden's J); its alarm
begins where it was crossed for the rest of the search, or for a peak where it was first crossed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from statistics import fmean
from typing import Any, Literal

import numpy as np

from robustnas.analysis import metrics
from robustnas.analysis.registry import Metric, indicators
from robustnas.analysis.thresholds import Threshold
from robustnas.reports.study.study_data import RANDOM, STATES, StudyData, Task, task_name
from robustnas.statistics import Interval, Lead, lead_time, separation
from robustnas.statistics.agreement import area_variance, newcombe_interval

FEW = 5  # bad or good trials, below which nothing is concluded
Reading = Literal["last", "peak"]
Series = Mapping[str, Mapping[int, float]]


@dataclass(frozen=True)
class Case:
    """A finished search, and whether its result was bad."""

    task: str  # trials of different tasks are not compared
    series: Series
    bad: bool
    end: int  # last epoch
    since: int | None = None  # first epoch of the verdict's present state; None: healthy


@dataclass(frozen=True)
class Calibration:
    """How well an indicator predicted bad results."""

    metric: Metric
    reading: Reading  # its last value or its peak
    area: float | None  # under the ROC curve, within tasks; 0.5: chance; None: nothing to compare
    interval: Interval | None
    bad: int  # trials that measured it
    good: int  # likewise
    unmeasured: int  # trials that did not
    threshold: float | None = None  # where its alarm is raised
    chosen: bool = False  # whether the threshold was chosen on these trials
    lead: Lead | None = None  # hits, false alarms, and epochs from the alarm to the end

    @property
    def title(self) -> str:
        """The indicator for people, with the reading where it has several."""
        reading = {"last": "at the end", "peak": "at its peak"}[self.reading]
        return f"{self.metric.title}, {reading}" if len(self.metric.reading) > 1 else self.metric.title

    @property
    def conclusion(self) -> str:
        """The conclusion in words."""
        if self.area is None or self.interval is None:
            return "none: no task has both bad and good trials"
        if min(self.bad, self.good) < FEW:
            return f"none: fewer than {FEW} bad or good trials"
        if 0.5 in self.interval:
            return "not distinguishable from chance"
        return "predicts bad results" if self.area > 0.5 else "points the other way"


def calibrate(cases: Sequence[Case], read: Iterable[tuple[Metric, Reading]] | None = None) -> list[Calibration]:
    """A row for each indicator that at least one case measured, those that predict bad results best first."""
    chosen = indicators() if read is None else read
    rows = [_row(metric, how, cases) for metric, how in chosen if any(case.series.get(metric.name) for case in cases)]
    return sorted(rows, key=lambda row: -1.0 if row.area is None else row.area, reverse=True)


def pooled_area(groups: Iterable[tuple[Sequence[float], Sequence[float]]]) -> tuple[float, Interval] | None:
    r"""Area under the ROC curve over strata; Newcombe's variances add as :math:`\sum_t (n_t m_t / \sum n m)^2 V_t`."""
    held = [(bad, good) for bad, good in groups if len(bad) and len(good)]
    if not held:
        return None
    if len(held) == 1:
        only = separation(*held[0])
        return only.value, only.interval
    sizes = [(len(bad), len(good)) for bad, good in held]
    pairs = sum(n * m for n, m in sizes)
    area = sum(separation(bad, good).value * len(bad) * len(good) for bad, good in held) / pairs

    def variance(theta: float) -> float:
        return sum((n * m / pairs) ** 2 * area_variance(theta, n, m) for n, m in sizes)

    return area, newcombe_interval(area, variance)


def cases_of(study: StudyData) -> tuple[list[Case], str]:
    """The searches of a study, and a sentence on what counted as bad in each task."""
    found, said = [], []
    for task in study.tasks:
        bound, why = _bound(study, task)
        if bound is None:
            continue
        better = study.metric(task).higher_is_better
        said.append(f"{task_name(task)}: {'under' if better else 'over'} {study.metric(task).shown(bound)}, {why}")
        for record in study.of(task):
            series, verdict = study.series.get(record.folder), record.held["verdict"]
            if record.baseline or record.score is None or not series:
                continue
            end = max(epoch for values in series.values() for epoch in values)
            bad = record.score < bound if better else record.score > bound
            state = STATES.get(verdict["state"]) if verdict else None
            judged = {} if state is None else {metrics.VERDICT.name: {end: state}}
            since = verdict["since"] if verdict else None
            found.append(Case(f"{study.root}: {task_name(task)}", {**series, **judged}, bad, end, since))
    return found, "; ".join(said)


def as_rows(rows: Iterable[Calibration]) -> list[dict[str, Any]]:
    """Rows for ``calibration.csv``."""
    return [
        {
            "indicator": row.metric.name, "reading": row.reading, "warns": row.metric.worse,
            "auroc": row.area, "low": row.interval and row.interval.low, "high": row.interval and row.interval.high,
            "n_bad": row.bad, "n_good": row.good, "n_unmeasured": row.unmeasured, "threshold": row.threshold,
            "threshold_chosen_here": row.chosen,
            "hits": row.lead and row.lead.hits.count, "false_alarms": row.lead and row.lead.false
            and row.lead.false.count, "lead_epochs_median": row.lead and row.lead.median, "conclusion": row.conclusion,
        }
        for row in rows
    ]  # fmt: skip


def _bound(study: StudyData, task: Task) -> tuple[float | None, str]:
    random, better = study.random(task), study.metric(task).higher_is_better
    if random:
        return fmean(random), f"the mean of {len(random)} random architectures ({RANDOM})"
    scores = sorted((r.score for r in study.of(task) if r.score is not None and not r.baseline), reverse=not better)
    third = len(scores) // 3
    return (scores[third], f"the bottom third of {len(scores)} searches") if third else (None, "")


def _sign(metric: Metric) -> float:
    """Turns values so that high ones warn."""
    return -1.0 if metric.worse == "low" else 1.0


def turned(metric: Metric, reading: Reading, series: Series, until: float = math.inf) -> float | None:
    """The value that counts up to an epoch, turned so that high ones warn; ``None`` if it was not measured by then."""
    values = {epoch: _sign(metric) * value for epoch, value in series.get(metric.name, {}).items() if epoch <= until}
    if not values:
        return None
    return values[max(values)] if reading == "last" else max(values.values())


def _row(metric: Metric, reading: Reading, cases: Sequence[Case]) -> Calibration:
    read = [(case, value) for case in cases if (value := turned(metric, reading, case.series)) is not None]
    groups = [
        tuple([value for case, value in read if case.task == task and case.bad is bad] for bad in (True, False))
        for task in dict.fromkeys(case.task for case, _ in read)
    ]
    bad, good = (sum(len(group[k]) for group in groups) for k in (0, 1))
    value, interval = pooled_area((group[0], group[1]) for group in groups) or (None, None)
    alarms = _alarms(metric, reading, read, value is not None and value > 0.5)
    return Calibration(metric, reading, value, interval, bad, good, len(cases) - len(read), *alarms)


def _alarms(
    metric: Metric, reading: Reading, read: Sequence[tuple[Case, float]], predicts: bool
) -> tuple[float | None, bool, Lead | None]:
    """Threshold, whether it was chosen on these cases, and hits and false alarms."""
    cases, sign = [case for case, _ in read], _sign(metric)
    if not any(case.bad for case in cases):
        return None, False, None
    if metric == metrics.VERDICT:
        return None, False, _lead(cases, [case.since for case in cases])
    if (row := next((row for row in metric.thresholds if not row.chance), None)) is not None:
        raised = [first_alarm(_judged(case, row), lambda v: row.passes(v, row.value), row.hold) for case in cases]
        return row.value, False, _lead(cases, raised)
    if not predicts:
        return None, False, None
    chosen = youden([case.bad for case in cases], [value for _, value in read])
    since = first_alarm if reading == "peak" else standing_since
    alarms = [since(case.series[metric.name], lambda value: sign * value > chosen) for case in cases]
    return sign * chosen, True, _lead(cases, alarms)


def _judged(case: Case, row: Threshold) -> dict[int, float]:
    """The values in the part of the search in which the verdict judges them."""
    whole = case.end + 1
    values = case.series.get(row.series, {}).items()
    return {at: value for at, value in values if row.after <= (at + 1) / whole <= row.before or at == case.end}


def _lead(cases: Sequence[Case], alarms: Sequence[int | None]) -> Lead:
    both = list(zip(cases, alarms, strict=True))
    bad, good = ([alarm for case, alarm in both if case.bad is kind] for kind in (True, False))
    return lead_time(bad, [case.end for case in cases if case.bad], good)


def first_alarm(values: Mapping[int, float], seen: Callable[[float], bool], hold: int = 1) -> int | None:
    """First epoch at which a sign has been seen in so many measurements in a row, or ``None``."""
    row = 0
    for epoch, value in sorted(values.items()):
        row = row + 1 if seen(value) else 0
        if row == hold:
            return epoch
    return None


def standing_since(values: Mapping[int, float], seen: Callable[[float], bool]) -> int | None:
    """Epoch from which on a sign is seen to the end, or ``None``."""
    return min(takewhile(lambda epoch: seen(values[epoch]), sorted(values, reverse=True)), default=None)


def youden(bad: Sequence[bool], values: Sequence[float]) -> float:
    """The threshold with the largest share of hits minus that of false alarms; just under a value that is seen."""
    read, chosen = np.asarray(values, dtype=float), np.asarray(bad, dtype=bool)
    ordered = np.unique(read)
    middles = [ordered[0] - 1.0, *((ordered[1:] + ordered[:-1]) / 2)]
    rates = [(read[chosen] > at).mean() - ((read[~chosen] > at).mean() if (~chosen).any() else 0.0) for at in middles]
    return float(middles[int(np.argmax(rates))])
