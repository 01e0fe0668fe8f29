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
    space: SearchSpace,
    shares: Mapping[int, Shares],
    genotypes: Mapping[int, Genotype],
    independent: bool = False,
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
        independent: Whether shares stand each by itself: the margin is then the distance of a kept operation's share
            from one half.

    Returns:
        The ratio from the fifth recorded epoch on; the cap 1e9 stands for a margin without noise.
    """
    at = sorted(shares)
    found: dict[int, float] = {}
    for last in range(FEWEST, len(at)):
        window = at[max(0, last - STEPS) : last + 1]
        ratios = [
            _ratio(margins, window)
            for kind in space.cells
            for margins in _margins(
                space, kind, [shares[epoch][kind] for epoch in window], genotypes[at[last]], independent
            )
        ]
        if ratios:
            found[at[last]] = float(np.median(ratios))
    return found


def _margins(space: SearchSpace, kind: str, shares: list[Array], genotype: Genotype, independent: bool) -> list[Array]:
    """The course of the margin of every kept edge of a cell that has a choice, ``[epochs]``."""
    cell = space.cells[kind]
    margins: list[Array] = []
    for choice in genotype.cells[kind]:
        row = cell.row(choice.source, choice.node)
        if row is None:
            continue
        edge = cell.edges[row]
        if independent:
            margins.append(np.array([part[row, edge.operations.index(choice.operation)] for part in shares]) - 0.5)
        elif len(columns := list(cell.selectable(edge))) > 1:
            course = np.stack([part[row, columns] for part in shares])  # [epochs, operations]
            second, first = np.argsort(course[-1], kind="stable")[-2:]
            margins.append(course[:, first] - course[:, second])
    return margins


def _ratio(margins: Array, window: list[int]) -> float:
    gaps = np.sqrt(np.diff(window))
    noise = float((np.diff(margins) / gaps).std(ddof=1)) * AHEAD**0.5
    margin = abs(float(margins[-1]))
    return min(margin / noise, LARGEST) if noise > 0 else LARGEST if margin > 0 else 0.0
