"""The sections of a study's report that compare: per task, over tasks, per part of a method."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median
from typing import Any

from robustnas.analysis.history import part
from robustnas.plotting.charts import Chart, Point, Series
from robustnas.reports.rendering import Cell, Table, figure
from robustnas.reports.study import analysis
from robustnas.reports.study.analysis import ALPHA, Family, Standing, in_words, shown_p, signed
from robustnas.reports.study.evaluations import settings_table, trained_columns, training_notes
from robustnas.reports.study.study_data import Score, StudyData, Task, task_name
from robustnas.reports.svg import Row, dot_plot, draw, rank_diagram
from robustnas.statistics import Comparison, Factorial, Friedman, Interval, Profile

HEAD = ("95 % interval", "pairs", "p, corrected", "smallest possible p", "effect size", "in words")


def main_results(study: StudyData) -> list[str]:
    """A sentence for each task: the best method, and which differences are significant."""
    reference, said = analysis.reference_of(study), []
    for task in study.tasks:
        rows, metric = analysis.leaderboard(study, task), study.metric(task)
        if not rows or reference is None:
            continue
        best, where = rows[0], f"{task_name(task)}: " if len(study.tasks) > 1 else ""
        words = f"{where}{best.entry.label} has the best mean, {metric.shown(best.summary.mean)} ({metric.said}, "
        words += best.summary.count + ")"
        if len(rows) > 1:
            sure = "is" if analysis.best_differs(study, task, rows) else "is not"
            words += f"; its difference from the second, {rows[1].entry.label}, {sure} significant"
        held = analysis.family(study, task, reference)
        sure_ones = [entry.label for entry, found in held.comparisons.items() if found.adjusted < ALPHA]
        if sure_ones:
            words += f". Significantly different from {reference.label}: {', '.join(sure_ones)}"
        elif held.comparisons:
            words += f". No method differs significantly from {reference.label}"
        below = [row.entry.label for row in rows if row.gain and row.gain.value < 0]
        said.append(words + (f". Worse on average than random architectures: {', '.join(below)}." if below else "."))
    return said


def results(study: StudyData) -> list[dict[str, object]]:
    """For each task with a score: leaderboard, charts, and comparisons with the reference."""
    tasks = [task for task in study.tasks if study.scored(task)]
    return [_results(study, task, explain=task == tasks[0]) for task in tasks]  # notes on reading stand in the first


def _results(study: StudyData, task: Task, explain: bool) -> dict[str, object]:
    rows, metric, reference = analysis.leaderboard(study, task), study.metric(task), analysis.reference_of(study)
    drawn = [_row(study, task, row, metric) for row in rows]
    lines = [
        Series(row.label, [Point(seed, value, note=f"{row.label}, seed {seed}: {figure(value)}")
            for seed, value in sorted(row.values.items())], colour=row.number)
        for row in sorted(drawn, key=lambda row: row.number)
    ]  # fmt: skip
    seeds = {seed for row in drawn for seed in row.values}
    found: dict[str, object] = {
        "title": f"Results: {task_name(task)}" if len(study.tasks) > 1 else "Results",
        "leaderboard": _leaderboard(study, task, rows, metric, explain), "settings": settings_table(study, task, rows),
        "dots": dot_plot("All scores, with the mean and its 95 % interval", metric.said, drawn),
        "seeds": draw(Chart(f"{metric.name} by seed", lines, "seed", metric.said, categories=True))
            if len(seeds) > 1 else [],
        "reference": reference.label if reference else "", "family": None, "missing": "", "power": None,
    }  # fmt: skip
    if reference is None or not study.scores(task, reference):
        return {**found, "missing": f"The reference {found['reference']} has no score on this task."}
    held = analysis.family(study, task, reference)
    if not held.comparisons:
        missing = f"No comparison with {reference.label}: a paired test needs two seeds that both methods have."
        return {**found, "missing": missing}
    power = f"{held.power} All differences are in {metric.points}." if held.power else None
    return {**found, "family": _family(held, metric, explain), "power": power}


def _row(study: StudyData, task: Task, row: Standing, metric: Score) -> Row:
    scale, inside = metric.scale, row.summary.interval and metric.possible(row.summary.interval)
    values = {seed: scale * value for seed, value in study.scores(task, row.entry).items()}
    interval = inside and Interval(scale * inside.low, scale * inside.high)
    return Row(row.entry.label, study.number(row.entry), values, scale * row.summary.mean, interval)


def _leaderboard(study: StudyData, task: Task, rows: Sequence[Standing], metric: Score, explain: bool) -> Table:
    truth = [[study.truths[r.folder] for r in study.of(task, row.entry) if r.folder in study.truths] for row in rows]
    published = [study.published.get(row.entry.variant) for row in rows]
    gains, body, trained = any(row.gain for row in rows), [], trained_columns(study, task, rows)
    for row, known, others in zip(rows, truth, published, strict=True):
        found, inside = row.summary, row.summary.interval and metric.possible(row.summary.interval)
        cells: list[object] = [
            row.entry.label, metric.shown(found.mean),
            f"{metric.shown(inside.low)} to {metric.shown(inside.high)}" if inside else "one seed",
            None if found.deviation is None else metric.shown(found.deviation), found.count[4:],
            f"{metric.shown(found.best.value)} (of {found.n})", f"{metric.shown(found.worst.value)} (of {found.n})",
            *(column[row.entry] for column in trained.values()),
        ]  # fmt: skip
        if gains:
            cells.append(_gain(row))
        if any(truth):
            accuracy, regret, rank = ([one[name] for one in known if one.get(name) is not None]
                for name in ("accuracy", "regret", "rank"))  # fmt: skip
            cells += [f"{fmean(values):.2f} (n = {len(values)})" if values else None for values in (accuracy, regret)]
            cells.append(f"{median(rank):g}" if rank else None)
        if any(published):
            cells.append(_published(others))
        body.append(cells)
    head = ["method", f"mean {metric.said}", "95 % interval", "std", "n", "best", "worst", *trained]
    head += ["gain over random, %"] if gains else []
    head += ["true accuracy", "regret", "rank, median"] if any(truth) else []
    head += ["published"] if any(published) else []
    notes = [*_leaderboard_notes(gains), *training_notes(study, task)] if explain else []
    if any(truth):
        best, mean = (next((one[name] for known in truth for one in known if one.get(name) is not None), None)
            for name in ("best", "mean"))  # fmt: skip
        bounds = "" if best is None or mean is None else f"; its best is {best:.2f}, its mean {mean:.2f}"
        notes.append(f"True accuracy, regret and rank come from a table of all architectures{bounds}.")
    better = "higher" if metric.higher_is_better else "lower"
    return Table(f"Leaderboard, {metric.name}, {better} is better", head, body, "numbers", notes)


def _leaderboard_notes(gains: bool) -> list[str]:
    return [
        "n: trials with a score, of those planned. Interval of the mean: Student's t below 20 trials, BCa bootstrap "
        "from 20 on, cut at 0 and 100 % for accuracies; one collapsed trial makes it wide. The more trials, the "
        "further apart are best and worst.",
        "Gain over random: 100 (mean − r) / r with the mean r of the random architectures of the task "
        "(arXiv:1912.12522), with Fieller's interval where both have two seeds." if gains else
        "No gain over random is shown: it needs finished trials of RandomGenotype, and a score for which higher is "
        "better.",
    ]  # fmt: skip


def _gain(row: Standing) -> str | None:
    if row.gain is None:
        return None
    inside = row.gain.interval
    return signed(row.gain.value, 1) + (f" ({signed(inside.low, 1)} to {signed(inside.high, 1)})" if inside else "")


def _published(held: Any) -> str | None:
    mean, std = part(held, "mean"), part(held, "std")
    if mean is None:
        return None
    spread = "" if std is None else f" ± {std:g}"
    return f"{mean:g}{spread}, {part(held, 'metric') or 'metric not named'} ({part(held, 'source')})"


def _family(held: Family, metric: Score, explain: bool) -> Table:
    reference, count = held.reference.label, len(held.comparisons)
    rows = [comparison(entry.label, found, metric, reference) for entry, found in held.comparisons.items()]
    n, many = min(found.result.n for found in held.comparisons.values()), "s" if count > 1 else ""
    notes = [
        f"Differences over the seeds that both methods have, in {metric.points}. p: exact sign-flip test, with Holm's "
        f"correction for the {count} comparison{many} of this table. Smallest possible p: the smallest that this "
        "number of seeds allows. Effect size: mean difference over its standard deviation (Hedges' corrected d)."
    ] if explain else []  # fmt: skip
    notes.append(
        f"With {count} comparison{many}, a corrected p below 0.05 needs at least {held.seeds_needed} seeds, however "
        f"clear the difference; this study has {n}."
    )
    if held.alone:
        notes.append(f"Without two common seeds: {', '.join(entry.label for entry in held.alone)}.")
    head = ["method", f"minus {reference}", *HEAD]
    return Table(f"Each method compared with {reference}, seed by seed", head, rows, "numbers", notes)


def comparison(label: str, found: Comparison, metric: Score, reference: str) -> list[object]:
    """A comparison as cells of a table, in the order of ``HEAD``."""
    result = found.result
    within = f"{metric.shown(result.interval.low, True)} to {metric.shown(result.interval.high, True)}"
    return [
        label, metric.shown(result.difference, True), within, result.n, shown_p(found.adjusted),
        shown_p(found.smallest), None if result.effect is None else signed(result.effect),
        Cell(in_words(found, metric, reference), "words"),
    ]  # fmt: skip


def over_tasks(study: StudyData) -> dict[str, object]:
    """Ranks and performance profiles, or why there are none."""
    ranks, shares, why = analysis.ranking(study)
    labels = {entry.label: study.number(entry) for entry in study.entries}
    unit = study.metric(next(task for task in study.tasks if study.scored(task))).points if shares else ""
    return {
        "missing": why, "ranks": rank_diagram(ranks) if ranks else None,
        "friedman": _friedman(ranks.friedman) if ranks else "",
        "profiles": draw(profile_chart(shares, unit, labels)) if shares else [], "tasks": shares.n if shares else 0,
    }  # fmt: skip


def profile_chart(found: Profile, unit: str, numbers: dict[str, int]) -> Chart:
    """Performance profiles: share of tasks within a distance of the best, a line of steps for each entry."""
    lines, last = [], max(found.taus[-1], 1e-9) * 1.08
    for name, shares in found.shares.items():
        points: list[Point] = []
        for tau, share in zip(found.taus, shares, strict=True):
            points += [*([Point(tau, points[-1].y)] if points else []), Point(tau, share)]
        lines.append(Series(name, [*points, Point(last, shares[-1])], colour=numbers[name]))
    title = "Share of tasks within a distance of the best"
    return Chart(title, lines, f"distance from the best, {unit}", "share of tasks", dots=False)


def _friedman(test: Friedman) -> str:
    sources = {
        "exact": "exact, over all orders of the ranks",
        "sampled": f"from random orders of the ranks, standard error {test.error:.1g}",
        "F": "Iman and Davenport's approximation",
    }
    if test.p < ALPHA:
        sure = (
            "the ranks differ. Two entries whose ranks differ by at least the critical difference of Nemenyi's test "
            "differ at the 5 % level (Demšar, JMLR 2006)."
        )
    elif test.smallest >= ALPHA:
        sure = f"{test.n} tasks cannot show a difference, whatever the ranks."
    else:
        sure = "no two entries differ significantly."
    p = f"p {shown_p(test.p, '= ')} ({sources[test.source]})"
    return f"Friedman's test over {test.n} tasks: {p}: {sure} A task counts once, with its mean over seeds."


def parts(study: StudyData) -> list[Table | str]:
    """Main effects, interactions, parts left out or added: tables, and sentences where one is missing."""
    shown: list[Table | str] = []
    for task in study.tasks:
        metric, where = study.metric(task), f", {task_name(task)}" if len(study.tasks) > 1 else ""
        for design in analysis.designs(study, task):
            reference, left_out = design.family.reference.label, design.kind == "leave_one_out"
            verb = "left out of" if left_out else "added to"
            rows = [comparison(design.parts[entry], found, metric, reference)
                for entry, found in design.family.comparisons.items()]  # fmt: skip
            caption = f"One part at a time {verb} {design.variant}, compared with {reference}{where}"
            shown.append(Table(caption, ["part", "difference", *HEAD], rows, "numbers") if rows else
                f"Parts {verb} {design.variant}{where}: no two common seeds are finished.")  # fmt: skip
        found, said = analysis.effects(study, task)
        if found is not None:
            shown.append(_effects(found, metric, where, said))
        elif said:
            shown.append(f"No main effects{where}. {said}")
    return shown


def _effects(found: Factorial, metric: Score, where: str, said: str) -> Table:
    tests, rows = {term.factors: term for term in found.terms}, []
    for one in found.effects:
        name = " and ".join(f"{factor} = {level}" for factor, level in zip(one.factors, one.levels, strict=True))
        within = f"{metric.shown(one.interval.low, True)} to {metric.shown(one.interval.high, True)}"
        kind, term = "main effect" if len(one.factors) == 1 else "interaction", tests[one.factors]
        rows.append([name, kind, metric.shown(one.value, True), within, shown_p(one.p), f"{term.partial:.2f}", one.n])
    note = (
        f"{said} n = {found.n} trials, mean {metric.shown(found.mean)}, residual standard deviation "
        f"{metric.shown(found.deviation)} with {found.freedom} degrees of freedom. Main effect: difference of means "
        "from the first level of the factor. Interaction: what both changes together add to the sum of the two "
        "effects. p is not corrected for the number of rows. Partial η²: share of the variance left by "
        "all other terms that this term explains."
    )
    head = ["change", "kind", "effect", "95 % interval", "p", "partial η²", "n"]
    return Table(f"Effects of factors and parts, in {metric.points}{where}", head, rows, "numbers", [note])
