"""The whole page: several runs side by side first, then each run by itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from robustnas.reports.charts import COLOURS, chart
from robustnas.reports.markup import Markup, duration, figure, join, percent, table, tag, text
from robustnas.reports.panels import line
from robustnas.reports.search_data import SearchData, part
from robustnas.reports.sections import badge, run_sections, share_or_figure
from robustnas.reports.style import STYLE
from robustnas.spaces import SearchSpace

# Only what stands in the page itself may be loaded, and no script runs.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
HEADLINES = {  # title: series, of which the first that a run has is shown
    "Loss on validation": ("val/loss",),
    "Accuracy on validation": ("val/top1", "val/accuracy"),
    "Accuracy of the rounded supernet": ("gap/discrete_accuracy",),
    "Accuracy lost by rounding": ("gap/accuracy",),
    "Skip connections over kept edges": ("genotype/skip_share",),
    "Share of operations without parameters": ("shares/parameter_free",),
    "Entropy of α": ("alpha/entropy",),
    "Choices that changed": ("genotype/changed",),
    "Largest eigenvalue of the Hessian in α": ("curvature/max", "arch/curvature"),
    "Generalisation gap, loss": ("generalisation/loss",),
}
ZERO_TO_ONE = {"Skip connections over kept edges", "Share of operations without parameters", "Entropy of α"}


def report(folders: Sequence[str | Path], space: SearchSpace | str | None = None) -> str:
    """A page about some runs, in one file that needs nothing else. The same runs give the same text.

    Args:
        folders: Folders of searches, finished or not, with diagnostics or without.
        space: Their search space or its name; by default the one that each of them names.

    Returns:
        HTML.

    Raises:
        ValueError: If there is no folder, one is no folder of a search, or a file in it is damaged.
    """
    if not folders:
        raise ValueError("Expected `folders` to name at least one run, but got none.")
    runs = [SearchData.read(folder, space) for folder in folders]
    names = short_names([run.folder for run in runs])
    body: list[Markup] = [tag("h1", "robustnas report")]
    if len(runs) > 1:
        body.append(_comparison(runs, names))
    body += [run_sections(run, name, f"run-{k}") for k, (run, name) in enumerate(zip(runs, names, strict=True), 1)]
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"robustnas report: {', '.join(names[:3])}{' and more' if len(names) > 3 else ''}"),
        tag("style", Markup(STYLE)),
    ]
    page = tag("html", tag("head", *head), tag("body", tag("main", *body)), lang="en")
    return f"<!doctype html>\n{page}\n"


def short_names(folders: Sequence[Path]) -> list[str]:
    """The ends of paths, as short as tells them apart; a run that is named twice keeps its name with a number."""
    parts = [folder.absolute().parts for folder in folders]
    length = next(
        (n for n in range(1, max(map(len, parts))) if len({p[-n:] for p in parts}) == len(set(parts))), 1
    )  # fmt: skip
    names: list[str] = []
    for one in parts:
        name = "/".join(one[-length:])
        names.append(name if name not in names else f"{name} ({len(names) + 1})")
    return names


def _comparison(runs: Sequence[SearchData], names: Sequence[str]) -> Markup:
    rows = [_row(run, name, f"#run-{k}") for k, (run, name) in enumerate(zip(runs, names, strict=True), 1)]
    head = ["run", "verdict", "since", "variant", "space", "data", "seed", "epochs", "time", "validation", "rounded",
        "test", "skips", "λ max"]  # fmt: skip
    said = (
        "validation: the supernet's metric after the last epoch. rounded: its accuracy with the same weights after "
        "rounding. test: the network trained from scratch. skips: share of the kept edges, in the cell that has most. "
        "λ max: largest eigenvalue of the Hessian in α, last measured, and what it may be: its bound and a standard "
        "error over samples." + (" In the charts a colour is a variant in a space." if len(runs) > COLOURS else "")
    )
    charts, span = [], (min(run.span[0] for run in runs), max(run.span[1] for run in runs))
    for title, series in HEADLINES.items():
        lines = []
        for run, name in zip(runs, names, strict=True):
            found = next((one for one in series if run.found.get(one)), series[0])
            lines.append(line(run, name, found, _kind(run) if len(runs) > COLOURS else None))
        if any(line.values for line in lines):
            charts.append(chart(title, lines, span, unit=title in ZERO_TO_ONE))
    return tag(
        "article", tag("h2", "Runs side by side"), table("All runs", head, rows, "runs"), tag("p", said, class_="note"),
        tag("div", *charts, class_="charts"), id="comparison",
    )  # fmt: skip


def _kind(run: SearchData) -> str:
    return f"{run.variant or 'not known'}, {run.history.space.name}"


def _row(run: SearchData, name: str, link: str) -> list[object]:
    quality = run.quality
    value = run.last(quality[0]) if quality else None
    rounded, skips = run.last("gap/discrete_accuracy"), run.last("genotype/skip_share")
    curvature = _curvature(run)
    tested = next((n for n in run.test or {} if n.startswith("test/") and n != "test/loss"), None)
    unknown = "–"
    return [
        tag("a", name, href=link),
        badge(run.verdict),
        unknown if run.verdict.since is None else run.verdict.since,
        run.variant or unknown,
        run.history.space.name,
        run.data or unknown,
        _or(part(run.manifest, "module", "init_args", "seed"), unknown),
        run.epochs,
        unknown if run.seconds is None else duration(run.seconds),
        unknown if quality is None or value is None else share_or_figure(quality[0], value),
        unknown if rounded is None else percent(rounded),
        unknown if tested is None or run.test is None else share_or_figure(tested, run.test[tested]),
        unknown if skips is None else percent(skips),
        curvature or unknown,
    ]


def _curvature(run: SearchData) -> str:
    """The last largest eigenvalue, with what it may be where the bound is not within what is shown."""
    name = next((name for name in ("curvature/max", "arch/curvature") if run.found.get(name)), None)
    if name is None:
        return ""
    shown = line(run, "", name)
    at = max(shown.values)
    value, (low, high) = shown.values[at], shown.bands.get(at, (shown.values[at],) * 2)
    return figure(value) + (f" ({figure(low)} to {figure(high)})" if figure(low) != figure(high) else "")


def _or(value: object, otherwise: str) -> Markup:
    return join([otherwise]) if value is None else text(value)
