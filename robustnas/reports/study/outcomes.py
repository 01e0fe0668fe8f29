"""The sections of a study's report on what was measured: indicators of collapse, curves over time, cost."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from statistics import fmean

from robustnas.analysis import metrics
from robustnas.analysis.registry import find, scores
from robustnas.plotting.charts import Chart, Point, Series
from robustnas.reports.rendering import Cell, Table, duration, figure
from robustnas.reports.study.calibration import FEW, Calibration
from robustnas.reports.study.study_data import StudyData, Task, entry_name, entry_of_record, task_name
from robustnas.reports.svg import STAGES, Drawing, draw, stacked
from robustnas.studies.results import Record


def collapse(study: StudyData, rows: Sequence[Calibration], bad: str, cases: int) -> dict[str, object]:
    """Measurements during the searches plotted over the final score, and how well each predicted it."""
    curvature, charts = metrics.CURVATURE.name, []
    for task in study.tasks:
        metric, where = study.metric(task), _where(study, task)
        for words, read in (("at the end", study.last), ("at its peak", study.peak)):
            axis = f"{metrics.CURVATURE.title}, {words}"
            points = [(r, read(r, curvature), r.score and metric.scale * r.score) for r in study.of(task)]
            charts.append(_scatter(study, f"Curvature {words}, and the final score{where}", axis, metric.said, points))
    entropy, gap = metrics.ENTROPY, metrics.GAP
    points = [(r, study.last(r, entropy.name), study.last(r, gap.name)) for r in study.records]
    title = f"{entropy.heading} and {gap.title}, at the end"
    charts.append(_scatter(study, title, entropy.title, gap.title, points))
    return {"charts": draw(*charts), "calibration": _calibration(rows, bad, cases)}


def _scatter(
    study: StudyData, title: str, x: str, y: str, held: Sequence[tuple[Record, float | None, float | None]]
) -> Chart:
    found: dict[str, list[Point]] = {}
    for record, a, b in held:
        if a is not None and b is not None:
            note = f"{entry_name(record)}: {figure(a)}, {figure(b)}"
            found.setdefault(entry_of_record(record).label, []).append(Point(a, b, note=note))
    lines = [Series(e.label, found.get(e.label, []), colour=study.number(e), joined=False) for e in study.entries]
    return Chart(title, lines, x, y)


def _calibration(rows: Sequence[Calibration], bad: str, cases: int) -> Table | None:
    if not bad or all(row.area is None for row in rows):
        return None
    body: list[list[object]] = []
    for row in rows:
        lead, inside = row.lead, row.interval
        body.append([
            row.title, row.metric.worse, None if row.area is None else f"{row.area:.2f}",
            None if inside is None else f"{inside.low:.2f} to {inside.high:.2f}", row.bad, row.good,
            row.unmeasured or None,
            None if row.threshold is None else f"{figure(row.threshold)}{'*' if row.chosen else ''}",
            lead and lead.hits, lead and lead.false,
            None if lead is None or lead.median is None else f"{lead.median:g}",
            Cell(row.conclusion, "words"),
        ])  # fmt: skip
    head = ["indicator", "bad if", "AUROC", "95 % interval", "bad", "good", "not measured", "threshold", "hits",
        "false alarms", "lead, epochs", "conclusion"]  # fmt: skip
    few = max((min(row.bad, row.good) for row in rows), default=0) < FEW
    notes = [
        f"A search is bad if its score is: {bad}. AUROC: share of pairs of a bad and a good search of one task that "
        "the indicator orders correctly; 0.5 is chance. Interval: Newcombe's. Threshold: that of the verdict, or (*) "
        "the one that separates these searches best, which is optimistic. Lead: epochs from the alarm to the end of "
        "the search, median over the bad searches with an alarm. With so many indicators, about one in twenty is "
        "significant by chance."
    ]
    notes += [f"With fewer than {FEW} bad or good searches nothing can be concluded from this table."] if few else []
    return Table(f"Indicators, over {cases} searches", head, body, "numbers", notes)


def over_time(study: StudyData) -> list[Drawing]:
    """Charts over seconds of search: the true accuracy where a table has it, and that of the supernet."""
    charts = []
    for task in study.tasks:
        quality = _quality(study, task)
        for name in (metrics.TRUTH.name, *([quality] if quality else [])):
            lines = [
                Series(entry_of_record(r).label, points, colour=study.number(entry_of_record(r)))
                for r in study.of(task) if (points := _curve(study, r, name))
            ]  # fmt: skip
            axis = f"{find(name).title}, %" if name == metrics.TRUTH.name else name
            charts.append(Chart(f"{find(name).heading}{_where(study, task)}", lines, "seconds of search", axis))
    return draw(*charts)


def _quality(study: StudyData, task: Task) -> str | None:
    names = {name for r in study.of(task) for row in r.held["epochs"] for name in row if name.startswith("val/")}
    return next((name for name in (*scores("val"), *sorted(names)) if name in names), None)


def _curve(study: StudyData, record: Record, name: str) -> list[Point]:
    rows = record.held["epochs"]
    times = dict(zip((row["epoch"] for row in rows), accumulate(row["seconds"] for row in rows), strict=True))
    held = study.series.get(record.folder, {}).get(name) or {row["epoch"]: row[name] for row in rows if name in row}
    return [
        Point(times[at], value, note=f"{entry_name(record)}, epoch {at}: {figure(value)}")
        for at, value in sorted(held.items()) if at in times
    ]  # fmt: skip


def cost(study: StudyData) -> dict[str, object] | None:
    """Seconds of each stage, and hours of devices from end to end."""
    if not study.records:
        return None
    bars, rows = dict[str, dict[str, float]](), list[list[object]]()
    for entry in study.entries:
        held = [record for record in study.records if entry_of_record(record) == entry]
        if held:
            mean = {stage: fmean(float(r.held["seconds"][stage]) for r in held) for stage in STAGES}
            total, bars[entry.label] = sum(mean.values()), mean
            devices = sorted({str(record.held["device"]) for record in held if record.held["device"]})
            rows.append([
                entry.label, *map(duration, mean.values()), duration(total), len(held),
                f"{total * len(held) / 3600:.3g}", ", ".join(devices), sum(bool(r.held["continued"]) for r in held),
            ])  # fmt: skip
    hours: dict[str, float] = {}
    for record in study.records:
        device = record.held["device"]
        kind = ("CPU hours" if device == "cpu" else "GPU hours") if device else "hours of unknown devices"
        hours[kind] = hours.get(kind, 0.0) + sum(record.held["seconds"].values()) / 3600
    head = ["method", *STAGES, "in total", "n", "hours, all trials", "device", "resumed trials"]
    note = (
        f"All finished trials from end to end: {', '.join(f'{value:.3g} {kind}' for kind, value in hours.items())}. "
        "An hour is one hour of a trial's process; trials that share a device use fewer hours of the device. Failed "
        "attempts and the tuning of hyperparameters are not counted."
    )
    title = "Mean time of a trial"
    return {"bars": stacked(f"{title}, by stage", bars), "table": Table(title, head, rows, "numbers", [note])}


def _where(study: StudyData, task: Task) -> str:
    return f", {task_name(task)}" if len(study.tasks) > 1 else ""
