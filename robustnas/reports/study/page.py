"""The report of a study: what was compared, the results, and the files that prove them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from robustnas.analysis.history import part
from robustnas.reports.rendering import Cell, Table, duration, page, state
from robustnas.reports.study.calibration import Calibration
from robustnas.reports.study.checklist import SOURCES, Item
from robustnas.reports.study.comparing import main_results, over_tasks, parts, results
from robustnas.reports.study.evaluations import choice_said
from robustnas.reports.study.front import front
from robustnas.reports.study.outcomes import collapse, cost, over_time
from robustnas.reports.study.study_data import StudyData, entry_name, task_name
from robustnas.studies.results import Record

FILES = {
    "results.csv": "a row for each finished trial", "results.parquet": "the same rows, with types",
    "tables.md": "tables and checklist as Markdown", "tables.tex": "tables as LaTeX, for booktabs",
    "calibration.csv": "how well indicators predicted bad results", "front.png": "cost against score, drawn",
}  # fmt: skip
BESIDE = {"search": "search", "evaluation": "evaluation", "search/report.html": "report", "report.html": "report",
    "log.txt": "log"}  # fmt: skip


def study_page(
    study: StudyData, calibration: Sequence[Calibration], bad: str, cases: int, items: Sequence[Item], folder: Path
) -> str:
    """The page of a study that lies in ``folder``, in one file. The same study gives the same text."""
    base = os.path.relpath(study.root.absolute(), folder.absolute())
    return page(
        "study.html.j2",
        title=f"robustnas study: {study.name}",
        name=study.name,
        summary=_summary(study),
        versions=len({str(record.held["version"]) for record in study.records}),
        main_results=main_results(study),
        results=results(study),
        over_tasks=over_tasks(study),
        parts=parts(study),
        collapse=collapse(study, calibration, bad, cases),
        over_time=over_time(study),
        front=front(study),
        cost=cost(study),
        trials=_trials(study, base),
        failed=_failed(study, base),
        not_run=_listed([_short(trial["folder"]) for trial in study.trials if study.state(trial) == "not run"]),
        unread=study.unread,
        checklist=_checklist(items, base),
        files=[
            (Cell(name, "link", _href(base, name)), said)
            for name, said in FILES.items()
            if (study.root / name).exists()
        ],
    )


def _summary(study: StudyData) -> list[tuple[str, object]]:
    states = Counter(study.state(trial) for trial in study.trials)
    manifests = [held for stages in study.manifests.values() for held in stages.values()]

    def named(*keys: str) -> str:
        return ", ".join(sorted({str(found) for held in manifests if (found := part(held, *keys)) is not None}))

    variants = [entry.label for entry in study.entries if not entry.baseline]
    baselines = [entry.label for entry in study.entries if entry.baseline]
    seconds = sum(sum(record.held["seconds"].values()) for record in study.records)
    dirty = sum(bool(part(held, "git", "robustnas", "dirty")) for held in manifests)
    versions = ", ".join(sorted({str(record.held["version"]) for record in study.records}))
    commits = {str(part(held, "git", "robustnas", "commit"))[:12] for held in manifests} - {"None"}
    code = f"{versions}, commit {', '.join(sorted(commits)) or 'unknown'}"
    code += f"; {dirty} stages with uncommitted changes" if dirty else ""
    return [
        ("methods", f"{len(variants)}: {', '.join(variants)}"),
        ("baselines", ", ".join(baselines) or "none"),
        ("tasks", "; ".join(task_name(task) for task in study.tasks) if any(map(any, study.tasks)) else None),
        ("space", named("module", "init_args", "space")),
        ("data", named("data", "source")),
        ("seeds", ", ".join(map(str, study.seeds))),
        ("chosen", choice_said(study)),
        (
            "settings of the evaluation",
            "; ".join(dict.fromkeys(n for t in study.tasks for n in study.settings(t))) or None,
        ),
        ("score", ", ".join(dict.fromkeys(study.metric(t).said for t in study.tasks if study.of(t)))),
        ("trials", ", ".join(f"{states[name]} {name}" for name in ("finished", "failed", "not run"))),
        ("time of the finished trials", duration(seconds) if study.records else None),
        ("robustnas", code if versions else None),
        ("torch", named("versions", "torch")),
        ("devices", ", ".join(sorted({str(r.held["device"]) for r in study.records if r.held["device"]}))),
        ("processor", named("cpu", "model")),
    ]


def _trials(study: StudyData, base: str) -> Table:
    known, several = ("accuracy", "regret", "rank") if study.truths else (), len(study.tasks) > 1
    rows = []
    for record in study.records:
        verdict, truth = record.held["verdict"], study.truths.get(record.folder, {})
        evidence = ", ".join(one["name"].replace("_", " ") for one in verdict["evidence"]) if verdict else ""
        rows.append([
            entry_name(record), *([task_name(record.task)] if several else []),
            _score(study, record),
            *(_known(truth, name) for name in known), state(verdict and verdict["state"]),
            verdict and verdict["since"], Cell(evidence or "–", "words"),
            duration(sum(record.held["seconds"].values())), _links(study, record, base),
        ])  # fmt: skip
    head = ["trial", *(["task"] if several else []), "score", *(["true accuracy", "regret", "rank"] if known else []),
        "verdict", "since epoch", "evidence", "time", "files"]  # fmt: skip
    return Table(f"{len(rows)} finished trials", head, rows, "runs")


def _score(study: StudyData, record: Record) -> str | None:
    if record.chosen is not None and not record.chosen["chosen"]:
        return "not chosen"
    return None if record.score is None else study.metric(record.task).shown(record.score)


def _known(truth: object, name: str) -> str | None:
    value, of = part(truth, name), part(truth, "of")
    if value is None or name != "rank":
        return None if value is None else f"{value:.2f}"
    return f"{value}" if of is None else f"{value:g} of {of:g}"


def _links(study: StudyData, record: Record, base: str) -> list[Cell]:
    there = {name: said for name, said in BESIDE.items() if (study.root / record.folder / name).exists()}
    return [Cell(said, "link", _href(base, f"{record.folder}/{name}")) for name, said in there.items()]


def _failed(study: StudyData, base: str) -> Table:
    places = {trial["folder"]: trial for trial in study.trials}
    rows = [
        [_short(folder), task_name((places[folder]["space"], places[folder]["data"])), said,
            Cell("log", "link", _href(base, f"{folder}/log.txt"))]
        for folder, said in study.failures.items()
    ]  # fmt: skip
    return Table(f"{len(rows)} failed trials", ["trial", "task", "error", "log"], rows, "wide")


def _checklist(items: Sequence[Item], base: str) -> Table:
    rows = []
    for item in items:
        path, _, anchor = (item.proof or "").partition("#")
        link = f"#{anchor}" if anchor else _href(base, path)
        proof = Cell(item.proof, "link", link) if item.proof else ""
        badge = Cell(item.answer, "badge", item.answer if item.answer in ("yes", "no") else "")
        rows.append([item.name, item.asks, badge, item.why, proof])
    yes = sum(item.answer == "yes" for item in items)
    head = ["item", "asks for", "answer", "reason", "proof"]
    return Table(f"{yes} of {len(items)} answered with yes", head, rows, "checklist", [SOURCES])


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def _short(folder: str) -> str:
    """A trial's folder without the one that holds all trials."""
    return folder.partition("/")[2]


def _href(base: str, path: str) -> str:
    return quote(path if base == "." else f"{Path(base).as_posix()}/{path}")
