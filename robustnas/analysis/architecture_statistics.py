"""Numbers from shares, ``[edges, operations]``, and from genotypes, live or recorded.

Rows of shares sum to one, or, where they are ``independent``, each share is between 0 and 1 by itself, as the sigmoids
of FairDARTS are (arXiv:1911.12126). At one half nothing is decided then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from robustnas.analysis import metrics
from robustnas.spaces import CellSpace, Genotype, SearchSpace
from robustnas.spaces.discretisation import strongest_operation
from robustnas.spaces.parameter_free import PARAMETER_FREE

Array = npt.NDArray[Any]
Shares = Mapping[str, Array]

SATURATED = 0.95  # Λ-DARTS (arXiv:2210.07998) speaks of saturation where a softmax no longer passes a gradient


def softmax(space: SearchSpace, alphas: Shares) -> dict[str, Array]:
    """Shares of operations from α, zero where an edge has no such candidate."""
    shares = {}
    for kind, alpha in candidates(space, alphas, -np.inf).items():
        powers = np.exp(alpha - alpha.max(axis=1, keepdims=True))
        shares[kind] = powers / powers.sum(axis=1, keepdims=True)
    return shares


def candidates(space: SearchSpace, alphas: Shares, other: float = 0.0) -> dict[str, Array]:
    """α with another number in the columns past the candidates of an edge."""
    held = {
        kind: np.arange(cell.shape[1]) < np.array([[len(edge.operations)] for edge in cell.edges])
        for kind, cell in space.cells.items()
    }
    return {kind: np.where(inside, np.asarray(alphas[kind], dtype=float), other) for kind, inside in held.items()}


def sigmoid(space: SearchSpace, alphas: Shares) -> dict[str, Array]:
    """Independent shares of operations from α, zero where an edge has no such candidate."""
    return {kind: 0.5 * (1 + np.tanh(alpha / 2)) for kind, alpha in candidates(space, alphas, -np.inf).items()}


def shares_of(space: SearchSpace, alphas: Shares, independent: bool = False) -> dict[str, Array]:
    """Shares of the operations: α itself where its rows are positive and sum to one, else its softmax, or sigmoid."""
    if independent:
        return sigmoid(space, alphas)
    return candidates(space, alphas) if are_shares(space, alphas) else softmax(space, alphas)


def are_shares(space: SearchSpace, alphas: Shares, tolerance: float = 1e-3) -> bool:
    """Whether the rows of α are positive and sum to one, up to a tolerance."""
    rows = candidates(space, alphas).values()
    return all((row >= 0).all() and np.allclose(row.sum(axis=1), 1, atol=tolerance) for row in rows)


def entropy(cell: CellSpace, shares: Array) -> Array:
    r"""Entropy of each edge over that of a uniform one: :math:`-\sum_k s_k \log s_k / \log n`, ``[edges]``."""
    counts = np.array([len(edge.operations) for edge in cell.edges])
    return np.asarray(_nats(shares) / np.log(np.maximum(counts, 2)))


def binary_entropy(cell: CellSpace, shares: Array) -> Array:
    r"""Mean entropy of an edge's independent shares, :math:`-(s \log_2 s + (1 - s) \log_2 (1 - s))`, ``[edges]``."""
    return _mean_of_candidates(cell, (_surprise(shares) + _surprise(1 - shares)) / np.log(2))


def distance(cell: CellSpace, shares: Array) -> Array:
    r"""Mean distance of an edge's independent shares from one half, :math:`|2s - 1|`, ``[edges]``: 1 is decided."""
    return _mean_of_candidates(cell, np.abs(2 * shares - 1))


def effective(shares: Array) -> Array:
    r"""Effective number of operations of each edge, :math:`\exp(-\sum_k s_k \log s_k)`, ``[edges]``."""
    return np.exp(_nats(shares))


def margin(cell: CellSpace, shares: Array) -> Array:
    """Largest share of each edge minus its second largest, ``[edges]``; 1 on an edge with a single candidate."""
    rows = (np.sort(row[: len(edge.operations)])[::-1] for edge, row in zip(cell.edges, shares, strict=True))
    return np.array([1.0 if len(row) == 1 else row[0] - row[1] for row in rows])


def edge_margin(cell: CellSpace, shares: Array) -> Array:
    """Strength (largest selectable share) of each node's last edge kept minus the first dropped, ``[nodes]``."""
    gaps = []
    for node in cell.nodes:
        strengths = sorted(strongest_operation(cell, row, shares)[0] for row, _ in cell.edges_into(node))[::-1]
        if len(strengths) > (kept := cell.kept(node)):
            gaps.append(strengths[kept - 1] - strengths[kept])
    return np.array(gaps)


def operation_shares(cells: Iterable[tuple[CellSpace, Array]]) -> dict[str, float]:
    """Mean share of each operation over the edges of some cells that have it."""
    found: dict[str, list[float]] = {}
    for cell, shares in cells:
        for edge, row in zip(cell.edges, shares, strict=True):
            for name, share in zip(edge.operations, row, strict=False):
                found.setdefault(name, []).append(float(share))
    return {name: float(np.mean(values)) for name, values in found.items()}


def parameter_free(cell: CellSpace, shares: Array) -> Array:
    """Share of operations without parameters on each edge, ``[edges]``: skip connections, poolings, ``none``, noise."""
    free = [[name in PARAMETER_FREE for name in edge.operations] for edge in cell.edges]
    padded = np.array([row + [False] * (cell.shape[1] - len(row)) for row in free])
    return np.asarray(np.where(padded, shares, 0.0).sum(axis=1))


def changed(before: Genotype, after: Genotype) -> float:
    """Share of the choices of a genotype that another did not have."""
    old = {(kind, choice) for kind, choices in before.cells.items() for choice in choices}
    new = [(kind, choice) for kind, choices in after.cells.items() for choice in choices]
    return sum(choice not in old for choice in new) / max(len(new), 1)


def depth(cell: CellSpace, genotype: Genotype, kind: str) -> int:
    """Edges on the longest path from an input of the cell to its output; ``none`` carries nothing."""
    reach = dict.fromkeys(range(cell.inputs), 0)
    for node in cell.nodes:
        into = [choice.source for choice in genotype.cells[kind] if choice.node == node and choice.operation != "none"]
        lengths = [reach[source] + 1 for source in into if source in reach]
        if lengths:
            reach[node] = max(lengths)
    return max((reach.get(output, 0) for output in cell.outputs), default=0)


def width(cell: CellSpace, genotype: Genotype, kind: str) -> float:
    """Share of the nodes of a cell that an input feeds directly: 1 in the widest, shallowest cell."""
    fed = {choice.node for choice in genotype.cells[kind] if choice.source < cell.inputs and choice.operation != "none"}
    return len(fed) / len(cell.nodes)


def of_shares(space: SearchSpace, shares: Shares, independent: bool = False) -> dict[str, float]:
    """Means over all edges, and over each kind of cell where there are several, by logged name."""
    # Independent shares have an entropy and a margin of their own; their sum is the effective number of operations.
    cells = {kind: (cell, np.asarray(shares[kind], dtype=float)) for kind, cell in space.cells.items()}
    entropies = {kind: (binary_entropy if independent else entropy)(cell, s) for kind, (cell, s) in cells.items()}
    sums = {kind: np.maximum(s.sum(axis=1), np.finfo(float).tiny) for kind, (_, s) in cells.items()}
    free = {kind: parameter_free(cell, s) / (sums[kind] if independent else 1) for kind, (cell, s) in cells.items()}
    values = {
        metrics.ENTROPY.name: _mean(entropies.values()),
        metrics.EFFECTIVE.name: _mean(sums.values() if independent else [effective(s) for _, s in cells.values()]),
        metrics.MARGIN.name: _mean([(distance if independent else margin)(cell, s) for cell, s in cells.values()]),
        metrics.SATURATED.name: _mean([s.max(axis=1) > SATURATED for _, s in cells.values()]),
        metrics.PARAMETER_FREE_SHARE.name: _mean(free.values()),
    }
    gaps = [edge_margin(cell, s) for cell, s in cells.values()]
    if any(len(gap) for gap in gaps):
        values[metrics.EDGE_MARGIN.name] = _mean(gaps)
    means = operation_shares(cells.values())
    values |= {metrics.SHARES.of(name): means[name] for name in space.operations}
    for kind, held in cells.items():
        values[metrics.ENTROPY.of(kind)] = float(entropies[kind].mean())
        values[metrics.PARAMETER_FREE_SHARE.of(kind)] = float(free[kind].mean())
        values |= {metrics.SHARES.of(f"{name}_{kind}"): share for name, share in operation_shares([held]).items()}
    return values


def of_genotype(space: SearchSpace, genotype: Genotype, before: Genotype | None = None) -> dict[str, float]:
    """``genotype/...``: counts and shares for each kind of cell, and the share of choices changed since ``before``."""
    values: dict[str, float] = {}
    skips = genotype.count("skip_connect")
    for kind, cell in space.cells.items():
        free = [choice.operation in PARAMETER_FREE for choice in genotype.cells[kind]]
        values[metrics.SKIPS.of(kind)] = skips[kind]
        values[metrics.PARAMETER_FREE_EDGES.of(kind)] = sum(free) / max(len(free), 1)
        values[metrics.DEPTH.of(kind)] = depth(cell, genotype, kind)
        values[metrics.WIDTH.of(kind)] = width(cell, genotype, kind)
    if before is not None:
        values[metrics.CHANGED.name] = changed(before, genotype)
    return values


def _mean_of_candidates(cell: CellSpace, values: Array) -> Array:
    rows = zip(cell.edges, values, strict=True)
    return np.array([row[: len(edge.operations)].mean() for edge, row in rows])


def _nats(shares: Array) -> Array:
    return np.asarray(_surprise(shares).sum(axis=1))


def _surprise(shares: Array) -> Array:
    return np.asarray(-(shares * np.log(np.where(shares > 0, shares, 1.0))))


def _mean(parts: Iterable[Array]) -> float:
    return float(np.concatenate([np.asarray(part, dtype=float) for part in parts]).mean())
