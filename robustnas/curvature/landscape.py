"""The loss around an α: over a plane, and along a line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]


STEPS = 401  # points on an axis, of which the map has one for each of its pixels


@dataclass(frozen=True)
class Landscape:
    """Losses over a plane and along a line.

    Args:
        reach: Distances from α in both directions of the plane, ``[steps]``.
        plane: Losses, ``[steps, steps]``; the first index goes along the first direction.
        directions: What the directions are, in words.
        share: Where on the line from the mixture of α, 0, to its discretisation, 1, ``[steps]``.
        line: Losses there, ``[steps]``.
    """

    reach: Array
    plane: Array
    directions: str
    share: Array
    line: Array

    @property
    def centre(self) -> float:
        """Loss at α."""
        middle = len(self.reach) // 2
        return float(self.plane[middle, middle])

    @property
    def rise(self) -> float:
        """Largest loss on the plane minus that at α."""
        return float(self.plane.max()) - self.centre

    def to_json(self) -> dict[str, Any]:
        """All of it as lists and texts."""
        arrays = {name: getattr(self, name).tolist() for name in ("reach", "plane", "share", "line")}
        return {"directions": self.directions, **arrays}


def orthonormal(directions: Sequence[Tensor]) -> list[Tensor]:
    """Directions of length one, each at a right angle to those before.

    Args:
        directions: Vectors ``[size]`` that are independent.

    Returns:
        As many vectors that span the same.

    Raises:
        ValueError: If they are not independent.
    """
    found: list[Tensor] = []
    for direction in directions:
        left = direction.clone()
        for _ in range(2):  # once leaves rounding errors
            for before in found:
                left = left - (left @ before) * before
        length = left.norm()
        if not length > 1e-6 * direction.norm():
            raise ValueError("Expected `directions` to be independent, but got one that the others span.")
        found.append(left / length)
    return found


def over_plane(
    loss_at: Callable[[Tensor], float], centre: Tensor, one: Tensor, other: Tensor, radius: float, steps: int
) -> tuple[Array, Array]:
    r"""Losses at :math:`\theta + a\, u + b\, v` for :math:`a, b` between minus and plus the radius.

    Args:
        loss_at: Loss at a point, ``[size]``.
        centre: θ.
        one: Direction :math:`u`.
        other: Direction :math:`v`.
        radius: Largest :math:`|a|` and :math:`|b|`.
        steps: Points on either axis, an odd number, so that θ itself is one.

    Returns:
        The distances ``[steps]`` and the losses ``[steps, steps]``.

    Raises:
        ValueError: If the radius is not positive and finite, or the number of points even or below three.
    """
    if not 0 < radius < float("inf"):
        raise ValueError(f"Expected `radius` to be positive and finite, but got {radius}.")
    if steps < 3 or steps % 2 == 0:
        raise ValueError(f"Expected `steps` to be an odd number from 3 on, but got {steps}.")
    if steps > STEPS:
        raise ValueError(f"Expected `steps` to be at most {STEPS}, of which a plane has the square, but got {steps}.")
    reach = np.linspace(-radius, radius, steps)
    reach[steps // 2] = 0.0
    losses = [[loss_at(centre + float(a) * one + float(b) * other) for b in reach] for a in reach]
    return reach, np.array(losses, dtype=np.float64)


def random_directions(size: int, seed: int) -> list[Tensor]:
    """Two directions drawn at random.

    Args:
        size: Numbers in a direction, at least 2.
        seed: Seed of the draw.

    Returns:
        Orthonormal vectors ``[size]``, in double precision.
    """
    generator = torch.Generator().manual_seed(seed)
    return orthonormal(list(torch.randn(2, size, generator=generator, dtype=torch.float64)))


def landscape_figure(landscape: Landscape, title: str) -> Figure:
    """The plane as a map with lines of equal loss, and the line to the discretisation as a curve.

    Args:
        landscape: What was measured.
        title: What stands above.

    Returns:
        The figure, in no window.
    """
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
