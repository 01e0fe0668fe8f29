"""Which series stand in which chart, so that none is left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from robustnas.plotting.curves import PANELS, band, uncertainty
from robustnas.reports.charts import Line, chart
from robustnas.reports.markup import Markup
from robustnas.reports.search_data import QUALITY, SearchData
from robustnas.spaces import SearchSpace

Series = Mapping[str, Mapping[int, float]]

SPECTRUM = {
    "curvature/max": "largest",
    "curvature/quantile_75": "75 % quantile",
    "curvature/quantile_50": "median",
    "curvature/quantile_25": "25 % quantile",
    "curvature/min": "smallest",
    "arch/curvature": "largest, as the stopping rule has it",
}
ROUNDING = {
    "Accuracy lost by rounding": {
        "gap/accuracy": "statistics of BatchNorm measured anew",
        "gap/accuracy_stale": "statistics of the supernet",
    },
    "Loss added by rounding": {
        "gap/loss": "statistics of BatchNorm measured anew",
        "gap/loss_stale": "statistics of the supernet",
    },
    "Share of the accuracy above chance that is lost": {"gap/lost": "share"},
}
TITLES = {  # of charts whose name says less
    "alpha/entropy": "Entropy of α, by cell",
    "alpha/effective": "Effective number of operations",
    "alpha/edge_margin": "Margin between kept and dropped edge",
    "alpha/saturated": "Share of saturated edges",
    "alpha/moved": "Largest step of α in an epoch",
    "arch/loss": "Loss of α's steps",
    "arch/operations": "Operations left",
    "arch/curvature_flat_stops": "Flat curves of this noise that would have stopped",
    "arch/curvature_noise": "Scatter of the curvature that the stopping rule compares",
    "arch/skips": "Skip connections, as the stopping rule counts",
    "curvature/max": "Largest eigenvalue, by cell",
    "curvature/trace": "Trace of the Hessian in α",
    "curvature/negative": "Share of negative eigenvalues",
    "diagnostics/seconds": "Seconds of diagnostics",
    "diagnostics/share": "Share of time spent in diagnostics",
    "generalisation/accuracy": "Generalisation gap, accuracy",
    "genotype/avoidable": "Edges without parameters that could have some",
    "genotype/depth": "Depth of the genotype",
    "genotype/flops": "Multiply-adds of the genotype",
    "genotype/parameters": "Parameters of the genotype",
    "genotype/skips": "Skip connections in the genotype",
    "genotype/skip_share": "Share of skip connections in the genotype",
    "genotype/width": "Width of the genotype",
    "gradient/alpha_norm": "Norm of α's gradient",
    "gradient/implicit_share": "Implicit share of the second-order gradient",
    "gradient/match": "Agreement of gradients, by operation",
    "ranking/tau": "Rank correlation, Kendall's τ",
    "shares/parameter_free": "Share without parameters, by cell",
}
JUDGED = frozenset({"genotype/churn", "genotype/unchanged", "genotype/skip_rise", "generalisation/smooth", "gap/rise",
    "gap/over_chance", "gradient/alignment", "shares/most_none", "shares/skip_excess", "curvature/rise"})  # fmt: skip


def line(run: SearchData, label: str, name: str, group: str | None = None) -> Line:
    """A series of a run as a line, with what its values are uncertain by.

    Args:
        run: The run.
        label: What is said of the line.
        name: Name of the series, which may not have been measured.
        group: As of :class:`~robustnas.reports.charts.Line`.

    Returns:
        The line.
    """
    values = run.found.get(name, {})
    beside = (name, *uncertainty(name))
    at = {epoch: {one: run.found[one][epoch] for one in beside if epoch in run.found.get(one, {})} for epoch in values}
    bands = {epoch: between for epoch, numbers in at.items() if (between := band(numbers, name)) is not None}
    return Line(label, values, group, bands)


def main_charts(run: SearchData, marks: Mapping[str, int]) -> list[Markup]:
    """The charts that tell a collapse, in the order of TensorBoard's page."""
    made = []
    for panel in PANELS:
        found = [line(run, label, name) for name, label in panel.lines.items()]
        made.append(chart(panel.title, found, run.span, marks, panel.zero_to_one))
        if panel.title == "Loss" and (quality := run.quality):
            name = quality[0].removeprefix("val/")
            parts = {"training": f"train/{name}", "validation": f"val/{name}"}
            lines = [Line(label, run.found.get(series, {})) for label, series in parts.items()]
            made.append(chart(f"{quality[1][0].upper()}{quality[1][1:]} of the supernet", lines, run.span, marks))
    return [one for one in made if one]


def spectrum_charts(run: SearchData, marks: Mapping[str, int]) -> list[Markup]:
    """Eigenvalues of the Hessian in α, where they were measured."""
    lines = [line(run, label, name) for name, label in SPECTRUM.items()]
    by_kind = [line(run, kind, f"curvature/max_{kind}") for kind in run.history.space.cells]
    singles = [
        chart(TITLES[name], [Line(name, run.found.get(name, {}))], run.span, marks)
        for name in ("curvature/trace", "curvature/negative")
    ]
    several = [chart(TITLES["curvature/max"], by_kind, run.span, marks)] if len(by_kind) > 1 else []
    made = [chart("Eigenvalues of the Hessian in α", lines, run.span, marks), *several, *singles]
    return [one for one in made if one]


def rounding_charts(run: SearchData, marks: Mapping[str, int]) -> list[Markup]:
    """What rounding costs, where it was measured."""
    made = (
        chart(title, [Line(label, run.found.get(name, {})) for name, label in names.items()], run.span, marks)
        for title, names in ROUNDING.items()
    )
    return [one for one in made if one]


def other_charts(run: SearchData, marks: Mapping[str, int]) -> list[Markup]:
    """Every series that stands in no other chart, those of one measure together."""
    groups: dict[str, list[Line]] = {}
    for name in sorted(run.found):
        if name not in _shown(run):
            group, label = place(name, run.history.space)
            groups.setdefault(group, []).append(Line(label, run.found[name]))
    return [chart(TITLES.get(group, group), lines, run.span, marks) for group, lines in groups.items()]


def place(name: str, space: SearchSpace) -> tuple[str, str]:
    """Chart and label of a series: those of all kinds of cell, operations or diagnostics share a chart.

    Args:
        name: Name of the series.
        space: The search space, whose kinds of cell and operations end names.

    Returns:
        Name of the chart and of the line.
    """
    group, _, rest = name.partition("/")
    if group in ("train", "val"):
        return QUALITY.get(rest, rest), "training" if group == "train" else "validation"
    if name.startswith("diagnostics/seconds_"):
        return "diagnostics/seconds", rest.removeprefix("seconds_")
    for kind in space.cells:
        stem = rest.removesuffix(f"_{kind}")
        if stem != rest:
            return (f"Shares, {kind}", stem) if name[:7] == "shares/" and stem in space.operations else (
                f"{group}/{stem}", kind)  # fmt: skip
    for operation in space.operations:
        if rest == operation:
            return f"{group.capitalize()}, all cells", operation
        if rest.endswith(f"_{operation}"):
            return f"{group}/{rest.removesuffix(f'_{operation}')}", operation
    return name, rest.replace("_", " ")


def _shown(run: SearchData) -> set[str]:
    names: set[str] = set(JUDGED)
    of_pages: Iterable[Mapping[str, str]] = (*(panel.lines for panel in PANELS), SPECTRUM, *ROUNDING.values())
    for lines in of_pages:
        names |= set(lines)
    names -= {f"shares/{operation}" for operation in run.history.space.operations}  # stand with the others too
    kinds = list(run.history.space.cells)
    names |= {"curvature/trace", "curvature/negative", *(f"curvature/max_{kind}" for kind in kinds)}
    names |= {one for name in names for one in uncertainty(name)}
    if len(kinds) == 1:  # what is said of the only kind of cell is said already
        names |= {name for name in run.found if name.removesuffix(f"_{kinds[0]}") in run.found.keys() - {name}}
    if run.quality:
        name = run.quality[0].removeprefix("val/")
        names |= {f"train/{name}", f"val/{name}"}
    return names
