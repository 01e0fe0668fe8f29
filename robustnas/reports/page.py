"""The report of searches: several runs side by side first, then each run by itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from robustnas.analysis import metrics
from robustnas.analysis.history import part
from robustnas.analysis.registry import METRICS, find, scores
from robustnas.plotting.charts import COLOURS, Chart, series
from robustnas.reports.rendering import Cell, Table, duration, figure, page, state
from robustnas.reports.search_data import SearchData
from robustnas.reports.sections import run_sections
from robustnas.reports.svg import draw
from robustnas.spaces import SearchSpace

CURVATURES = (metrics.CURVATURE.name, metrics.ARCH_CURVATURE.name)
HEADLINES = (  # of each the first metric that a run has is shown
    (metrics.TRUE_ACCURACY.name,), (metrics.VAL_LOSS.name,), scores("val"), (metrics.DISCRETE_ACCURACY.name,),
    (metrics.GAP.name,), (metrics.SKIP_SHARE.name,), (metrics.PARAMETER_FREE_SHARE.name,), (metrics.ENTROPY.name,),
    (metrics.CHANGED.name,), CURVATURES, (metrics.OVERFITTING_LOSS.name,),
)  # fmt: skip


def report(folders: Sequence[str | Path], space: SearchSpace | str | None = None) -> str:
    """Return an HTML page about some searches, finished or not, that needs no other file; the same runs, the same text.

    Raises:
        ValueError: If there is no folder, one is no folder of a search, or a file in it is damaged.
    """
    if not folders:
        raise ValueError("Expected `folders` to name at least one run, but got none.")
    runs = [SearchData.read(folder, space) for folder in folders]
    names = short_names([run.folder for run in runs])
    return page(
        "run.html.j2",
        title=f"robustnas report: {', '.join(names[:3])}{' and more' if len(names) > 3 else ''}",
        comparison=_comparison(runs, names) if len(runs) > 1 else None,
        runs=[run_sections(run, name) for run, name in zip(runs, names, strict=True)],
    )


def short_names(folders: Sequence[Path]) -> list[str]:
    """The ends of paths, as short as tells them apart; a run that is named twice keeps its name with a number."""
    parts = [folder.absolute().parts for folder in folders]
    length = next((n for n in range(1, max(map(len, parts))) if len({p[-n:] for p in parts}) == len({*parts})), 1)
    names: list[str] = []
    for one in parts:
        name = "/".join(one[-length:])
        names.append(name if name not in names else f"{name} ({len(names) + 1})")
    return names


def _comparison(runs: Sequence[SearchData], names: Sequence[str]) -> dict[str, object]:
    many, known = len(runs) > len(COLOURS), any(run.truth is not None for run in runs)
    head = ["run", "verdict", "since", "variant", "space", "data", "seed", "epochs", "time", "validation",
        "discretised", "test", *(["truth", "rank"] if known else []), "skips", "λ max"]  # fmt: skip
    note = (
        "validation: score of the supernet after the last epoch. discretised: accuracy of the discretised supernet "
        "with the same weights. test: the network trained from scratch. skips: share of the kept edges that are skip "
        "connections, in the kind of cell that has most. λ max: largest Hessian eigenvalue in α at its last "
        "measurement, in brackets its error bound and one standard error over samples."
    )
    notes = [note, *(["In the charts a colour stands for a variant in a space."] if many else [])]
    if known:
        notes.append("truth, rank: of the result, by the table of the benchmark.")
    rows = [_row(run, name, f"#run-{k}", known) for k, (run, name) in enumerate(zip(runs, names, strict=True), 1)]
    return {"table": Table("All runs", head, rows, "runs", notes), "charts": draw(*headline_charts(runs, names))}


def headline_charts(
    runs: Sequence[SearchData], names: Sequence[str], headlines: Sequence[Sequence[str]] = HEADLINES
) -> list[Chart]:
    """A chart for each headline, with a line for each run; with many runs a colour stands for a variant."""
    many = len(runs) > len(COLOURS)
    span, charts = (min(run.span[0] for run in runs), max(run.span[1] for run in runs)), []
    for headline in headlines:
        lines, title = [], next((one for one in headline for run in runs if run.found.get(one)), headline[0])
        for run, name in zip(runs, names, strict=True):
            found = next((one for one in headline if run.found.get(one)), headline[0])
            group = f"{run.variant or 'unknown variant'}, {run.history.space.name}" if many else ""
            lines.append(series(run.found, found, name, group))
        charts.append(Chart(find(title).heading, lines, span=span, zero_to_one=METRICS[title].unit_interval))
    return charts


def _row(run: SearchData, name: str, link: str, known: bool) -> list[object]:
    tested = next((n for n in run.test or {} if n.startswith("test/") and n != metrics.TEST_LOSS.name), None)
    return [
        Cell(name, "link", link), state(run.verdict.state), run.verdict.since, run.variant or None,
        run.history.space.name, run.data or None, part(run.manifest, "module", "init_args", "seed"), run.epochs,
        None if run.seconds is None else duration(run.seconds),
        run.last(run.quality), run.last(metrics.DISCRETE_ACCURACY.name),
        None if tested is None or run.test is None else find(tested).show(run.test[tested]),
        *((run.true_accuracy, run.rank) if known else ()), run.last(metrics.SKIP_SHARE.name), _curvature(run),
    ]  # fmt: skip


def _curvature(run: SearchData) -> str | None:
    """The last largest eigenvalue, with the range it may lie in where that is visible."""
    name = next((name for name in CURVATURES if run.found.get(name)), None)
    if name is None:
        return None
    last = series(run.found, name).points[-1]
    low, high = map(figure, last.interval or (last.y, last.y))
    return figure(last.y) + (f" ({low} to {high})" if low != high else "")
