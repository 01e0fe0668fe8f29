"""The charts of a run: which series stand together, so that none is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from robustnas.analysis import metrics
from robustnas.analysis.registry import METRICS, Panel, find, panels, uncertainty
from robustnas.plotting.charts import Chart, panel_chart
from robustnas.reports.search_data import SearchData
from robustnas.spaces import SearchSpace

SPECTRUM = {
    metrics.CURVATURE.name: "largest",
    metrics.CURVATURE_QUANTILE.of("75"): "75 % quantile",
    metrics.CURVATURE_QUANTILE.of("50"): "median",
    metrics.CURVATURE_QUANTILE.of("25"): "25 % quantile",
    metrics.SMALLEST_CURVATURE.name: "smallest",
    metrics.ARCH_CURVATURE.name: "largest, by the stopping rule",
}
GAPS = ((metrics.GAP, metrics.GAP_STALE), (metrics.GAP_LOSS, metrics.GAP_LOSS_STALE), (metrics.LOST,))


def main_panels(run: SearchData) -> list[Panel]:
    """The panels that show a collapse, in the order of TensorBoard's page."""
    found = panels(run.history.space.cells)
    if (quality := run.quality) is not None:
        trained = f"train/{quality.removeprefix('val/')}"
        title = find(quality).heading.partition(" of the supernet")[0]
        found.insert(1, Panel(f"{title} of the supernet", {trained: "training", quality: "validation"}))
    return found


def spectrum_panels(run: SearchData) -> list[Panel]:
    """Eigenvalues of the Hessian in α."""
    kinds = {metrics.CURVATURE.of(kind): kind for kind in run.history.space.cells}
    several = [Panel("Largest Hessian eigenvalue, by kind of cell", kinds)] if len(kinds) > 1 else []
    singles = [Panel(one.heading, {one.name: ""}) for one in (metrics.TRACE, metrics.NEGATIVE)]
    return [Panel("Eigenvalues of the Hessian in α", SPECTRUM), *several, *singles]


def gap_panels(run: SearchData) -> list[Panel]:
    """What discretisation costs."""
    return [Panel(group[0].heading, {one.name: one.label for one in group}) for group in GAPS]


def charts(run: SearchData, shown: Sequence[Panel], marks: Mapping[str, float]) -> list[Chart]:
    """The charts of some panels."""
    return [panel_chart(run.found, panel, marks, run.span) for panel in shown]


def other_charts(run: SearchData, marks: Mapping[str, float]) -> list[Chart]:
    """Every series that stands in no other chart, those of one metric together."""
    groups: dict[str, dict[str, str]] = {}
    for name in sorted(run.found.keys() - _shown(run)):
        title, label = place(name, run.history.space)
        groups.setdefault(title, {})[name] = label
    return charts(run, [Panel(title, lines) for title, lines in groups.items()], marks)


def place(name: str, space: SearchSpace) -> tuple[str, str]:
    """Chart and label of a series; those of all kinds of cell, operations or diagnostics share a chart."""
    group, _, rest = name.partition("/")
    metric, known = find(name), find(name).name in METRICS
    if group == metrics.SHARES.name:
        for kind in space.cells:
            if rest.removesuffix(f"_{kind}") != rest and rest.removesuffix(f"_{kind}") in space.operations:
                return f"{metrics.SHARES.heading}, {kind}", rest.removesuffix(f"_{kind}")
        if rest in space.operations:
            return f"{metrics.SHARES.heading}, all cells", rest
    if group in ("train", "val"):
        return (metric.heading.partition(" of the ")[0].partition(" in ")[0] if known else rest), (
            "training" if group == "train" else "validation")  # fmt: skip
    part = name.removeprefix(metric.name).lstrip("_/")
    if not known:
        part = next((end for end in (*space.cells, *space.operations) if rest.endswith(f"_{end}")), "")
    if not part:
        return metric.heading if known else name, metric.label or rest.replace("_", " ")
    by = "kind of cell" if part in space.cells else "operation" if part in space.operations else "part"
    return f"{metric.heading if known else name.removesuffix(f'_{part}')}, by {by}", part


def _shown(run: SearchData) -> set[str]:
    """Names that stand in other charts, or beside the verdict only."""
    space, kinds = run.history.space, list(run.history.space.cells)
    names = {name for name in run.found if name in METRICS and not METRICS[name].charted}
    for panel in (*main_panels(run), *spectrum_panels(run), *gap_panels(run)):
        names |= set(panel.lines)
    names -= {metrics.SHARES.of(operation) for operation in space.operations}  # stand with the others too
    names |= {one for name in names for one in uncertainty(name)}
    if len(kinds) == 1:  # the values of the only kind of cell stand there already
        names |= {name for name in run.found if name.removesuffix(f"_{kinds[0]}") in run.found.keys() - {name}}
    return names
