"""The statistics of a study: which methods are compared, per task and over all tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from robustnas import statistics
from robustnas.reports.study.study_data import RANDOM, Entry, Score, StudyData, Task
from robustnas.studies.grid import OFF, ON

ALPHA = 0.05
SIZES = {  # to the upper bound of a standardised difference, by Cohen's and Sawilowsky's conventions
    "negligible": 0.2, "small": 0.5, "medium": 0.8, "large": 1.2, "very large": math.inf,
}  # fmt: skip


@dataclass(frozen=True)
class Standing:
    """A row of the leaderboard."""

    entry: Entry
    summary: statistics.Summary
    gain: statistics.RelativeImprovement | None  # over random architectures; None without, or where lower is better


@dataclass(frozen=True)
class Family:
    """Comparisons against one reference, whose p-values are corrected together."""

    reference: Entry
    comparisons: Mapping[Entry, statistics.Comparison]  # the entry minus the reference
    alone: tuple[Entry, ...]  # entries that share fewer than two seeds with the reference
    power: statistics.PowerNote | None  # None where all differences are equal
    seeds_needed: int  # fewest with which an exact test of so many comparisons can be significant


def leaderboard(study: StudyData, task: Task) -> list[Standing]:
    """Every entry of a task that has a score, the best mean first."""
    metric, random = study.metric(task), study.random(task)
    rows = []
    for entry in study.scored(task):
        scores = list(study.scores(task, entry).values())
        missing = study.planned(task, entry) - len(scores)
        summary = statistics.summarise(scores, max(missing, 0), higher_is_better=metric.higher_is_better)
        meant = random and metric.higher_is_better and fmean(random) > 0 and entry.variant != RANDOM
        rows.append(Standing(entry, summary, statistics.relative_improvement(scores, random) if meant else None))
    return sorted(rows, key=lambda row: -row.summary.mean if metric.higher_is_better else row.summary.mean)


def reference_of(study: StudyData) -> Entry | None:
    """The reference of comparisons: a design with all or none of its parts, else DARTS, else the first."""
    scored = [entry for entry in study.entries if any(study.scores(task, entry) for task in study.tasks)]
    own = [entry for entry in scored if not entry.baseline] or scored
    designed = [e for e in own if (kind := design_kind(study, e.variant)) and _is_reference(e, kind)]
    return next(iter([*designed, *(e for e in own if e.variant.casefold() == "darts"), *own]), None)


def _is_reference(entry: Entry, kind: str) -> bool:
    """Whether it has all parts of a leave-one-out design, or none of an add-one design."""
    return all(level == (ON if kind == "leave_one_out" else OFF) for _, level in entry.levels)


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
        pairs = statistics.match(scores, base)
        results[entry] = statistics.compare(pairs.first, pairs.second)
    adjusted = statistics.holm({str(place): one.permutation for place, one in enumerate(results.values())}).values()
    comparisons = {
        entry: statistics.Comparison(entry.label, result, "permutation", p, len(results))
        for (entry, result), p in zip(results.items(), adjusted, strict=True)
    }
    spread = [result.deviation for result in results.values() if result.deviation > 0]
    power = None
    if spread:
        deviation = math.sqrt(fmean(value**2 for value in spread)) * study.metric(task).scale
        power = statistics.power_note(deviation, min(result.n for result in results.values()))
    return Family(reference, comparisons, tuple(alone), power, statistics.pairs_needed(ALPHA, max(len(results), 1)))


def best_differs(study: StudyData, task: Task, rows: Sequence[Standing]) -> bool:
    """Whether the best entry differs from the second, with Holm's correction: only then is it printed bold."""
    if len(rows) < 2:
        return False
    found = family(study, task, rows[0].entry).comparisons.get(rows[1].entry)
    return found is not None and found.adjusted < ALPHA


def ranking(study: StudyData) -> tuple[statistics.Ranking | None, statistics.Profile | None, str]:
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
    shares = statistics.profile({name: [100 * v if study.metric(tasks[0]).scale > 1 else v for v in row]
        for name, row in scores.items()}) if len(metrics) == 1 else None  # fmt: skip
    if len(full) < 3:
        return None, shares, f"{said}A critical difference needs at least three entries; there are {len(full)}."
    return statistics.rank(scores, ALPHA), shares, said


def in_words(comparison: statistics.Comparison, metric: Score, reference: str) -> str:
    """A comparison, entry minus reference, as a sentence."""
    result = comparison.result
    better = (result.wins, result.losses) if metric.higher_is_better else (result.losses, result.wins)
    won = f"better than {reference} in {better[0]} of {result.n} seeds"
    word = next((word for word, top in SIZES.items() if result.effect is not None and abs(result.effect) < top), None)
    size = f", a {word} effect" if word else ""
    cannot = f", and cannot be with {result.n} seeds" if comparison.smallest >= ALPHA else ""
    return f"{'Significant' if comparison.adjusted < ALPHA else f'Not significant{cannot}'}: {won}{size}."


def signed(value: float, digits: int = 2) -> str:
    """A difference with its sign, for people."""
    return f"{value:+.{digits}f}".replace("-", "−")


def shown_p(value: float, equals: str = "") -> str:
    """A p-value as it is printed, never as 0, after ``equals`` where it is a number."""
    return "under 0.001" if value < 0.001 else f"{equals}{value:.3f}"


@dataclass(frozen=True)
class Design:
    """Parts switched on and off in a variant, one at a time."""

    kind: str  # leave_one_out or add_one
    variant: str
    family: Family  # comparisons with the whole, or with the base
    parts: Mapping[Entry, str]  # entry to the part that it leaves out, or adds


def designs(study: StudyData, task: Task) -> list[Design]:
    """Every leave-one-out and add-one design of a task."""
    found = []
    for variant in dict.fromkeys(entry.variant for entry in study.entries):
        kind, own = design_kind(study, variant), [e for e in study.scored(task) if e.variant == variant]
        whole = next((entry for entry in own if kind and _is_reference(entry, kind)), None)
        if kind and whole:
            parts = {e: next(n for n, level in e.levels if (n, level) not in whole.levels) for e in own if e != whole}
            found.append(Design(kind, variant, family(study, task, whole, own), parts))
    return found


def effects(study: StudyData, task: Task) -> tuple[statistics.Factorial | None, str]:
    """Main effects and interactions on a task, with a sentence on them, or on why there are none."""
    records = [r for r in study.of(task) if r.levels and not r.baseline and r.score is not None]
    if not records or any(design_kind(study, record.variant) for record in records):
        return None, ""
    names = [name for name in records[0].levels if len({r.levels.get(name) for r in records}) > 1]
    levels = {name: [str(r.levels.get(name)) for r in records] for name in names}
    if len({r.variant for r in records}) > 1:
        levels = {"variant": [r.variant for r in records], **levels}
    if not levels:
        return None, ""
    scores, blocks = [float(r.score) for r in records if r.score is not None], [r.seed for r in records]
    said, fault = "Least squares with the seed as a block.", ""
    for order in range(min(2, len(levels)), 0, -1):
        try:
            return statistics.factorial(scores, levels, blocks, order), said
        except ValueError as error:
            fault = fault or str(error)
            said = f"Main effects only; interactions cannot be estimated: {fault}"
    return None, fault
