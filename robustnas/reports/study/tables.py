"""Tables to paste into a paper: Markdown and LaTeX."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from robustnas.reports.study.analysis import best_differs, family, leaderboard, reference_of, shown_p
from robustnas.reports.study.checklist import Item
from robustnas.reports.study.study_data import StudyData, Task, task_name

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
    """Every leaderboard, the comparisons and the checklist as Markdown.

    Args:
        study: The study.
        items: The checklist.

    Returns:
        The text.
    """
    parts = [f"# {markdown(study.name)}"]
    for task in study.tasks:
        if not study.scored(task):
            continue
        head, rows, caption = _leaderboard(study, task, markdown, "**{}**")
        parts += [f"## {markdown(task_name(task))}", _markdown_table(head, rows), caption]
        head, rows, caption = _comparisons(study, task, markdown)
        if rows:
            parts += [_markdown_table(head, rows), caption]
    head = ["item", "asks for", "answer", "why", "proof"]
    rows = [[markdown(c or "") for c in (i.name, i.asks, i.answer, i.why, i.proof)] for i in items]
    parts += ["## Checklist", _markdown_table(head, rows), markdown(CHECKLIST)]
    return "\n\n".join(parts) + "\n"


def latex_tables(study: StudyData) -> str:
    """Every leaderboard and the comparisons as LaTeX, for the packages booktabs and, in the text, none.

    Args:
        study: The study.

    Returns:
        The text.
    """
    parts = ["% needs \\usepackage{booktabs}"]
    for number, task in enumerate(study.tasks):
        if not study.scored(task):
            continue
        head, rows, caption = _leaderboard(study, task, latex, "\\textbf{{{}}}")
        parts.append(_latex_table(head, rows, f"{latex(task_name(task))}. {caption}", f"leaderboard-{number}"))
        head, rows, caption = _comparisons(study, task, latex)
        if rows:
            parts.append(_latex_table(head, rows, f"{latex(task_name(task))}. {caption}", f"comparisons-{number}"))
    return "\n\n".join(parts) + "\n"


CHECKLIST = (
    "A to C: our paraphrase of Lindauer and Hutter, JMLR 2020; D: Yang et al., ICLR 2020; E: Li and Talwalkar, UAI "
    "2019, Yu et al., ICLR 2020; F: confopt, 2025; G: ours. Yes only where a file proves it."
)


def _leaderboard(
    study: StudyData, task: Task, escape: Callable[[object], str], bold: str
) -> tuple[list[str], list[list[str]], str]:
    metric, rows, found = study.metric(task), leaderboard(study, task), []
    differs = best_differs(study, task, rows)
    gains = any(row.gain for row in rows)
    for place, row in enumerate(rows):
        inside, summary = row.summary.interval, row.summary
        half = f" ± {metric.shown((inside.high - inside.low) / 2)}" if inside else ""
        if inside and inside.method != "t":
            half = f" [{metric.shown(inside.low)}, {metric.shown(inside.high)}]"
        mean = escape(f"{metric.shown(summary.mean)}{half}")
        of = f"{summary.n} of {summary.n + summary.missing}" if summary.missing else str(summary.n)
        cells = [escape(row.entry.label), bold.format(mean) if differs and not place else mean, of]
        best = f"{metric.shown(summary.best.value)} (of {summary.best.n})"
        cells += [
            escape(best),
            *([escape(f"{row.gain.value:+.2f}".replace("-", "−") if row.gain else "")] if gains else []),
        ]
        found.append(cells)
    head = ["method", escape(f"{metric.said}: mean and 95 % interval"), "n", "best of n"]
    head += [escape("over random, %")] if gains else []
    ns = sorted({row.summary.n for row in rows})
    n = f"n = {ns[0]}" if len(ns) == 1 else f"n = {ns[0]} to {ns[-1]}"
    caption = escape(
        f"Mean over seeds with its 95 % interval (Student's t below 20 seeds), {n}. "
        + ("Bold: differs from the next by a paired sign-flip test after Holm's correction, p < 0.05."
           if differs else "Nothing is bold, since the best does not differ from the next by a paired sign-flip test "
           "after Holm's correction at 5 %.")
    )  # fmt: skip
    return head, found, caption


def _comparisons(
    study: StudyData, task: Task, escape: Callable[[object], str]
) -> tuple[list[str], list[list[str]], str]:
    reference = reference_of(study)
    if reference is None or not study.scores(task, reference):
        return [], [], ""
    held, metric = family(study, task, reference), study.metric(task)
    rows = []
    for entry, comparison in held.comparisons.items():
        result = comparison.result
        within = f"{metric.shown(result.interval.low, True)} to {metric.shown(result.interval.high, True)}"
        effect = "" if result.effect is None else f"{result.effect:+.2f}".replace("-", "−")
        cells = (entry.label, metric.shown(result.difference, True), within, shown_p(comparison.adjusted), effect)
        rows.append([*map(escape, cells), str(result.n)])
    head = [*map(escape, ("method", f"minus {reference.label}", "95 % interval", "p (Holm)", "effect")), "pairs"]
    power = f" In {metric.points}: {held.power}" if held.power else ""
    caption = escape(
        f"Paired differences to {reference.label} over common seeds; exact sign-flip test, Holm's correction for "
        f"{len(rows)} comparisons; effect: Hedges' corrected standardised difference.{power}"
    )
    return head, rows, caption


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)] if head[0] == "method" else ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _latex_table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str, label: str) -> str:
    body = "\n".join(f"  {' & '.join(row)} \\\\" for row in rows)
    columns = "l" + "r" * (len(head) - 1)
    return (
        f"\\begin{{table}}\n\\centering\n\\caption{{{caption}}}\n\\label{{tab:{label}}}\n\\begin{{tabular}}{{{columns}}}\n"
        f"  \\toprule\n  {' & '.join(head)} \\\\\n  \\midrule\n{body}\n  \\bottomrule\n\\end{{tabular}}\n\\end{{table}}"
    )


def _one_line(text: object) -> str:
    return " ".join(str(text).encode("utf-8", "replace").decode().split())
