"""Which edges of a cell are alive, against matrix powers over all of NAS-Bench-201 and over random DARTS cells."""

from __future__ import annotations

import random
from itertools import product

import numpy as np
import pytest

from robustnas.spaces import (
    DARTS,
    S1,
    Choice,
    DARTSSingleCell,
    Genotype,
    MobileSmall,
    NASBench201,
    SearchSpace,
    live_choices,
    random_genotype,
)


def paths(inputs: int, nodes: int, edges: list[tuple[int, int]]) -> np.ndarray:
    """Number of paths between states, from the powers of the adjacency matrix, ``[states, states]``."""
    adjacency = np.zeros((inputs + nodes, inputs + nodes), dtype=int)
    for source, node in edges:
        adjacency[source, node] += 1
    return sum((np.linalg.matrix_power(adjacency, k) for k in range(inputs + nodes)), np.zeros_like(adjacency))


def reference(space: SearchSpace, genotype: Genotype, kind: str) -> set[Choice]:
    cell, chosen = space.cells[kind], genotype.cells[kind]
    count = paths(cell.inputs, len(cell.nodes), [c[:2] for c in chosen if c.operation != "none"])
    return {
        choice
        for choice in chosen
        if choice.operation != "none"
        and count[: cell.inputs, choice.source].any()
        and count[choice.node, list(cell.outputs)].any()
    }


def test_every_cell_of_nasbench201() -> None:
    """Of the 15,625 cells 341 carry nothing, and 1,983 have no convolution on a path, these included."""
    (cell,) = NASBench201.cells.values()
    dead = without = 0
    for index, names in enumerate(product(NASBench201.operations, repeat=6)):
        choices = tuple(Choice(e.source, e.node, name) for e, name in zip(cell.edges, names, strict=True))
        genotype = Genotype("NASBench201", {"cell": choices})
        live = live_choices(NASBench201, genotype, "cell")
        dead += not live
        without += not any(choice.operation.startswith("nor_conv") for choice in live)
        if index % 13 == 0:
            assert set(live) == reference(NASBench201, genotype, "cell")
    assert (dead, without) == (341, 1983)


@pytest.mark.parametrize("space", [DARTS, S1, DARTSSingleCell], ids=lambda space: space.name)
def test_random_cells(space: SearchSpace) -> None:
    drawn = random.Random(0)
    for _ in range(50):
        genotype = random_genotype(space, drawn)
        cells = {
            kind: tuple(c._replace(operation="none") if drawn.random() < 0.4 else c for c in choices)
            for kind, choices in genotype.cells.items()
        }
        cut = Genotype(space.name, cells)
        for kind in space.cells:
            assert set(live_choices(space, cut, kind)) == reference(space, cut, kind)


def test_a_chain_with_residual_connections_goes_on_past_none() -> None:
    edges = MobileSmall.cells["chain"].edges
    names = ["none" if "none" in edge.operations else edge.operations[0] for edge in edges]
    chain = tuple(Choice(edge.source, edge.node, name) for edge, name in zip(edges, names, strict=True))
    live = live_choices(MobileSmall, Genotype("MobileSmall", {"chain": chain}), "chain")
    assert [choice.node for choice in live] == [k + 1 for k, name in enumerate(names) if name != "none"]
    assert len(live) == 3
