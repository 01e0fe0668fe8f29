"""The spaces of DARTS and RobustDARTS are those of the original code."""

from __future__ import annotations

import pytest
from golden import golden
from tables import check_each

from robustnas.spaces import (
    DARTS,
    S1,
    S2,
    S3,
    S4,
    Choice,
    DARTSAllEdges,
    DARTSSingleCell,
    DARTSSingleCellWithoutSkip,
    DARTSWithoutNone,
    DARTSWithoutSkip,
    Genotype,
    SearchSpace,
    darts_like,
    num_architectures,
    strongest,
)

ROBUST_DARTS = {"s1": S1, "s2": S2, "s3": S3, "s4": S4}


def test_operations_are_those_of_robust_darts() -> None:
    def check(name: str) -> None:
        arrays, meta = golden("spaces_robustdarts")
        space = ROBUST_DARTS[name]
        for kind, lists in arrays["out/spaces"][name].items():
            assert [list(edge.operations) for edge in space.cells[kind].edges] == lists
            assert [edge.name for edge in space.cells[kind].edges] == meta["edge_order"]

    check_each(ROBUST_DARTS, check)


def test_genotypes_found_by_robust_darts_belong_to_the_space() -> None:
    def check(name: str) -> None:
        arrays, _ = golden("spaces_robustdarts")
        space = ROBUST_DARTS[name]
        listings = arrays[f"out/genotypes_{name}"]
        assert len(listings) == 20
        for listing in listings:
            Genotype.from_quark0(listing["normal"], listing["reduce"], space.name).validate(space)

    check_each(ROBUST_DARTS, check)


def test_operations_are_those_of_darts() -> None:
    _, meta = golden("darts_forward")
    for cell in DARTS.cells.values():
        assert {edge.operations for edge in cell.edges} == {tuple(meta["ops"])}
        assert [edge.name for edge in cell.edges] == meta["edge_order"]
    assert DARTSWithoutNone.operations == DARTS.operations[1:]


def test_cells_have_two_inputs_four_nodes_and_keep_two_edges_into_each() -> None:
    def check(space: SearchSpace) -> None:
        assert list(space.cells) == ["normal", "reduce"]
        for kind, cell in space.cells.items():
            assert (cell.inputs, list(cell.nodes), cell.outputs) == (2, [2, 3, 4, 5], (2, 3, 4, 5))
            assert (cell.keep, cell.never_selected, cell.reduction) == (2, {"none"}, kind == "reduce")

    check_each([DARTS, DARTSWithoutNone, *ROBUST_DARTS.values()], check)


def test_snas_keeps_every_edge_and_none_is_an_absent_one() -> None:
    arrays, meta = golden("snas")
    assert DARTSAllEdges.operations == DARTS.operations == tuple(meta["ops"])
    assert num_architectures(DARTSAllEdges) == 8**28
    absent = 0
    for alphas, listing in zip(arrays["alpha/genotype"], arrays["out/genotypes"], strict=True):
        found = strongest(DARTSAllEdges, dict(zip(("normal", "reduce"), alphas.softmax(-1).tolist(), strict=True)))
        absent += sum(found.count("none").values())
        for kind, pairs in listing["all_edges"].items():
            assert len(pairs) == 14
            nodes = [2] * 2 + [3] * 3 + [4] * 4 + [5] * 5
            choices = [Choice(source, node, name) for (name, source), node in zip(pairs, nodes, strict=True)]
            assert sorted(found.validate(DARTSAllEdges).cells[kind]) == sorted(choices)
    assert absent > 20


def test_a_space_of_ones_own_may_differ_between_the_cells() -> None:
    space = darts_like("Mine", ("skip_connect", "sep_conv_3x3"), ("max_pool_3x3", "skip_connect"))
    assert space.cells["normal"].edges[0].operations == ("skip_connect", "sep_conv_3x3")
    assert space.cells["reduce"].edges[13].operations == ("max_pool_3x3", "skip_connect")


def test_the_spaces_of_the_bench_suite_have_one_cell_of_eight_nodes_or_no_skip() -> None:
    """36 edges less the one between the inputs, and all operations of DARTS but for ``skip_connect``."""
    without = tuple(name for name in DARTS.operations if name != "skip_connect")
    assert DARTSWithoutSkip.operations == DARTSSingleCellWithoutSkip.operations == without
    assert DARTSSingleCell.operations == DARTS.operations
    assert list(DARTSWithoutSkip.cells) == ["normal", "reduce"]
    for space in (DARTSSingleCell, DARTSSingleCellWithoutSkip):
        assert (list(space.cells), space.rules.depth, space.rules.least_depth) == (["normal"], "layers", 1)
        (cell,) = space.cells.values()
        assert (cell.inputs, cell.nodes, cell.outputs, cell.keep) == (2, range(2, 10), tuple(range(2, 10)), 2)
        assert (len(cell.edges), cell.never_selected, cell.reduction) == (sum(range(2, 10)), {"none"}, False)


def test_nodes_and_reduction_cells_are_arguments() -> None:
    space = darts_like("Mine", ("skip_connect", "sep_conv_3x3"), nodes=2)
    assert {kind: len(cell.edges) for kind, cell in space.cells.items()} == {"normal": 5, "reduce": 5}
    assert darts_like("DARTS", DARTS.operations) == DARTS
    with pytest.raises(ValueError, match=r"^Expected `nodes` to be at least 1, but got 0\.$"):
        darts_like("Mine", ("skip_connect",), nodes=0)
    with pytest.raises(ValueError, match=r"^Expected no `reduce` without `reduction` cells, but got "):
        darts_like("Mine", ("skip_connect",), ("skip_connect",), reduction=False)
