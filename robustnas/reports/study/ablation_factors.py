"""The contribution of each part of a method: parts left out or added one at a time, and factorial designs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from robustnas.reports.study.analysis import Family, design_kind, family
from robustnas.reports.study.study_data import Entry, StudyData, Task
from robustnas.statistics import Factorial, factorial
from robustnas.studies.grid import OFF, ON


@dataclass(frozen=True)
class Design:
    """Parts switched on and off in a variant, one at a time."""

    kind: str  # leave_one_out or add_one
    variant: str
    family: Family  # comparisons with the whole, or with the base
    parts: Mapping[Entry, str]  # entry to the part that it leaves out, or adds

    @property
    def verb(self) -> str:
        """What happens to a part of the variant."""
        return "left out of" if self.kind == "leave_one_out" else "added to"


def designs(study: StudyData, task: Task) -> list[Design]:
    """Every leave-one-out and add-one design of a task."""
    found = []
    for variant in dict.fromkeys(entry.variant for entry in study.entries):
        kind = design_kind(study, variant)
        if kind is None:
            continue
        own, common = [e for e in study.scored(task) if e.variant == variant], ON if kind == "leave_one_out" else OFF
        whole = next((entry for entry in own if all(level == common for _, level in entry.levels)), None)
        if whole is None:
            continue
        parts = {e: next(n for n, level in e.levels if level != common) for e in own if e != whole}
        found.append(Design(kind, variant, family(study, task, whole, own), parts))
    return found


def effects(study: StudyData, task: Task) -> tuple[Factorial | None, str]:
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
    order, scores = min(2, len(levels)), [float(r.score) for r in records if r.score is not None]
    blocks = [r.seed for r in records]
    try:
        return factorial(scores, levels, blocks, order), "Least squares with the seed as a block."
    except ValueError as error:
        if order == 1:
            return None, str(error)
        try:
            return factorial(scores, levels, blocks, 1), f"Main effects only; interactions cannot be estimated: {error}"
        except ValueError:
            return None, str(error)
