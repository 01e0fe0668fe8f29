"""What a notebook shows of genotypes, searches, histories and verdicts: ``%load_ext robustnas.notebook``.

An extension of IPython and not ``_repr_html_`` of the classes: genotypes and verdicts lie on floors below the drawings,
which they must not import.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robustnas.analysis.history import History
    from robustnas.analysis.verdict import Verdict
    from robustnas.spaces import Genotype
    from robustnas.training.search import SearchModule

__all__ = ["draw_history", "draw_search", "load_ipython_extension"]


def load_ipython_extension(ipython: Any) -> None:
    """Tell IPython how to show these classes; each is found by its name, so that nothing is imported yet."""
    known: dict[str, dict[tuple[str, str], Callable[[Any], str]]] = {
        "image/svg+xml": {("robustnas.spaces.genotype", "Genotype"): _draw_genotype},
        "text/markdown": {("robustnas.analysis.verdict", "Verdict"): _write_verdict},
        "text/html": {
            ("robustnas.analysis.history", "History"): draw_history,
            ("robustnas.training.search", "SearchModule"): draw_search,
        },
    }
    for form, shown in known.items():
        for (module, name), draw in shown.items():
            ipython.display_formatter.formatters[form].for_type_by_name(module, name, draw)


def draw_search(search: SearchModule) -> str:
    """The mixture of each kind of cell as a heat map, one SVG picture below the other."""
    from robustnas.plotting.cells import alpha_figure

    shares = {kind: share.detach().cpu().tolist() for kind, share in search.shares().items()}
    return "\n".join(_svg(alpha_figure(share, search.space.cells[kind], kind)) for kind, share in shares.items())


def draw_history(history: History) -> str:
    """The curves that show a collapse, and the last mixture of each kind of cell, as SVG pictures."""
    from robustnas.analysis.registry import panels
    from robustnas.plotting.cells import alpha_figure
    from robustnas.plotting.charts import panel_chart
    from robustnas.plotting.curves import curves_figure

    charts = [panel_chart(history.series, panel) for panel in panels(history.space.cells)]
    measured = [chart for chart in charts if chart.measured]
    drawn = [_svg(curves_figure(measured))] if measured else []
    if history.alphas:
        last = max(history.alphas)
        for kind, share in history.shares(last).items():
            drawn.append(_svg(alpha_figure(share.tolist(), history.space.cells[kind], f"{kind}, epoch {last}")))
    return "\n".join(drawn)


def _draw_genotype(genotype: Genotype) -> str:
    from robustnas.plotting.cells import draw_genotype

    return draw_genotype(genotype)


def _write_verdict(verdict: Verdict) -> str:
    return verdict.markdown()


def _svg(figure: Any) -> str:
    """A figure as an element of a page."""
    from robustnas.plotting.cells import render

    document = render(figure, "svg").decode()
    return document[document.index("<svg") :]
