"""What the report of a study says of its trainings: the settings of each, and the seed that was chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from robustnas.analysis.registry import find
from robustnas.reports.rendering import Table
from robustnas.reports.study.analysis import Standing
from robustnas.reports.study.study_data import Entry, StudyData, Task
from robustnas.studies.results import best_setting, higher_is_better


def trained_columns(study: StudyData, task: Task, rows: Sequence[Standing]) -> dict[str, Mapping[Entry, str | None]]:
    """Further columns of a leaderboard, by heading: the best setting of the evaluation, the seed that was chosen."""
    columns: dict[str, Mapping[Entry, str | None]] = {}
    if study.settings(task):
        columns["best setting"] = {row.entry: _best(study, task, row.entry) for row in rows}
    if study.choice is not None:
        columns["chosen"] = {row.entry: _chosen(study, task, row.entry) for row in rows}
    return columns


def settings_table(study: StudyData, task: Task, rows: Sequence[Standing]) -> Table | None:
    """The mean over seeds under each setting of the evaluation; ``None`` where there is one training."""
    names, metric = study.settings(task), study.metric(task)
    if not names:
        return None
    body: list[list[object]] = []
    for row in rows:
        records = [record for record in study.of(task, row.entry) if record.under]
        values = [[record.under[name] for record in records if name in record.under] for name in names]
        shown = [metric.shown(fmean(each)) if each else None for each in values]
        body.append(
            [row.entry.label, *shown, metric.shown(row.summary.mean), _best(study, task, row.entry), len(records)]
        )
    head = ["method", *names, f"mean of {len(names)}", "best", "n"]
    return Table(f"{metric.said}, under each setting of the evaluation", head, body, "numbers")


def training_notes(study: StudyData, task: Task) -> list[str]:
    """Sentences on what a score is a mean of, and on the choice among seeds; none in an ordinary study."""
    notes = []
    if count := len(study.settings(task)):
        notes.append(
            f"A score is the mean over the {count} settings under which a network is trained. They share one "
            "search, so n counts searches. The best setting is chosen by the score itself and grows with their number: "
            "compare it only with the best of as many."
        )
    if (said := choice_said(study)) is not None:
        notes.append(f"Searches: {said}.")
    return notes


def choice_said(study: StudyData) -> str | None:
    """How one seed of each group was chosen, in words; ``None`` where every seed counts."""
    if study.choice is None:
        return None
    count = max(len(seeds) for seeds in _seeds(study).values())
    kind = "highest" if higher_is_better(study.choice) else "lowest"
    return (
        f"of {count} seeds the one with the {kind} {study.choice} ({find(study.choice).title}) at the end of its "
        "search is chosen and trained, so that n = 1 for each method with a search"
    )


def _seeds(study: StudyData) -> dict[tuple[str, ...], set[int]]:
    found: dict[tuple[str, ...], set[int]] = {}
    for trial in study.trials:
        if trial.get("choose"):
            found.setdefault(tuple(trial["folder"].split("/")[:-1]), set()).add(int(trial["seed"]))
    return found


def _best(study: StudyData, task: Task, entry: Entry) -> str | None:
    best = best_setting(study.of(task, entry))
    return None if best is None else f"{study.metric(task).shown(best['value'])} (of {best['of']}, {best['setting']})"


def _chosen(study: StudyData, task: Task, entry: Entry) -> str | None:
    held = next((one for record in study.of(task, entry) if (one := record.chosen) and one["chosen"]), None)
    return f"seed {held['seed']} of {held['of']}" if held else None
