"""Tables to paste into a paper: Markdown and LaTeX."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from robustnas.reports.rendering import Cell, Table
from robustnas.reports.study.analysis import best_differs, family, leaderboard, reference_of, signed
from robustnas.reports.study.checklist import SOURCES, Item
from robustnas.reports.study.comparing import comparison
from robustnas.reports.study.evaluations import trained_columns, training_notes
from robustnas.reports.study.study_data import Score, StudyData, Task, task_name
from robustnas.statistics import Summary

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "^": r"\textasciicircum{}",
    "_": r"\_", "%": r"\%", "~": r"\textasciitilde{}", "−": "$-$", "±": r"$\pm$", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", "–": "--", "α": r"$\alpha$", "λ": r"$\lambda$", "τ": r"$\tau$",
}  # fmt: skip


def latex(text: object) -> str:
    """Text with what LaTeX would take for commands escaped."""
    return "".join(_SPECIAL.get(letter, letter) for letter in _one_line(text))


def markdown(text: object) -> str:
    """Text with what Markdown or HTML would take for markup escaped."""
    plain = _one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", plain)


def markdown_tables(study: StudyData, items: Sequence[Item]) -> str:
    """Every leaderboard, the comparisons and the checklist as Markdown."""
    parts, last = [f"# {markdown(study.name)}"], None
    for task, _, table in _tables(study):
        parts += [] if task == last else [f"## {markdown(task_name(task))}"]
        parts += [_markdown(table), markdown(table.caption)]
        last = task
    rows = [[item.name, item.asks, item.answer, item.why, item.proof or ""] for item in items]
    checklist = Table(SOURCES, ["item", "asks for", "answer", "reason", "proof"], rows)
    return "\n\n".join([*parts, "## Checklist", _markdown(checklist, "---"), markdown(SOURCES)]) + "\n"


def latex_tables(study: StudyData) -> str:
    """Every leaderboard and the comparisons as LaTeX, for the package booktabs."""
    parts = ["% needs \\usepackage{booktabs}"]
    for task, name, table in _tables(study):
        body = "\n".join(f"  {' & '.join(row)} \\\\" for row in _rows(table, latex, "\\textbf{{{}}}"))
        parts.append(
            "\\begin{table}\n\\centering\n"
            f"\\caption{{{latex(f'{task_name(task)}. {table.caption}')}}}\n\\label{{tab:{name}}}\n"
            f"\\begin{{tabular}}{{l{'r' * (len(table.head) - 1)}}}\n  \\toprule\n"
            f"  {' & '.join(map(latex, table.head))} \\\\\n  \\midrule\n{body}\n  \\bottomrule\n"
            "\\end{tabular}\n\\end{table}"
        )
    return "\n\n".join(parts) + "\n"


def _tables(study: StudyData) -> Iterator[tuple[Task, str, Table]]:
    """The leaderboard of each task, and the comparisons with the reference, each with a label."""
    for number, task in enumerate(study.tasks):
        if study.scored(task):
            yield task, f"leaderboard-{number}", _leaderboard(study, task)
            if (table := _comparisons(study, task)) is not None:
                yield task, f"comparisons-{number}", table


def _leaderboard(study: StudyData, task: Task) -> Table:
    metric, rows, found = study.metric(task), leaderboard(study, task), []
    differs, gains = best_differs(study, task, rows), any(row.gain for row in rows)
    trained = trained_columns(study, task, rows)
    for place, row in enumerate(rows):
        summary = row.summary
        mean = f"{metric.shown(summary.mean)}{_spread(summary, metric)}"
        found.append([
            row.entry.label, Cell(mean, "mark") if differs and not place else mean,
            f"{summary.n} of {summary.n + summary.missing}" if summary.missing else summary.n,
            f"{metric.shown(summary.best.value)} (of {summary.best.n})",
            *(column[row.entry] or "" for column in trained.values()),
            *([signed(row.gain.value) if row.gain else ""] if gains else []),
        ])  # fmt: skip
    head = ["method", f"{metric.said}: mean and 95 % interval", "n", "best of n", *trained]
    ns = sorted({row.summary.n for row in rows})
    said = (
        "Bold: significantly different from the second by a paired sign-flip test with Holm's correction, p < 0.05."
        if differs else "Nothing is bold: the best does not differ significantly from the second by a paired sign-flip "
        "test with Holm's correction at 5 %."
    )  # fmt: skip
    n = f"n = {ns[0]}" if len(ns) == 1 else f"n = {ns[0]} to {ns[-1]}"
    cut = ", cut at 0 and 100 %" if metric.percent else ""
    caption = f"Mean over seeds with its 95 % interval (Student's t below 20 seeds{cut}), {n}. {said}"
    caption = " ".join([caption, *training_notes(study, task)])
    return Table(caption, head + (["gain over random, %"] if gains else []), found)


def _spread(summary: Summary, metric: Score) -> str:
    """The interval of a mean: half its width where it is symmetric, its ends where it is not or was cut."""
    if summary.interval is None:
        return ""
    inside = metric.possible(summary.interval)
    if inside == summary.interval and inside.method == "t":
        return f" ± {metric.shown((inside.high - inside.low) / 2)}"
    return f" [{metric.shown(inside.low)}, {metric.shown(inside.high)}]"


def _comparisons(study: StudyData, task: Task) -> Table | None:
    reference = reference_of(study)
    if reference is None or not study.scores(task, reference):
        return None
    held, metric = family(study, task, reference), study.metric(task)
    if not held.comparisons:
        return None
    rows = []
    for entry, found in held.comparisons.items():
        name, difference, interval, n, p, _, effect, _ = comparison(entry.label, found, metric, reference.label)
        rows.append([name, difference, interval, p, "" if effect is None else effect, n])
    power = f" {held.power} All differences are in {metric.points}." if held.power else ""
    caption = (
        f"Paired differences from {reference.label} over common seeds; exact sign-flip test, Holm's correction for "
        f"{len(rows)} comparisons; effect size: Hedges' corrected standardised difference.{power}"
    )
    return Table(
        caption, ["method", f"minus {reference.label}", "95 % interval", "p (Holm)", "effect size", "pairs"], rows
    )


def _markdown(table: Table, align: str = "---:") -> str:
    lines = [[markdown(name) for name in table.head], ["---", *[align] * (len(table.head) - 1)]]
    return "\n".join(f"| {' | '.join(line)} |" for line in [*lines, *_rows(table, markdown, "**{}**")])


def _rows(table: Table, escape: Callable[[object], str], bold: str) -> list[list[str]]:
    return [
        [bold.format(escape(cell.text)) if isinstance(cell, Cell) else escape(cell) for cell in row]
        for row in table.rows
    ]


def _one_line(text: object) -> str:
    return " ".join(str(text).encode("utf-8", "replace").decode().split())
