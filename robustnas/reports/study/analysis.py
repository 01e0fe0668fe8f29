"""The statistics of a study: which methods are compared, per task and over all tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from robustnas.reports.study.study_data import RANDOM, Entry, Score, StudyData, Task
from robustnas.statistics import (
    Comparison,
    PowerNote,
    Profile,
    Ranking,
    RelativeImprovement,
    Summary,
    compare,
    holm,
    match,
    pairs_needed,
    power_note,
    profile,
    rank,
    relative_improvement,
    summarise,
)
from robustnas.studies.grid import OFF, ON

ALPHA = 0.05
SIZES = (  # upper bounds of a standardised difference, by Cohen's and Sawilowsky's conventions
    (0.2, "negligible"),
    (0.5, "small"),
    (0.8, "medium"),
    (1.2, "large"),
    (math.inf, "very large"),
)


@dataclass(frozen=True)
class Standing:
    """A row of the leaderboard."""

    entry: Entry
    summary: Summary
    gain: RelativeImprovement | None  # over random architectures; None without them, or where lower is better


@dataclass(frozen=True)
class Family:
    """Comparisons against one reference, whose p-values are corrected together."""

    reference: Entry
    comparisons: Mapping[Entry, Comparison]  # the entry minus the reference
    alone: tuple[Entry, ...]  # entries that share fewer than two seeds with the reference
    power: PowerNote | None  # None where all differences are equal
    seeds_needed: int  # fewest with which an exact test of so many comparisons can be significant


def leaderboard(study: StudyData, task: Task) -> list[Standing]:
    """Every entry of a task that has a score, the best mean first."""
    metric, random = study.metric(task), study.random(task)
    rows = []
    for entry in study.scored(task):
        scores = list(study.scores(task, entry).values())
        missing = study.planned(task, entry) - len(scores)
        summary = summarise(scores, max(missing, 0), higher_is_better=metric.higher_is_better)
        meant = random and metric.higher_is_better and fmean(random) > 0 and entry.variant != RANDOM
        rows.append(Standing(entry, summary, relative_improvement(scores, random) if meant else None))
    return sorted(rows, key=lambda row: -row.summary.mean if metric.higher_is_better else row.summary.mean)


def reference_of(study: StudyData) -> Entry | None:
    """The reference of comparisons: a design with all or none of its parts, else DARTS, else the first."""
    scored = [entry for entry in study.entries if any(study.scores(task, entry) for task in study.tasks)]
    own = [entry for entry in scored if not entry.baseline] or scored
    for entry in own:
        if (kind := design_kind(study, entry.variant)) is not None:
            wanted = ON if kind == "leave_one_out" else OFF
            if all(level == wanted for _, level in entry.levels):
                return entry
    return next(iter([*(entry for entry in own if entry.variant.casefold() == "darts"), *own]), None)


def design_kind(study: StudyData, variant: str) -> str | None:
    """``leave_one_out`` or ``add_one``, read from the trials of a variant; ``None`` for another design."""
    rows = [dict(entry.levels) for entry in study.entries if entry.variant == variant and not entry.baseline]
    parts = {name for row in rows for name, level in row.items() if level in (ON, OFF)}
    if len(parts) < 2 or any(set(row) != parts for row in rows) or len(rows) != len(parts) + 1:
        return None
    on = sorted(sum(level == ON for level in row.values()) for row in rows)
    if on == [len(parts) - 1] * len(parts) + [len(parts)]:
        return "leave_one_out"
    return "add_one" if on == [0, *[1] * len(parts)] else None


def family(study: StudyData, task: Task, reference: Entry, others: Sequence[Entry] | None = None) -> Family:
    """Paired comparisons with a reference over seeds, with Holm's correction; by default of all entries."""
    base, results, alone = study.scores(task, reference), {}, []
    for entry in study.scored(task) if others is None else others:
        if entry == reference:
            continue
        scores = study.scores(task, entry)
        if len(set(scores) & set(base)) < 2:
            alone.append(entry)
            continue
        pairs = match(scores, base)
        results[entry] = compare(pairs.first, pairs.second)
    named = {str(place): result.permutation for place, result in enumerate(results.values())}
    adjusted = list(holm(named).values())
    comparisons = {
        entry: Comparison(entry.label, result, "permutation", p, len(results))
        for (entry, result), p in zip(results.items(), adjusted, strict=True)
    }
    spread = [result.deviation for result in results.values() if result.deviation > 0]
    power = None
    if spread:
        deviation = math.sqrt(fmean(value**2 for value in spread)) * study.metric(task).scale
        power = power_note(deviation, min(result.n for result in results.values()))
    return Family(reference, comparisons, tuple(alone), power, pairs_needed(ALPHA, max(len(results), 1)))


def best_differs(study: StudyData, task: Task, rows: Sequence[Standing]) -> bool:
    """Whether the best entry differs from the second, with Holm's correction: only then is it printed bold."""
    if len(rows) < 2:
        return False
    found = family(study, task, rows[0].entry).comparisons.get(rows[1].entry)
    return found is not None and found.adjusted < ALPHA


def ranking(study: StudyData) -> tuple[Ranking | None, Profile | None, str]:
    """Average ranks and performance profiles over tasks, and a sentence on what is left out."""
    tasks = [task for task in study.tasks if study.scored(task)]
    full = [entry for entry in study.entries if tasks and all(study.scores(task, entry) for task in tasks)]
    if len(tasks) < 2:
        few = "Ranks over tasks need at least two tasks (pairs of a space and a data set); this study has one."
        return None, None, few
    metrics = {study.metric(task) for task in tasks}
    if len({metric.higher_is_better for metric in metrics}) > 1:
        return None, None, "No ranks over tasks: in some tasks a higher score is better, in others a lower one."
    sign = 1.0 if study.metric(tasks[0]).higher_is_better else -1.0
    scores = {
        entry.label: [sign * fmean(study.scores(task, entry).values()) for task in tasks] for entry in full
    }  # means over seeds: the runs of one task are not independent tasks
    left_out = [entry.label for entry in study.entries if entry not in full]
    said = f"Left out, because they lack a score on some task: {', '.join(left_out)}. " if left_out else ""
    if len(full) < 2:
        return None, None, f"{said}Fewer than two entries have a score on every task."
    shares = profile({name: [100 * v if study.metric(tasks[0]).scale > 1 else v for v in row]
        for name, row in scores.items()}) if len(metrics) == 1 else None  # fmt: skip
    if len(full) < 3:
        return None, shares, f"{said}A critical difference needs at least three entries; there are {len(full)}."
    return rank(scores, ALPHA), shares, said


def in_words(comparison: Comparison, metric: Score, reference: str) -> str:
    """A comparison, entry minus reference, as a sentence."""
    result = comparison.result
    better = (result.wins, result.losses) if metric.higher_is_better else (result.losses, result.wins)
    won = f"better than {reference} in {better[0]} of {result.n} seeds"
    word = next((word for top, word in SIZES if result.effect is not None and abs(result.effect) < top), None)
    size = f", a {word} effect" if word else ""
    if comparison.adjusted < ALPHA:
        return f"Significant: {won}{size}."
    if comparison.smallest >= ALPHA:
        return f"Not significant, and cannot be with {result.n} seeds: {won}{size}."
    return f"Not significant: {won}{size}."


def signed(value: float, digits: int = 2) -> str:
    """A difference with its sign, for people."""
    return f"{value:+.{digits}f}".replace("-", "−")


def shown_p(value: float, equals: str = "") -> str:
    """A p-value as it is printed, never as 0, after ``equals`` where it is a number."""
    return "under 0.001" if value < 0.001 else f"{equals}{value:.3f}"
