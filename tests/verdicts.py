"""Searches made up for tests of the verdict: genotypes with a given number of operations, over given epochs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robustnas.analysis import History, judge
from robustnas.spaces import Choice, Genotype, SearchSpace, find_space

EPOCHS = 20


def cell(space: SearchSpace, kind: str, wanted: list[str], other: str) -> tuple[Choice, ...]:
    """A cell whose first edges carry the wanted operations, the rest another one."""
    kept = space.cells[kind].keep
    edges = [edge for node in space.cells[kind].nodes for _, edge in space.cells[kind].edges_into(node)[: kept or None]]
    names = [*wanted, *[other] * (len(edges) - len(wanted))]
    return tuple(Choice(edge.source, edge.node, name) for edge, name in zip(edges, names, strict=True))


def genotype(*wanted: str, space: str = "DARTS", reduce: tuple[str, ...] = (), other: str = "") -> Genotype:
    """A genotype whose first normal edges carry the wanted operations, the rest convolutions."""
    found = find_space(space)
    conv = other or ("nor_conv_3x3" if found.skeleton == "nasbench201" else "sep_conv_3x3")
    kinds = {kind: list(reduce if kind == "reduce" else wanted) for kind in found.cells}
    return Genotype(space, {kind: cell(found, kind, names, conv) for kind, names in kinds.items()})


def skips(count: int, space: str = "DARTS") -> Genotype:
    """A genotype with so many skip connections in its normal cell."""
    return genotype(*["skip_connect"] * count, space=space)


def constant(value: float, epochs: int = EPOCHS, start: int = 0) -> dict[int, float]:
    return dict.fromkeys(range(start, epochs), value)


def search(
    series: Mapping[str, Mapping[int, float]] | None = None,
    genotypes: Mapping[int, Genotype] | None = None,
    space: str = "DARTS",
    running: bool = False,
    **more: Any,
) -> History:
    """A search of 20 epochs that changed its mind in epoch 3 and shows no sign, but for what is given."""
    sound = {epoch: genotype(space=space) for epoch in range(EPOCHS)}
    sound[3] = skips(1, space)
    found = dict(sound if genotypes is None else genotypes)
    more = {"planned": EPOCHS, "final": None if running or not found else found[max(found)], **more}
    return History(find_space(space), {}, found, series or {}, **more)


def signs(history: History) -> dict[str, str]:
    """Names of the signs that the verdict gives, with their weights."""
    return {evidence.threshold.name: evidence.weight for evidence in judge(history).evidence}


POOR = {"val/top1": constant(0.1)}
UNIFORM = {"alpha/entropy": constant(0.995)}
HINTS = {
    "alpha/saturated": constant(0.6, 9, 2),
    "gradient/match": {epoch: -0.1 if epoch >= 12 else 0.5 for epoch in range(EPOCHS)},
}


def taken_over(since: int = 8, epochs: int = EPOCHS) -> dict[int, Genotype]:
    """One skip connection until an epoch, three in it, seven after it."""
    return {epoch: skips(1 if epoch < since - 1 else 3 if epoch < since else 7) for epoch in range(epochs)}
