"""The page of a study: what was compared, what follows, and where every number comes from."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from robustnas.reports.markup import Markup, duration, facts, join, table, tag
from robustnas.reports.page import POLICY
from robustnas.reports.search_data import part
from robustnas.reports.study.calibration import Calibration
from robustnas.reports.study.checklist import Item
from robustnas.reports.study.collapse_indicators import anytime, cost, signs
from robustnas.reports.study.comparing import across, in_short, parts, tasks
from robustnas.reports.study.study_data import StudyData, entry_name, task_name
from robustnas.reports.style import STYLE
from robustnas.studies.results import Record

MORE = """
.big { stroke-width: 7; } .square { stroke-linecap: square; } .thin { stroke-width: 1.2; opacity: .75; }
.bar { stroke-width: 3; opacity: .45; } .mean { fill: none; stroke: var(--ink); stroke-width: 1.6; }
.lead { fill: none; stroke: var(--soft); stroke-width: 1; } .clique { fill: none; stroke: var(--ink); stroke-width: 4;
  stroke-linecap: round; } svg .name { font-size: 12px; fill: var(--ink); }
.chart svg .said { font-size: 10px; }
.wide-plot svg { min-width: 620px; max-width: 900px; }
.wide-plot svg text, .wide-plot svg .said { font-size: 12px; }
.broad-chart { margin: 1rem 0; } .dots.square.big { stroke-width: 6; }
.numbers td { font-variant-numeric: tabular-nums; white-space: nowrap; }
.numbers td span { display: inline-block; white-space: normal; min-width: 15em; max-width: 24em; }
.numbers tbody th { min-width: 8em; }
.yes { background: var(--good); } .no { background: var(--bad); } .na { background: var(--soft); }
.checklist td:nth-child(n+4) { min-width: 14em; overflow-wrap: anywhere; }
.short li { margin: .3rem 0; max-width: 80ch; }
@media print { .wide-plot svg { min-width: 0; } .numbers td, .numbers td span { white-space: normal; min-width: 0; }
  .checklist td:nth-child(n+4) { min-width: 0; } section { break-inside: auto; } }
"""
MORE += "".join(f".f{k} {{ fill: var(--c{k}); }}\n" for k in range(8))


def page(
    study: StudyData,
    calibration: Sequence[Calibration],
    bad: str,
    cases: int,
    items: Sequence[Item],
    beside: Path,
) -> str:
    """The page, in one file that needs nothing else. The same study gives the same text.

    Args:
        study: The study.
        calibration: How well indicators foretold bad ends.
        bad: What counted as bad.
        cases: Searches that this rests on.
        items: The checklist.
        beside: Folder that the page will lie in, for its links.

    Returns:
        HTML.
    """
    base = os.path.relpath(study.root.absolute(), beside.absolute())
    sections = {
        "Summary": summary(study),
        "In short": in_short(study),
        **tasks(study),
        "Over all tasks": across(study),
        "What each part contributes": parts(study),
        "Signs of collapse": signs(study, calibration, bad, cases),
        "Over time": anytime(study),
        "Cost": cost(study),
        "Cells": cells(study, base),
        "Failed and missing cells": failures(study, base),
        "Checklist": checklist_table(items, base),
        "Files": files(base),
    }
    anchors = {"Over all tasks": "ranks", "Over time": "anytime", "Checklist": "checklist", "Cost": "cost"}
    body = [tag("section", tag("h3", title), held, id=anchors.get(title)) for title, held in sections.items() if held]
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"robustnas study: {study.name}"),
        tag("style", Markup(STYLE + MORE)),
    ]
    article = tag("article", tag("h2", study.name), *body)
    main = tag("main", tag("h1", "robustnas study"), article)
    return f"<!doctype html>\n{tag('html', tag('head', *head), tag('body', main), lang='en')}\n"


def summary(study: StudyData) -> Markup:
    """What was compared on what, and how far it got."""
    states = Counter(study.state(cell) for cell in study.cells)
    manifests = [held for stages in study.manifests.values() for held in stages.values()]

    def named(*keys: str) -> str:
        return ", ".join(sorted({str(found) for held in manifests if (found := part(held, *keys)) is not None}))

    variants = [entry for entry in study.entries if not entry.baseline]
    baselines = [entry.label for entry in study.entries if entry.baseline]
    seconds = sum(sum(record.held["seconds"].values()) for record in study.records)
    dirty = sum(bool(part(held, "git", "robustnas", "dirty")) for held in manifests)
    versions = sorted({str(record.held["version"]) for record in study.records})
    commits = {str(part(held, "git", "robustnas", "commit"))[:12] for held in manifests}
    pairs: list[tuple[object, object]] = [
        ("compared", f"{len(variants)}: {', '.join(entry.label for entry in variants)}"),
        ("baselines", ", ".join(baselines) or "none"),
        ("on", "; ".join(task_name(task) for task in study.tasks) if any(map(any, study.tasks)) else None),
        ("space", named("module", "init_args", "space")),
        ("data", named("data", "source")),
        ("seeds", ", ".join(map(str, study.seeds))),
        ("score", ", ".join(dict.fromkeys(study.metric(t).said for t in study.tasks if study.of(t)))),
        ("cells", ", ".join(f"{states[state]} {state}" for state in ("finished", "failed", "not run"))),
        ("time of the finished cells", duration(seconds) if study.records else None),
        ("robustnas", f"{', '.join(versions)}, commit {', '.join(sorted(commits - {'None'})) or 'not known'}"
            + (f"; {dirty} stages with uncommitted changes" if dirty else "") if versions else None),
        ("torch", named("versions", "torch")),
        ("devices", ", ".join(sorted({str(r.held["device"]) for r in study.records if r.held["device"]}))),
        ("processor", named("cpu", "model")),
    ]  # fmt: skip
    said = [facts(pairs)]
    if len(versions) > 1:
        said.append(tag("p", "The cells come from several versions of robustnas: compare with care.", class_="missing"))
    return join(said)


def cells(study: StudyData, base: str) -> Markup:
    """Every finished cell with its verdict, and links to what it left."""
    truth = bool(study.truths)
    rows = []
    for record in study.records:
        metric, verdict = study.metric(record.task), record.held["verdict"]
        state = verdict["state"] if verdict else None
        signs = ", ".join(sign["name"].replace("_", " ") for sign in verdict["evidence"]) if verdict else ""
        since = verdict["since"] if verdict else None
        held = study.truths.get(record.folder, {})
        known = [_known(held, name) for name in ("accuracy", "regret", "rank")] if truth else []
        rows.append([
            entry_name(record), task_name(record.task) if len(study.tasks) > 1 else "",
            "–" if record.score is None else metric.shown(record.score), *known,
            tag("strong", state, class_=f"badge {state.replace(' ', '-')}") if state else "–",
            "–" if since is None else since, tag("span", signs or "–"),
            duration(sum(record.held["seconds"].values())), _links(study, record, base),
        ])  # fmt: skip
    if not rows:
        return tag("p", "No cell is finished.", class_="missing")
    head = ["cell", "task", "score", *(["true accuracy", "regret", "rank"] if truth else []), "verdict", "since epoch",
        "signs", "time", "what it left"]  # fmt: skip
    if len(study.tasks) == 1:
        head.remove("task")
        rows = [[row[0], *row[2:]] for row in rows]
    return table(f"{len(rows)} finished cells", head, rows, "runs")


def _known(held: object, name: str) -> str:
    value = part(held, name)
    of = part(held, "of")
    if value is None:
        return "–"
    return (
        f"{value:g} of {of:g}"
        if name == "rank" and of is not None
        else f"{value:.2f}"
        if name != "rank"
        else f"{value}"
    )


def _links(study: StudyData, record: Record, base: str) -> Markup:
    names = {"search": "search", "evaluation": "evaluation", "search/report.html": "report", "report.html": "report",
        "log.txt": "log"}  # fmt: skip
    there = {name: said for name, said in names.items() if (study.root / record.folder / name).exists()}
    links = (tag("a", said, href=_href(base, f"{record.folder}/{name}")) for name, said in there.items())
    return join(links, ", ")


def failures(study: StudyData, base: str) -> Markup:
    """What failed, each with its sentence, and what was not run."""
    places = {cell["folder"]: cell for cell in study.cells}
    rows = [
        [folder.removeprefix("trials/"), task_name((places[folder]["space"], places[folder]["data"])), said,
            tag("a", "log", href=_href(base, f"{folder}/log.txt"))]
        for folder, said in study.failures.items()
    ]  # fmt: skip
    missing = [cell["folder"].removeprefix("trials/") for cell in study.cells if study.state(cell) == "not run"]
    shown = [table(f"{len(rows)} failed cells", ["cell", "task", "what went wrong", ""], rows, "wide")] if rows else []
    if missing:
        listed = ", ".join(missing[:20]) + (f" and {len(missing) - 20} more" if len(missing) > 20 else "")
        again = "The command of the study goes on with them."
        shown.append(tag("p", f"Not run, or still running: {listed}. {again}", class_="missing"))
    if study.unread:
        listed = "; ".join(f"{folder}: {said}" for folder, said in study.unread.items())
        shown.append(tag("p", f"Histories that cannot be read, and are left out above: {listed}", class_="missing"))
    return join(shown)


def checklist_table(items: Sequence[Item], base: str) -> Markup:
    """The checklist with the files that prove it."""
    rows = []
    for item in items:
        kind = {"yes": "yes", "no": "no"}.get(item.answer, "na")
        path = "" if item.proof is None else item.proof
        proof = tag("a", path, href=path if path.startswith("report.html#") else _href(base, path)) if path else ""
        if path.startswith("report.html#"):
            proof = tag("a", path, href=f"#{path.partition('#')[2]}")
        rows.append([item.name, item.asks, tag("strong", item.answer, class_=f"badge {kind}"), item.why, proof])
    yes = sum(item.answer == "yes" for item in items)
    said = (
        "Our paraphrase of Lindauer and Hutter, JMLR 2020 (A to C), Yang et al., ICLR 2020 (D), Li and Talwalkar, UAI "
        "2019, and Yu et al., ICLR 2020 (E), and the protocol of confopt, 2025 (F), with what we add (G). Yes only "
        "where a file proves it; what cannot be known from files is a no, for the authors to answer."
    )
    head = ["item", "asks for", "answer", "why", "proof"]
    return join([
        tag("p", said, class_="note"), table(f"{yes} of {len(items)} answered yes", head, rows, "checklist"),
    ])  # fmt: skip


def files(base: str) -> Markup:
    """What lies beside the page."""
    names = {
        "results.csv": "a row for each finished cell", "results.parquet": "the same, typed",
        "tables.md": "tables and checklist as Markdown", "tables.tex": "tables as LaTeX, for booktabs",
        "calibration.csv": "how well indicators foretold bad ends",
    }  # fmt: skip
    shown = [tag("li", tag("a", name, href=_href(base, name)), f": {said}") for name, said in names.items()]
    board = tag("li", tag("code", "tensorboard --logdir STUDY/tensorboard"), ": every cell on the page HParams")
    return tag("ul", *shown, board)


def _href(base: str, path: str) -> str:
    return quote(path if base == "." else f"{Path(base).as_posix()}/{path}")
