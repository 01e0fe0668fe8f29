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
    """Losses over a plane and along a line."""

    reach: Array  # distances from α in both directions of the plane, [steps]
    plane: Array  # losses, [steps, steps]; the first index goes along the first direction
    directions: str  # what they are, in words
    share: Array  # where on the line from the mixture of α, 0, to its discretisation, 1, [steps]
    line: Array  # losses there, [steps]

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
    """Directions of length one, each at a right angle to those before, that span the same; refused if dependent."""
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
    r"""Distances ``[steps]``, an odd number, and losses at :math:`\theta + a\, u + b\, v`, ``[steps, steps]``."""
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
    """Two orthonormal directions drawn at random, ``[size]``, in double precision."""
    generator = torch.Generator().manual_seed(seed)
    return orthonormal(list(torch.randn(2, size, generator=generator, dtype=torch.float64)))
