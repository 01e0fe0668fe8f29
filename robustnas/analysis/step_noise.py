"""Whether the choices of operations stand out from the noise of α's steps."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from robustnas.analysis.architecture_statistics import Array, Shares
from robustnas.spaces import Genotype, SearchSpace

STEPS = 10  # steps of α, between recorded epochs, from which the noise is estimated
FEWEST = 4  # steps, below which there is no estimate
AHEAD = 5  # epochs of noise that a margin is compared with
LARGEST = 1e9  # stands for a margin without any noise


def margin_over_noise(
    space: SearchSpace, shares: Mapping[int, Shares], genotypes: Mapping[int, Genotype]
) -> dict[int, float]:
    r"""Margin of the median kept edge over the noise of its steps, by epoch.

    The margin :math:`m` of an edge is the share of its strongest operation minus that of the second strongest, of
    those that can be selected. With the standard deviation :math:`s` of its steps from epoch to epoch, over the last
    10 steps and around their mean, the ratio is :math:`m / (s \sqrt{5})`: what 5 epochs of such steps without a
    direction change the margin by. Where it is 1, they turn the order with probability :math:`2 (1 - \Phi(1))`, 32 %.

    Args:
        space: The search space.
        shares: Epoch to shares, ``[edges, operations]`` by kind of cell.
        genotypes: Epoch to the genotype after it, at the same epochs.

    Returns:
        The ratio from the fifth recorded epoch on; the cap 1e9 stands for a margin without noise.
    """
    at = sorted(shares)
    found: dict[int, float] = {}
    for last in range(FEWEST, len(at)):
        window = at[max(0, last - STEPS) : last + 1]
        ratios = [
            ratio
            for kind in space.cells
            for ratio in _ratios(space, kind, window, [shares[epoch][kind] for epoch in window], genotypes[at[last]])
        ]
        if ratios:
            found[at[last]] = float(np.median(ratios))
    return found


def _ratios(space: SearchSpace, kind: str, window: list[int], shares: list[Array], genotype: Genotype) -> list[float]:
    """The ratio of every kept edge of a cell that has a choice."""
    cell = space.cells[kind]
    gaps = np.sqrt(np.diff(window))
    ratios: list[float] = []
    for choice in genotype.cells[kind]:
        row = cell.row(choice.source, choice.node)
        if row is None or len(columns := list(cell.selectable(cell.edges[row]))) < 2:
            continue
        course = np.stack([part[row, columns] for part in shares])  # [epochs, operations]
        second, first = np.argsort(course[-1], kind="stable")[-2:]
        margins = course[:, first] - course[:, second]
        noise = float((np.diff(margins) / gaps).std(ddof=1)) * AHEAD**0.5
        margin = float(margins[-1])
        ratios.append(min(margin / noise, LARGEST) if noise > 0 else LARGEST if margin > 0 else 0.0)
    return ratios
