r"""How well each indicator foretold a bad final architecture, over the cells of studies.

A cell is *bad* if its final score is worse than the mean of random architectures of its task; in a task without them,
if it is in the bottom third of the task's searches. An indicator is read at the end of the search (``last``) or at its
worst (``peak``), and compared within tasks only, since a curvature of one space says nothing about another:

.. math:: \hat\theta = \frac{\sum_t U_t}{\sum_t n_t m_t}

is the share of pairs of a bad and a good cell of one task that it orders rightly, a tie counting half. An alarm is
given where a threshold of the verdict is passed as often in a row, and in that part of the search, as the verdict asks.
Where the verdict has none, the threshold is that which tells these very cells apart best (Youden's J), which flatters
it, and the alarm is given since when it was passed for good, or for a peak first passed. The lead is counted from the
alarm to the end of the search, when the architecture is final.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from scipy import optimize, stats

from robustnas.analysis.registry import thresholds
from robustnas.analysis.thresholds import Threshold
from robustnas.reports.study.indicators import INDICATORS, STATE, STATES, Indicator
from robustnas.reports.study.study_data import RANDOM, StudyData, Task, task_name
from robustnas.statistics import Interval, Lead, lead_time, separation
from robustnas.statistics.agreement import area_variance

FEW = 5  # bad or good cells, below which nothing is concluded
Series = Mapping[str, Mapping[int, float]]


@dataclass(frozen=True)
class Case:
    """A finished search with what became of it.

    Args:
        task: What it was a search for: cells of different tasks are not compared.
        series: Every series that was recorded, by name and epoch.
        bad: Whether what it found was bad.
        end: Its last epoch.
        since: First epoch of the verdict's present state, ``None`` for a healthy one.
    """

    task: str
    series: Series
    bad: bool
    end: int
    since: int | None = None


@dataclass(frozen=True)
class Calibration:
    """How well an indicator foretold bad ends.

    Args:
        indicator: The indicator.
        area: Area under the ROC curve, within tasks; one half says nothing, under it the indicator points the other
            way. ``None`` where no task has both bad and good cells that measured it.
        interval: Interval of it.
        bad: Bad cells that measured it.
        good: Good ones.
        unmeasured: Cells that did not.
        threshold: Where its alarm is raised.
        chosen: Whether the threshold was chosen with these very cells in sight.
        lead: Hits, false alarms, and epochs from the alarm to the end.
    """

    indicator: Indicator
    area: float | None
    interval: Interval | None
    bad: int
    good: int
    unmeasured: int
    threshold: float | None = None
    chosen: bool = False
    lead: Lead | None = None

    @property
    def conclusion(self) -> str:
        """What follows, in words."""
        if self.area is None or self.interval is None:
            return "no bad and good cells of one task to compare"
        if min(self.bad, self.good) < FEW:
            return f"nothing: fewer than {FEW} bad or good cells"
        if 0.5 in self.interval:
            return "cannot be told from chance"
        return "foretells" if self.area > 0.5 else "points the other way"


def calibrate(cases: Sequence[Case], indicators: Iterable[Indicator] = INDICATORS) -> list[Calibration]:
    """Measure how well indicators foretold bad ends.

    Args:
        cases: Finished searches.
        indicators: What to look at.

    Returns:
        A row for each indicator that at least one case measured, those that foretell best first.
    """
    rows = [_row(indicator, cases) for indicator in indicators if any(_values(indicator, case) for case in cases)]
    return sorted(rows, key=lambda row: -1.0 if row.area is None else row.area, reverse=True)


def pooled_area(groups: Iterable[tuple[Sequence[float], Sequence[float]]]) -> tuple[float, Interval] | None:
    r"""Area under the ROC curve over strata, with Newcombe's interval, whose variances add as
    :math:`\sum_t w_t^2 V_t(\theta)` with :math:`w_t = n_t m_t / \sum n m`.

    Args:
        groups: Values of bad and of good cells of each stratum; those without one kind are left out.

    Returns:
        The area and its interval, or ``None`` where there is nothing to compare.
    """  # noqa: D205
    held = [(bad, good) for bad, good in groups if len(bad) and len(good)]
    if not held:
        return None
    if len(held) == 1:
        only = separation(*held[0])
        return only.value, only.interval
    sizes = [(len(bad), len(good)) for bad, good in held]
    pairs = sum(n * m for n, m in sizes)
    area = sum(separation(bad, good).value * len(bad) * len(good) for bad, good in held) / pairs
    z = float(stats.norm.ppf(0.975))

    def outside(theta: float) -> float:
        variance = sum((n * m / pairs) ** 2 * area_variance(theta, n, m) for n, m in sizes)
        return (area - theta) ** 2 - z**2 * variance

    low = optimize.brentq(outside, 1e-12, area - 1e-9) if area > 1e-9 else 0.0
    high = optimize.brentq(outside, area + 1e-9, 1 - 1e-12) if area < 1 - 1e-9 else 1.0
    return area, Interval(float(low), float(high), 0.95, "Newcombe")


def cases_of(study: StudyData) -> tuple[list[Case], str]:
    """The searches of a study with their ends, and what counted as bad.

    Args:
        study: The study.

    Returns:
        The cases, and a sentence on what is bad in each task.
    """
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
            state = {STATE: {end: STATES[verdict["state"]]}} if verdict and verdict["state"] in STATES else {}
            since = verdict["since"] if verdict else None
            found.append(Case(f"{study.root}: {task_name(task)}", {**series, **state}, bad, end, since))
    return found, "; ".join(said)


def as_rows(rows: Iterable[Calibration]) -> list[dict[str, Any]]:
    """Rows for ``calibration.csv``."""
    return [
        {
            "indicator": row.indicator.series, "reading": row.indicator.reading, "warns": row.indicator.warns,
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


def _values(indicator: Indicator, case: Case) -> Mapping[int, float]:
    return case.series.get(indicator.series) or {}


def _read(indicator: Indicator, case: Case) -> float | None:
    """The reading, turned so that high warns."""
    values = _values(indicator, case)
    if not values:
        return None
    sign = 1.0 if indicator.warns == "high" else -1.0
    return sign * values[max(values)] if indicator.reading == "last" else max(sign * v for v in values.values())


def _row(indicator: Indicator, cases: Sequence[Case]) -> Calibration:
    read = [(case, value) for case in cases if (value := _read(indicator, case)) is not None]
    tasks = dict.fromkeys(case.task for case, _ in read)
    groups = [
        tuple([value for case, value in read if case.task == task and case.bad is bad] for bad in (True, False))
        for task in tasks
    ]
    bad, good = (sum(len(group[k]) for group in groups) for k in (0, 1))
    area = pooled_area((group[0], group[1]) for group in groups)
    known = [case for case, _ in read]
    threshold, chosen, lead = _alarms(indicator, known, [v for _, v in read], bool(area and area[0] > 0.5))
    value, interval = area or (None, None)
    return Calibration(indicator, value, interval, bad, good, len(cases) - len(read), threshold, chosen, lead)


def _alarms(
    indicator: Indicator, cases: Sequence[Case], values: Sequence[float], foretells: bool
) -> tuple[float | None, bool, Lead | None]:
    bad = [case for case in cases if case.bad]
    if not bad:
        return None, False, None
    if indicator.series == STATE:
        return None, False, _lead(cases, [case.since for case in cases])
    row = next((row for row in thresholds() if row.series == indicator.series and not row.chance), None)
    sign = 1.0 if indicator.warns == "high" else -1.0
    if row is not None:
        alarms = [first_alarm(_judged(case, row), row.value, sign, row.hold) for case in cases]
        return row.value, False, _lead(cases, alarms)
    if not foretells:
        return None, False, None
    threshold = sign * _youden(cases, values)
    raised = first_alarm if indicator.reading == "peak" else standing_since
    return threshold, True, _lead(cases, [raised(_values(indicator, case), threshold, sign) for case in cases])


def _judged(case: Case, row: Threshold) -> dict[int, float]:
    """The values of the part of a search in which the verdict looks at them."""
    whole = case.end + 1
    values = case.series.get(row.series, {}).items()
    return {at: value for at, value in values if row.after <= (at + 1) / whole <= row.before or at == case.end}


def _lead(cases: Sequence[Case], alarms: Sequence[int | None]) -> Lead:
    both = list(zip(cases, alarms, strict=True))
    return lead_time(
        [alarm for case, alarm in both if case.bad],
        [case.end for case in cases if case.bad],
        [alarm for case, alarm in both if not case.bad],
    )


def first_alarm(values: Mapping[int, float], threshold: float, sign: float = 1.0, hold: int = 1) -> int | None:
    """First epoch at which a threshold has been passed so many measurements in a row, or ``None``."""
    row = 0
    for epoch, value in sorted(values.items()):
        row = row + 1 if sign * value > sign * threshold else 0
        if row == hold:
            return epoch
    return None


def standing_since(values: Mapping[int, float], threshold: float, sign: float = 1.0) -> int | None:
    """Epoch since which a threshold has been passed to the end, or ``None``."""
    since = None
    for epoch, value in sorted(values.items(), reverse=True):
        if sign * value <= sign * threshold:
            break
        since = epoch
    return since


def _youden(cases: Sequence[Case], values: Sequence[float]) -> float:
    """The threshold with the largest share of hits minus that of false alarms; just under a value that is seen."""
    read, bad = np.asarray(values, dtype=float), np.array([case.bad for case in cases])
    ordered = np.unique(read)
    middles = [ordered[0] - 1.0, *((ordered[1:] + ordered[:-1]) / 2)]
    rates = [(read[bad] > at).mean() - ((read[~bad] > at).mean() if (~bad).any() else 0.0) for at in middles]
    return float(middles[int(np.argmax(rates))])
