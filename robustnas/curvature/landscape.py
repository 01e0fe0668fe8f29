"""The loss around an α: over a plane, and along a line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

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
