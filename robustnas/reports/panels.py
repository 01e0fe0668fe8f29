"""The charts of a run: which series stand together, so that none is left out."""

from __future__ import annotations

from collections.abc import Mapping

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


def charts(run: SearchData, marks: Mapping[str, float]) -> dict[str, list[Chart]]:
    """The charts of a run by section of its page; in ``others`` every series that stands nowhere else."""
    kinds = {metrics.CURVATURE.of(kind): kind for kind in run.history.space.cells}
    several = [Panel("Largest Hessian eigenvalue, by kind of cell", kinds)] if len(kinds) > 1 else []
    singles = [Panel(one.heading, {one.name: ""}) for one in (metrics.TRACE, metrics.NEGATIVE)]
    sections = {
        "main": _main_panels(run),
        "spectrum": [Panel("Eigenvalues of the Hessian in α", SPECTRUM), *several, *singles],
        "gap": [Panel(group[0].heading, {one.name: one.label for one in group}) for group in GAPS],
    }
    sections["others"] = _other_panels(
        run, {name for shown in sections.values() for one in shown for name in one.lines}
    )
    return {name: [panel_chart(run.found, one, marks, run.span) for one in shown] for name, shown in sections.items()}


def _main_panels(run: SearchData) -> list[Panel]:
    """The panels that show a collapse, in the order of TensorBoard's page."""
    found = panels(run.history.space.cells)
    if (quality := run.quality) is not None:
        trained = f"train/{quality.removeprefix('val/')}"
        title = find(quality).heading.partition(" of the supernet")[0]
        found.insert(1, Panel(f"{title} of the supernet", {trained: "training", quality: "validation"}))
    return found


def _other_panels(run: SearchData, shown: set[str]) -> list[Panel]:
    """Every series that is neither shown nor stands beside the verdict only, those of one metric together."""
    space, kinds = run.history.space, list(run.history.space.cells)
    left_out = shown | {name for name in run.found if name in METRICS and not METRICS[name].charted}
    left_out -= {metrics.SHARES.of(operation) for operation in space.operations}  # stand with the others too
    left_out |= {one for name in left_out for one in uncertainty(name)}
    if len(kinds) == 1:  # the values of the only kind of cell stand there already
        left_out |= {name for name in run.found if name.removesuffix(f"_{kinds[0]}") in run.found.keys() - {name}}
    groups: dict[str, dict[str, str]] = {}
    for name in sorted(run.found.keys() - left_out):
        title, label = place(name, space)
        groups.setdefault(title, {})[name] = label
    return [Panel(title, lines) for title, lines in groups.items()]


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
