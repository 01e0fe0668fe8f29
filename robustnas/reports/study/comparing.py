"""The sections of the page that compare: task by task, over tasks, part by part."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median
from typing import Any

from robustnas.reports.markup import Markup, figure, join, table, tag
from robustnas.reports.search_data import part
from robustnas.reports.study.ablation_factors import designs, effects
from robustnas.reports.study.analysis import (
    ALPHA,
    Family,
    Standing,
    best_differs,
    family,
    in_words,
    leaderboard,
    ranking,
    reference_of,
    shown_p,
)
from robustnas.reports.study.plots import Cloud, Point, Row, dot_plot, plot, rank_diagram, staircase
from robustnas.reports.study.study_data import Metric, StudyData, Task, task_name
from robustnas.statistics import Factorial, Friedman


def in_short(study: StudyData) -> Markup:
    """The answer in a few sentences, first what is sure."""
    reference = reference_of(study)
    said: list[object] = []
    for task in study.tasks:
        rows, metric = leaderboard(study, task), study.metric(task)
        if not rows or reference is None:
            continue
        first = rows[0]
        where = f"{task_name(task)}: " if len(study.tasks) > 1 else ""
        lead = f"{where}{first.entry.label} has the best mean, {metric.shown(first.summary.mean)} ({metric.said}, "
        lead += f"{first.summary.count})"
        if len(rows) > 1:
            differs = best_differs(study, task, rows)
            lead += (
                f"; that it is better than the next, {rows[1].entry.label}, is {'shown' if differs else 'not shown'}"
            )
        held = family(study, task, reference)
        sure = [entry.label for entry, found in held.comparisons.items() if found.adjusted < ALPHA]
        if held.comparisons:
            words = f"From {reference.label} differ: {', '.join(sure)}" if sure else (
                f"No difference from {reference.label} is shown")  # fmt: skip
            lead += f". {words}"
        below = [row.entry.label for row in rows if row.gain and row.gain.value < 0]
        lead += f". Worse on average than random architectures: {', '.join(below)}" if below else ""
        said.append(tag("li", f"{lead}."))
    return tag("ul", *said, class_="short") if said else tag("p", "No cell with a score is finished.", class_="missing")


def tasks(study: StudyData) -> dict[str, Markup]:
    """A section for each task with a score: leaderboard, dots, comparisons, power."""
    return {f"Results: {task_name(task)}" if len(study.tasks) > 1 else "Results": _task(study, task)
        for task in study.tasks if study.scored(task)}  # fmt: skip


def _task(study: StudyData, task: Task) -> Markup:
    rows, metric, reference = leaderboard(study, task), study.metric(task), reference_of(study)
    scale = metric.scale
    drawn = [
        Row(r.entry.label, study.number(r.entry), {s: scale * v for s, v in study.scores(task, r.entry).items()},
            scale * r.summary.mean,
            r.summary.interval and type(r.summary.interval)(scale * r.summary.interval.low,
                scale * r.summary.interval.high))
        for r in rows
    ]  # fmt: skip
    clouds = [
        Cloud(row.label, row.number, [Point(s, v, f"{row.label}, seed {s}: {figure(v)}")
            for s, v in sorted(row.values.items())], joined=True)
        for row in sorted(drawn, key=lambda row: row.number)
    ]  # fmt: skip
    title = "Every run, the mean and its 95 % interval"
    first = task == next(one for one in study.tasks if study.scored(one))  # how to read it stands there once
    shown = [_leaderboard(study, task, rows, metric, first), dot_plot(title, metric.said, drawn)]
    if len({seed for row in drawn for seed in row.values}) > 1:
        by_seed = plot(f"{metric.name} against seed", "seed", metric.said, clouds, whole=True)
        shown.append(tag("div", by_seed, class_="charts"))
    if reference is not None and study.scores(task, reference):
        shown.append(_family(study, task, family(study, task, reference), metric, first))
    elif reference is not None:
        shown.append(_missing(f"{reference.label}, which others are compared with, has no score here."))
    return join(shown)


def _leaderboard(study: StudyData, task: Task, rows: Sequence[Standing], metric: Metric, explain: bool) -> Markup:
    truth = [[study.truths[r.folder] for r in study.of(task, row.entry) if r.folder in study.truths] for row in rows]
    published = [study.published.get(row.entry.variant) for row in rows]
    gains, body = any(row.gain for row in rows), []
    for row, known, others in zip(rows, truth, published, strict=True):
        found, inside = row.summary, row.summary.interval
        interval = f"{metric.shown(inside.low)} to {metric.shown(inside.high)}" if inside else "one seed"
        spread = "–" if found.deviation is None else metric.shown(found.deviation)
        cells: list[object] = [row.entry.label, metric.shown(found.mean), interval, spread, found.count[4:]]
        cells += [
            f"{metric.shown(found.best.value)} (of {found.n})",
            f"{metric.shown(found.worst.value)} (of {found.n})",
        ]
        if gains:
            cells.append("–" if row.gain is None else _gain(row))
        if any(truth):
            cells += [_mean(known, "accuracy"), _mean(known, "regret"), _median(known, "rank")]
        if any(published):
            cells.append(_published(others))
        body.append(cells)
    head = ["method", f"mean {metric.said}", "95 % interval", "deviation", "n", "best", "worst"]
    head += ["over random, %"] if gains else []
    head += ["true accuracy", "regret", "rank, median"] if any(truth) else []
    head += ["published by others"] if any(published) else []
    notes = [
        "n: runs with a score, of those that were planned. Interval of the mean: Student's t below 20 runs, BCa "
        "bootstrap from there on; one collapsed run makes it wide, as it should. Best and worst grow apart with n."
    ]
    if not explain:
        notes = []
    elif gains:
        notes.append(
            "Over random: 100 (mean − r) / r with the mean r of the random architectures of the task "
            "(arXiv:1912.12522), with Fieller's interval where both have two seeds."
        )
    else:
        notes.append("No improvement over random: it needs finished cells of RandomGenotype, and a score of which more "
            "is better.")  # fmt: skip
    if any(truth):
        best = next((one["best"] for known in truth for one in known if one.get("best") is not None), None)
        mean = next((one["mean"] for known in truth for one in known if one.get("mean") is not None), None)
        bounds = "" if best is None or mean is None else f"; its best is {best:.2f}, its mean {mean:.2f}"
        notes.append(f"True accuracy, regret and rank: what a table knows of the found architectures{bounds}.")
    said = f"Best mean first, {metric.name}, {'higher' if metric.higher_is_better else 'lower'} is better"
    return join([table(said, head, body, "numbers"), tag("p", " ".join(notes), class_="note") if notes else ""])


def _gain(row: Standing) -> str:
    assert row.gain is not None
    inside = row.gain.interval
    within = f" ({inside.low:+.1f} to {inside.high:+.1f})" if inside else ""
    return f"{row.gain.value:+.1f}{within}".replace("-", "−")


def _mean(known: Sequence[Any], name: str) -> str:
    values = [one[name] for one in known if one.get(name) is not None]
    return f"{fmean(values):.2f} (n = {len(values)})" if values else "–"


def _median(known: Sequence[Any], name: str) -> str:
    values = [one[name] for one in known if one.get(name) is not None]
    return f"{median(values):g}" if values else "–"


def _published(held: Any) -> str:
    mean = part(held, "mean")
    if mean is None:
        return "–"
    std = part(held, "std")
    spread = "" if std is None else f" ± {std:g}"
    return f"{mean:g}{spread}, {part(held, 'metric') or 'metric not named'} ({part(held, 'source')})"


def _family(study: StudyData, task: Task, held: Family, metric: Metric, explain: bool) -> Markup:
    if not held.comparisons:
        return _missing(f"No comparison with {held.reference.label}: a paired test takes two seeds that both have.")
    rows: list[list[object]] = [_comparison(entry.label, found, metric, held.reference.label)
        for entry, found in held.comparisons.items()]  # fmt: skip
    head = ["method", f"minus {held.reference.label}", "95 % interval", "pairs", "p, corrected", "least p", "effect",
        "in words"]  # fmt: skip
    count = len(rows)
    n = min(found.result.n for found in held.comparisons.values())
    notes = [
        f"Differences over common seeds, in {metric.points}. p: exact sign-flip test, corrected by Holm for the "
        f"{count} comparison{'s' if count > 1 else ''} of this table; least p: the smallest that so many seeds allow. "
        "Effect: mean difference over its spread (Hedges' corrected d).",
        f"With {count} comparison{'s' if count > 1 else ''}, {held.seeds_needed} seeds are needed before even the "
        f"clearest difference can have a corrected p under 0.05; here there are {n}.",
    ]  # fmt: skip
    notes = notes if explain else notes[1:]
    if held.alone:
        notes.append(f"Without two common seeds: {', '.join(entry.label for entry in held.alone)}.")
    said = tag("p", tag("strong", "What so few seeds cannot show. "), f"In {metric.points}: {held.power}") if (
        held.power) else ""  # fmt: skip
    caption = f"Each method against {held.reference.label}, seed by seed"
    return join([tag("h4", f"Against {held.reference.label}"), table(caption, head, rows, "numbers"),
        tag("p", " ".join(notes), class_="note"), said])  # fmt: skip


def _comparison(label: str, found: Any, metric: Metric, reference: str) -> list[object]:
    result = found.result
    within = f"{metric.shown(result.interval.low, True)} to {metric.shown(result.interval.high, True)}"
    effect = "–" if result.effect is None else f"{result.effect:+.2f}".replace("-", "−")
    words = tag("span", in_words(found, metric, reference))
    return [label, metric.shown(result.difference, True), within, result.n, shown_p(found.adjusted),
        shown_p(found.smallest), effect, words]  # fmt: skip


def across(study: StudyData) -> Markup:
    """Ranks and profiles over tasks, or why there are none."""
    ranks, shares, why = ranking(study)
    shown: list[object] = [] if not why else [_missing(why)]
    if ranks is not None:
        shown += [rank_diagram(ranks), tag("p", _friedman(ranks.friedman), class_="note")]
    if shares is not None:
        labels = {entry.label: study.number(entry) for entry in study.entries}
        metric = study.metric(next(task for task in study.tasks if study.scored(task)))
        drawn = staircase(shares, metric.points, labels)
        said = (
            f"Performance profiles over {shares.n} tasks (Dolan and Moré 2002): high on the left is often the best, "
            "reaching 1 early is never far off."
        )
        shown += [tag("div", drawn, class_="charts"), tag("p", said, class_="note")]
    return join(shown)


def _friedman(test: Friedman) -> str:
    sources = {
        "exact": "exact, over all orders of the ranks",
        "sampled": f"from random orders of the ranks, standard error {test.error:.1g}",
        "F": "Iman and Davenport's approximation",
    }
    if test.p < ALPHA:
        sure = (
            "the ranks differ. Those at least as far apart as the critical difference of Nemenyi's test differ at 5 % "
            "(Demšar, JMLR 2006)."
        )
    elif test.smallest >= ALPHA:
        sure = f"{test.n} tasks cannot show a difference, whatever the ranks."
    else:
        sure = "no difference between any of them is shown."
    p = f"p {shown_p(test.p, '= ')} ({sources[test.source]})"
    return f"Friedman's test over {test.n} tasks, on means over seeds: {p}: {sure} Seeds are no tasks."


def parts(study: StudyData) -> Markup:
    """Main effects, interactions, parts left out or added; empty where nothing was switched."""
    shown: list[object] = []
    for task in study.tasks:
        metric, where = study.metric(task), f", {task_name(task)}" if len(study.tasks) > 1 else ""
        for design in designs(study, task):
            verb = "left out of" if design.kind == "leave_one_out" else "added to"
            rows = [_comparison(design.parts[entry], found, metric, design.family.reference.label)
                for entry, found in design.family.comparisons.items()]  # fmt: skip
            if rows:
                head = ["part", "difference", "95 % interval", "pairs", "p, corrected", "least p", "effect", "in words"]
                caption = f"Each part {verb} {design.variant} alone, against {design.family.reference.label}{where}"
                shown.append(table(caption, head, rows, "numbers"))
            else:
                shown.append(_missing(f"Parts {verb} {design.variant}{where}: no two common seeds are finished."))
        found, said = effects(study, task)
        if found is not None:
            shown.append(_effects(found, metric, where, said))
        elif said:
            shown.append(_missing(f"No main effects{where}. {said}"))
    return join(shown)


def _effects(found: Factorial, metric: Metric, where: str, said: str) -> Markup:
    tests = {term.factors: term for term in found.terms}
    rows: list[list[object]] = []
    for one in found.effects:
        name = " and ".join(f"{factor} = {level}" for factor, level in zip(one.factors, one.levels, strict=True))
        term = tests[one.factors]
        within = f"{metric.shown(one.interval.low, True)} to {metric.shown(one.interval.high, True)}"
        kind = "main effect" if len(one.factors) == 1 else "interaction"
        rows.append([name, kind, metric.shown(one.value, True), within, shown_p(one.p), f"{term.partial:.2f}", one.n])
    notes = (
        f"{said} n = {found.n} runs, mean {metric.shown(found.mean)}, residual deviation "
        f"{metric.shown(found.deviation)} with {found.freedom} degrees of freedom. A main effect is the difference of "
        "means to the first level of the factor; an interaction is what both changes together add to the sum of both. "
        "p is not corrected for the number of rows. Partial η²: share of the variation that is not explained otherwise."
    )
    head = ["change", "kind", "effect", "95 % interval", "p", "partial η²", "n"]
    caption = f"Effects of factors and parts, in {metric.points}{where}"
    return join([table(caption, head, rows, "numbers"), tag("p", notes, class_="note")])


def _missing(said: str) -> Markup:
    return tag("p", said, class_="missing")
