"""Cost against score in a study whose searches know the cost of what they find: trials, Pareto front, settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import NamedTuple

from robustnas.analysis.cost_outcome import figures
from robustnas.plotting.charts import Chart, Point, Series
from robustnas.reports.rendering import Table, figure
from robustnas.reports.study.study_data import Entry, Score, StudyData, Task, entry_name, entry_of_record, task_name
from robustnas.reports.svg import draw
from robustnas.statistics import mean_interval, pareto_front, summarise
from robustnas.studies.results import Record

FRONT = 6  # number of its colour, grey


class Costed(NamedTuple):
    """A finished trial with its cost and its score, as it is shown."""

    record: Record
    cost: float
    score: float


class Axis(NamedTuple):
    """What a cost is called, and the trials of a task of which it is known."""

    title: str
    trials: Sequence[Costed]


def front(study: StudyData) -> dict[str, object] | None:
    """Charts and tables of cost against score; ``None`` where no search had a table of costs."""
    if not study.costs:
        return None
    shown = [(task, axis) for task in study.tasks for axis in axes(study, task)]
    tables = [
        table for task, axis in shown for table in (_front_table(study, task, axis), _settings(study, task, axis))
    ]
    return {"charts": draw(*charts(study)), "tables": tables} if shown else None


def axes(study: StudyData, task: Task) -> list[Axis]:
    """The costs of a task: by the tables of its searches, and the parameters of the networks that were trained."""
    metric, found = study.metric(task), dict[str, list[Costed]]()
    for record in study.of(task):
        if record.score is None:
            continue
        score, outcome = metric.scale * record.score, study.costs.get(record.folder)
        if outcome is not None:
            title = f"{outcome.measure.replace('_', ' ')} of the genotype, in {outcome.unit}"
            found.setdefault(title, []).append(Costed(record, outcome.cost, score))
        if (count := record.held.get("parameters")) is not None:
            found.setdefault("parameters of the trained network", []).append(Costed(record, float(count), score))
    return [Axis(title, trials) for title, trials in found.items() if len({one.cost for one in trials}) > 1]


def charts(study: StudyData) -> list[Chart]:
    """For each task and cost, a chart of all trials with their Pareto front, and one of the means by setting."""
    made = []
    for task in study.tasks if study.costs else ():
        for axis in axes(study, task):
            made += [_trials(study, task, axis), _means(study, task, axis)]
    return made


def _trials(study: StudyData, task: Task, axis: Axis) -> Chart:
    metric = study.metric(task)
    lines = [
        Series(entry.label, [
            Point(one.cost, one.score, note=f"{entry_name(one.record)}: {figure(one.cost)}, {figure(one.score)}")
            for one in trials
        ], colour=study.number(entry), joined=False)
        for entry, trials in _by_entry(study, axis).items()
    ]  # fmt: skip
    steps = Series("Pareto front", _steps(_best(axis, metric)), colour=FRONT)
    return Chart(f"Every trial, and the Pareto front{_where(study, task)}", [*lines, steps], axis.title, metric.said,
        dots=False)  # fmt: skip


def _steps(best: Sequence[Costed]) -> list[Point]:
    """The corners of the front: up to the next cost, the best score is that of the trial before."""
    corners = [Point(one.cost, one.score) for one in best[:1]]
    for before, one in pairwise(best):
        corners += [Point(one.cost, before.score), Point(one.cost, one.score)]
    return corners


def _means(study: StudyData, task: Task, axis: Axis) -> Chart:
    """A line for each variant through the means of its settings, with the interval of each mean score."""
    metric, points = study.metric(task), dict[str, list[Point]]()
    for entry, trials in _by_entry(study, axis).items():
        found = summarise([one.score / metric.scale for one in trials])
        inside = found.interval and metric.possible(found.interval)
        ends = (metric.scale * inside.low, metric.scale * inside.high) if inside else None
        cost, mean = fmean(one.cost for one in trials), metric.scale * found.mean
        note = f"{entry.label}: {figure(cost)}, {figure(mean)} ({found.count})"
        points.setdefault(entry.variant, []).append(Point(cost, mean, ends, note))
    numbers = {entry.variant: study.number(entry) for entry in reversed(study.entries)}
    lines = [Series(name, sorted(held, key=lambda one: one.x), colour=numbers[name]) for name, held in points.items()]
    return Chart(f"Means by setting, with 95 % intervals{_where(study, task)}", lines, axis.title, metric.said)


def _best(axis: Axis, metric: Score) -> list[Costed]:
    places = pareto_front(
        [one.cost for one in axis.trials], [one.score for one in axis.trials], metric.higher_is_better
    )
    return [axis.trials[place] for place in places]


def _front_table(study: StudyData, task: Task, axis: Axis) -> Table:
    metric, best = study.metric(task), _best(axis, study.metric(task))
    shown = figures({one.record.folder: one.cost for one in best})
    rows = [[entry_name(one.record), shown[one.record.folder], metric.shown(one.score / metric.scale)] for one in best]
    note = (
        f"{len(best)} of {len(axis.trials)} trials: no other trial costs no more and scores no worse, with one of both "
        "better. A front takes the best of all trials, and so it is optimistic: compare the means."
    )
    return Table(f"Pareto front{_where(study, task)}", ["trial", axis.title, metric.said], rows, "numbers", [note])


def _settings(study: StudyData, task: Task, axis: Axis) -> Table:
    metric, rows = study.metric(task), []
    for entry, trials in _by_entry(study, axis).items():
        costs, found = [one.cost for one in trials], summarise([one.score / metric.scale for one in trials])
        inside = found.interval and metric.possible(found.interval)
        met = [o.met for one in trials if (o := study.costs.get(one.record.folder)) is not None and o.met is not None]
        rows.append([
            entry.label, found.n, _shown(fmean(costs)), _within(costs), f"{sum(met)} of {len(met)}" if met else None,
            metric.shown(found.mean), f"{metric.shown(inside.low)} to {metric.shown(inside.high)}" if inside else None,
        ])  # fmt: skip
    head = ["method", "n", f"mean {axis.title}", "95 % interval", "target met", metric.said, "95 % interval"]
    return Table(f"Cost and score by setting{_where(study, task)}", head, rows, "numbers")


def _within(costs: Sequence[float]) -> str | None:
    if len(costs) < 2:
        return None
    inside = mean_interval(costs)
    return f"{_shown(max(inside.low, 0.0))} to {_shown(inside.high)}"


def _shown(cost: float) -> str:
    """A mean cost for people."""
    return f"{cost:,.0f}" if cost >= 1000 else figure(cost)


def _by_entry(study: StudyData, axis: Axis) -> Mapping[Entry, list[Costed]]:
    found: dict[Entry, list[Costed]] = {}
    for one in axis.trials:
        found.setdefault(entry_of_record(one.record), []).append(one)
    return {entry: found[entry] for entry in study.entries if entry in found}


def _where(study: StudyData, task: Task) -> str:
    return f", {task_name(task)}" if len(study.tasks) > 1 else ""
