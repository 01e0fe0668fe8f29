"""Edges, cells and spaces are ordered, hashable and checked."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from tables import check_each

from robustnas.spaces import (
    DARTS,
    S1,
    S2,
    S3,
    S4,
    CellSpace,
    DARTSAllEdges,
    DARTSAnyEdges,
    DARTSFewerEdges,
    DARTSSingleCell,
    DARTSWithoutNone,
    Edge,
    NASBench201,
    SearchSpace,
    complete_cell,
)

SPACES = [
    DARTS,
    DARTSWithoutNone,
    DARTSAllEdges,
    DARTSFewerEdges,
    DARTSAnyEdges,
    S1,
    S2,
    S3,
    S4,
    NASBench201,
    DARTSSingleCell,
]


def by_name(space: SearchSpace) -> str:
    return space.name


@pytest.mark.parametrize("space", [S1, NASBench201, DARTSSingleCell], ids=by_name)
def test_edges_are_ordered_by_node_then_source_and_complete(space: SearchSpace) -> None:
    for cell in space.cells.values():
        assert [(e.node, e.source) for e in cell.edges] == [(n, s) for n in cell.nodes for s in range(n)]
        assert [cell.row(edge.source, edge.node) for edge in cell.edges] == list(range(len(cell.edges)))
        assert [row for node in cell.nodes for row, _ in cell.edges_into(node)] == list(range(len(cell.edges)))


def test_edges_are_sorted_however_they_are_given() -> None:
    edges = [Edge(1, 3, ("a",)), Edge(0, 2, ("a",)), Edge(0, 3, ("a",)), Edge(1, 2, ("a",))]
    cell = CellSpace(2, tuple(edges), (2, 3))
    assert [edge.name for edge in cell.edges] == ["0-2", "1-2", "0-3", "1-3"]
    assert cell.row(0, 3) == 2
    assert cell.row(2, 3) is None


def test_only_edges_from_the_inputs_of_a_reduction_cell_have_stride_two() -> None:
    normal, reduce = DARTS.cells["normal"], DARTS.cells["reduce"]
    assert {normal.stride(edge.source) for edge in normal.edges} == {1}
    assert all(reduce.stride(edge.source) == (2 if edge.source in {0, 1} else 1) for edge in reduce.edges)


def test_shape_of_alpha_is_that_of_the_widest_edge() -> None:
    assert DARTS.cells["normal"].shape == (14, 8)
    assert S1.cells["reduce"].shape == (14, 2)
    assert NASBench201.cells["cell"].shape == (6, 5)
    ragged = complete_cell(2, 1, [("a", "b", "c"), ("a",)], (2,))
    assert ragged.shape == (2, 3)


def test_a_space_lists_every_edge_and_every_operation_once() -> None:
    assert [(kind, edge.name) for kind, edge in S1][:2] == [("normal", "0-2"), ("normal", "1-2")]
    assert len(list(S1)) == 28
    assert S1.operations == (
        "skip_connect",
        "dil_conv_3x3",
        "dil_conv_5x5",
        "sep_conv_3x3",
        "max_pool_3x3",
        "avg_pool_3x3",
    )


@pytest.mark.parametrize("space", [S1, NASBench201, DARTSSingleCell], ids=by_name)
def test_spaces_survive_pickling_and_serve_as_keys(space: SearchSpace) -> None:
    copy = pickle.loads(pickle.dumps(space))
    assert copy == space
    assert hash(copy) == hash(space)
    assert {space: 1}[copy] == 1


def test_equality_and_hash_ignore_the_order_of_the_kinds() -> None:
    other = SearchSpace("S2", dict(reversed(S2.cells.items())))
    assert other == S2
    assert hash(other) == hash(S2)
    assert len(set(SPACES)) == len(SPACES)


def test_spaces_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        S1.name = "S9"  # type: ignore[misc]
    with pytest.raises(TypeError):
        S1.cells["normal"] = S1.cells["reduce"]  # type: ignore[index]


def edges(*names: str) -> tuple[Edge, ...]:
    return tuple(Edge(*map(int, name.split("-")), ("a", "b")) for name in names)  # type: ignore[arg-type]


def test_wrong_edges_are_refused() -> None:
    def check(arguments: tuple[Any, ...], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Edge(*arguments)

    check_each(
        [
            ((2, 2, ("a",)), r"Expected `source` to be in 0\.\.1 on an edge into 2, but got 2"),
            ((-1, 2, ("a",)), "Expected `source`.*but got -1"),
            ((0, 2, ()), r"Expected `operations` of edge 0-2 to be distinct words, but got \(\)"),
            ((0, 2, ("a", "a")), "Expected `operations` of edge 0-2"),
            ((0, 2, ("max pool",)), "Expected `operations` of edge 0-2"),
            ((0, 2, ("",)), "Expected `operations` of edge 0-2"),
        ],
        lambda row: check(*row),
    )


def test_wrong_cells_are_refused() -> None:
    def check(arguments: dict[str, Any], message: str) -> None:
        right: dict[str, Any] = {
            "inputs": 2,
            "edges": edges("0-2", "1-2", "0-3", "1-3", "2-3"),
            "outputs": (2, 3),
            "keep": 2,
        }
        CellSpace(**right)
        with pytest.raises(ValueError, match=message):
            CellSpace(**{**right, **arguments})

    check_each(
        [
            ({"edges": ()}, "Expected `edges` to enter every node"),
            (
                {"edges": edges("0-2", "0-4")},
                r"Expected `edges` to enter every node \[2, 3, 4\], but got \['0-2', '0-4'\]",
            ),
            ({"edges": edges("0-2", "0-2")}, "Expected `edges` to be distinct"),
            ({"edges": edges("0-1", "0-2")}, "none to enter an input"),
            ({"outputs": ()}, "Expected `outputs`"),
            ({"outputs": (1,)}, r"Expected `outputs` to be among the nodes \[2, 3\], but got \(1,\)"),
            ({"outputs": (4,)}, "Expected `outputs`"),
            ({"keep": 0}, "Expected `keep` to be at least 1.*but got 0"),
            ({"keep": 3}, "Expected `keep`.*but got 3"),
            ({"never_selected": {"a", "b"}}, "Expected `operations` of 0-2 to hold one that can be selected"),
        ],
        lambda row: check(*row),
    )


def test_wrong_spaces_are_refused() -> None:
    def check(arguments: dict[str, Any], message: str) -> None:
        right: dict[str, Any] = {"name": "Mine", "cells": DARTS.cells}
        with pytest.raises(ValueError, match=message):
            SearchSpace(**{**right, **arguments})

    check_each(
        [
            ({"name": "my space"}, "Expected `name` to be a name without spaces, but got 'my space'"),
            ({"name": ""}, "Expected `name`"),
            ({"skeleton": "resnet"}, "Expected `skeleton` to be one of .*, but got 'resnet'"),
            ({"skeleton": "nasbench201"}, "Expected `cells` of the skeleton 'nasbench201'"),
            ({"cells": {"normal": DARTS.cells["normal"]}}, "Expected `cells` of the skeleton 'darts'"),
            (
                {"cells": {"normal": DARTS.cells["normal"], "reduce": DARTS.cells["normal"]}},
                "Expected `cells` of the skeleton 'darts'",
            ),
            (
                {"cells": {"cell": complete_cell(1, 3, ("a",), (2, 3))}, "skeleton": "nasbench201"},
                r"to have one output, but got \(2, 3\)",
            ),
        ],
        lambda row: check(*row),
    )


def test_operations_must_be_listed_for_every_edge() -> None:
    with pytest.raises(ValueError, match="Expected `operations` to list 5 edges, but got 4"):
        complete_cell(2, 2, [("a",)] * 4, (2, 3))
