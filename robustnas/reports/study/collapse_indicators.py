"""The sections of the page on what foretold a collapse, on curves over time, and on what it all cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from statistics import fmean

from robustnas.reports.markup import Markup, duration, figure, join, table, tag
from robustnas.reports.study.calibration import FEW, Calibration
from robustnas.reports.study.plots import Cloud, Point, plot, stacked
from robustnas.reports.study.study_data import StudyData, Task, entry_name, entry_of_record, task_name
from robustnas.studies.results import Record

STAGES = ("search", "selection", "evaluation")
PAIRS = {  # title: name of the axis, series, whether its peak counts
    "Curvature at the end against the final score": ("largest eigenvalue in α, last", "curvature/max", False),
    "Curvature at its peak against the final score": ("largest eigenvalue in α, peak", "curvature/max", True),
}


def signs(study: StudyData, rows: Sequence[Calibration], bad: str, cases: int) -> Markup:
    """What was measured during the searches, against what they found."""
    charts = []
    for task in study.tasks:
        metric, where = study.metric(task), f", {task_name(task)}" if len(study.tasks) > 1 else ""
        for title, (axis, series, peak) in PAIRS.items():
            read = study.peak if peak else study.last
            points = [(r, read(r, series), r.score) for r in study.of(task)]
            held = [(r, x, metric.scale * y) for r, x, y in points if x is not None and y is not None]
            charts.append(plot(f"{title}{where}", axis, metric.said, _clouds(study, held)))
    gaps = [(r, study.last(r, "alpha/entropy"), study.last(r, "gap/accuracy")) for r in study.records]
    both = [(r, x, y) for r, x, y in gaps if x is not None and y is not None]
    title = "Accuracy lost by rounding against entropy of α"
    charts.append(plot(title, "entropy of α, last", "accuracy lost by rounding", _clouds(study, both)))
    drawn = [chart for chart in charts if chart]
    none = tag("p", "No search measured curvature or gap; diagnostics do (--diagnostics.budget).", class_="missing")
    shown = [tag("div", *drawn, class_="charts") if drawn else none]
    return join([*shown, tag("h4", "How well each indicator foretold a bad end"), _calibration(rows, bad, cases)])


def _calibration(rows: Sequence[Calibration], bad: str, cases: int) -> Markup:
    if not bad or all(row.area is None for row in rows):
        why = (
            "it takes both bad and good searches of one task, with their histories; bad is worse than the mean of "
            "random architectures, or in the bottom third of at least three searches"
        )
        return tag("p", f"Nothing can be said: {why}.", class_="missing")
    body: list[list[object]] = []
    for row in rows:
        lead, inside = row.lead, row.interval
        area = "–" if row.area is None else f"{row.area:.2f}"
        within = "–" if inside is None else f"{inside.low:.2f} to {inside.high:.2f}"
        bound = "–" if row.threshold is None else f"{figure(row.threshold)}{'*' if row.chosen else ''}"
        hits = "–" if lead is None else f"{lead.hits}"
        false = "–" if lead is None or lead.false is None else f"{lead.false}"
        epochs = "–" if lead is None or lead.median is None else f"{lead.median:g}"
        body.append([
            row.indicator.says, row.indicator.warns, area, within, row.bad, row.good, row.unmeasured or "–", bound,
            hits, false, epochs, tag("span", row.conclusion),
        ])  # fmt: skip
    head = ["indicator", "warns if", "AUROC", "95 % interval", "bad", "good", "unmeasured", "alarm at",
        "hits", "false alarms", "lead, epochs", "what follows"]  # fmt: skip
    many = max((min(row.bad, row.good) for row in rows), default=0) >= FEW
    few = "" if many else f" With fewer than {FEW} bad or good searches nothing can be concluded from this table."
    notes = (
        f"Bad: {bad}. AUROC: share of pairs of a bad and a good search of one task that the indicator orders rightly; "
        "0.5 is chance. Interval: Newcombe's. Alarm: the verdict's threshold, or else (*) the one that tells these "
        "very searches apart best, which flatters it. Lead: epochs from the alarm to the end, median over the alarmed "
        f"bad searches. Many indicators are looked at: expect one in twenty to stand out by luck.{few}"
    )
    return join([
        table(f"Over {cases} searches", head, body, "numbers"), tag("p", notes, class_="note"),
    ])  # fmt: skip


def anytime(study: StudyData) -> Markup:
    """Curves over seconds of search: what a validation says, and what is true where a table knows."""
    charts = []
    for task in study.tasks:
        where = f", {task_name(task)}" if len(study.tasks) > 1 else ""
        names = ("truth/accuracy", _quality(study, task))
        for name, title in zip(names, ("True accuracy of the genotype", "Supernet on validation"), strict=True):
            clouds = [
                Cloud(entry_of_record(r).label, study.number(entry_of_record(r)), points, joined=True)
                for r in study.of(task) if name and (points := _curve(study, r, name))
            ]  # fmt: skip
            axis = "true accuracy, %" if name == "truth/accuracy" else str(name)
            charts.append(plot(f"{title}{where}", "seconds of search", axis, clouds))
    drawn = [chart for chart in charts if chart]
    if not drawn:
        return tag("p", "No search recorded its epochs.", class_="missing")
    note = "One line for each seed, over the time of search epochs; nothing smoothed."
    return join([tag("div", *drawn, class_="charts"), tag("p", note, class_="note")])


def _quality(study: StudyData, task: Task) -> str | None:
    names = dict.fromkeys(
        name for r in study.of(task) for row in r.held["epochs"] for name in row if name[:4] == "val/"
    )
    return next((name for name in names if name not in ("val/loss", "val/top5")), next(iter(names), None))


def _curve(study: StudyData, record: Record, name: str) -> list[Point]:
    rows = record.held["epochs"]
    times = dict(zip((row["epoch"] for row in rows), accumulate(row["seconds"] for row in rows), strict=True))
    held = study.series.get(record.folder, {}).get(name) or {row["epoch"]: row[name] for row in rows if name in row}
    return [
        Point(times[at], value, f"{entry_name(record)}, epoch {at}: {figure(value)}")
        for at, value in sorted(held.items()) if at in times
    ]  # fmt: skip


def cost(study: StudyData) -> Markup:
    """Seconds of search, selection and evaluation, and hours of devices from end to end."""
    if not study.records:
        return Markup()
    bars: dict[str, Mapping[str, float]] = {}
    rows: list[list[object]] = []
    for entry in study.entries:
        held = [record for record in study.records if entry_of_record(record) == entry]
        if held:
            mean = {stage: fmean(float(r.held["seconds"][stage]) for r in held) for stage in STAGES}
            bars[entry.label] = mean
            total = sum(mean.values())
            rows.append([
                entry.label, *map(duration, mean.values()), duration(total), len(held),
                f"{total * len(held) / 3600:.3g}", ", ".join(_devices(held)),
                sum(bool(r.held["continued"]) for r in held),
            ])  # fmt: skip
    hours: dict[str, float] = {}
    for record in study.records:
        kind = "hours of other devices"
        if record.held["device"]:
            kind = "CPU hours" if record.held["device"] == "cpu" else "GPU hours"
        hours[kind] = hours.get(kind, 0.0) + sum(record.held["seconds"].values()) / 3600
    head = ["method", *STAGES, "from end to end", "n", "hours of all", "device", "continued after a stop"]
    said = ", ".join(f"{value:.3g} {kind}" for kind, value in hours.items())
    note = (
        f"All finished cells from end to end: {said}. An hour is one of a cell's worker; where cells share a device, "
        "the device's own are fewer. Failed attempts and the tuning of hyper-parameters are not in these numbers."
    )
    return join([
        stacked("Mean time of a cell, by stage", bars), table("Mean time of a cell", head, rows, "numbers"),
        tag("p", note, class_="note"),
    ])  # fmt: skip


def _devices(records: Sequence[Record]) -> list[str]:
    return sorted({str(record.held["device"]) for record in records if record.held["device"]})


def _clouds(study: StudyData, held: Sequence[tuple[Record, float, float]]) -> Iterator[Cloud]:
    for entry in study.entries:
        points = [Point(x, y, f"{entry_name(r)}: {figure(x)}, {figure(y)}") for r, x, y in held if (
            entry_of_record(r) == entry)]  # fmt: skip
        yield Cloud(entry.label, study.number(entry), points)
