"""The loss around an α as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from robustnas.curvature.landscape import Landscape


def landscape_figure(landscape: Landscape, title: str) -> Figure:
    """The plane as a map with lines of equal loss, and the line to the discretisation as a curve, in no window."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.6, 3.7), layout="constrained")
    left, right = figure.subplots(1, 2)
    figure.suptitle(title, size=11, weight="bold", x=0.01, ha="left")
    reach, plane = landscape.reach, landscape.plane
    filled = left.contourf(reach, reach, plane.T, levels=20, cmap="viridis")
    if plane.max() > plane.min():
        left.contour(reach, reach, plane.T, levels=8, colors="white", linewidths=0.5)
    left.plot(0, 0, "+", color="#d55e00", markersize=12, markeredgewidth=2.5)
    left.set_title(f"Loss around α (+), along {landscape.directions}", size=9, loc="left")
    left.set_xlabel("first direction", size=9)
    left.set_ylabel("second direction", size=9)
    left.set_aspect("equal")
    figure.colorbar(filled, ax=left, shrink=0.9).ax.tick_params(labelsize=8)
    right.plot(landscape.share, landscape.line, ".-", color="#0072b2")
    right.set_title("Loss on the way from the mixture to the genotype", size=9, loc="left")
    right.set_xlabel("share of the genotype in the mixture", size=9)
    right.grid(alpha=0.25)
    right.spines[["top", "right"]].set_visible(False)
    for axes in (left, right):
        axes.tick_params(labelsize=8)
    return figure
