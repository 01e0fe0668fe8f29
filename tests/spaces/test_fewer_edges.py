"""Genotypes of spaces whose nodes may keep fewer edges: what is valid, in every form, drawn and built."""

from __future__ import annotations

import random
import re

import pytest
import torch
from golden import golden

from robustnas.networks import DiscreteNetwork, Supernet
from robustnas.networks.mixture import one_hots
from robustnas.plotting.cells import draw_genotype, to_dot
from robustnas.spaces import (
    CellSpace,
    Choice,
    DARTSAnyEdges,
    DARTSFewerEdges,
    Edge,
    Genotype,
    SearchSpace,
    find_space,
    live_choices,
    parse_genotype,
    random_genotype,
    strongest,
    weighted_genotype,
)

SPACES = [DARTSFewerEdges, DARTSAnyEdges]
EMPTY = Genotype("DARTSFewerEdges", {"normal": (), "reduce": ()})
SEP, SKIP, DIL = "sep_conv_3x3", "skip_connect", "dil_conv_3x3"


def of(space: SearchSpace, *normal: tuple[int, int, str]) -> Genotype:
    return Genotype(space.name, {"normal": tuple(Choice(*one) for one in normal), "reduce": ()})


def test_they_have_the_candidates_of_fair_darts() -> None:
    _, meta = golden("fairdarts")
    for space in SPACES:
        assert space.operations == tuple(meta["ops"])
        assert find_space(space.name) is space
    assert {(cell.keep, cell.fewer, cell.carried) for cell in DARTSFewerEdges.cells.values()} == {(2, True, 1)}
    assert {(cell.keep, cell.fewer, cell.carried) for cell in DARTSAnyEdges.cells.values()} == {(None, True, 2)}


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_every_form_comes_back(space: SearchSpace) -> None:
    empty = Genotype(space.name, EMPTY.cells)
    half = of(space, (0, 4, SEP), (1, 4, SKIP))
    drawn = [random_genotype(space, random.Random(seed)) for seed in range(20)]
    assert str(empty) == f"{space.name} normal: - | reduce: -"
    for genotype in (empty, half, *drawn):
        assert genotype.validate(space) is genotype
        assert Genotype.from_text(str(genotype)) == genotype
        assert Genotype.from_json(genotype.to_json()) == genotype
        for text in (str(genotype), f"12:00:01 genotype: {genotype}\nRun: runs/mine\n", genotype.to_json()):
            assert parse_genotype(text) == genotype
    with pytest.raises(ValueError, match="Expected `text` to read like"):
        parse_genotype(f"{space.name} normal: -- | reduce: -")
    with pytest.raises(ValueError, match="Expected `text` to read like"):
        Genotype.from_text(f"{space.name} normal:  | reduce: -")


def test_what_is_no_architecture_is_refused() -> None:
    of(DARTSAnyEdges, (0, 2, SEP), (0, 2, SKIP), (1, 2, SEP)).validate(DARTSAnyEdges)
    wrong = {
        "Expected node 4 of the normal cell to have at most 2 edges, but got 3.": of(
            DARTSFewerEdges, (0, 4, SEP), (1, 4, SEP), (2, 4, SEP)
        ),
        "Expected edge 0-2 of the normal cell to carry at most 1 distinct operations, but got ['sep_conv_3x3', ": of(
            DARTSFewerEdges, (0, 2, SEP), (0, 2, SKIP)
        ),
        "Expected edge 0-2 of the normal cell to carry at most 2 distinct operations, but got [": of(
            DARTSAnyEdges, (0, 2, SEP), (0, 2, SEP)
        ),
        "Expected edge 0-2 of the normal cell to carry at most 2 distinct operations, but got ['sep_conv_3x3', 'sk": of(
            DARTSAnyEdges, (0, 2, SEP), (0, 2, SKIP), (0, 2, DIL)
        ),
    }
    for sentence, genotype in wrong.items():
        with pytest.raises(ValueError, match=re.escape(sentence)):
            genotype.validate(find_space(genotype.space))
    cell = DARTSFewerEdges.cells["normal"]
    with pytest.raises(ValueError, match=r"^Expected `carried` to be at least 1, but got 0\.$"):
        CellSpace(2, (Edge(0, 2, (SEP,)),), (2,), fewer=True, carried=0)
    none = Genotype("DARTSWithoutNone", EMPTY.cells)
    with pytest.raises(ValueError, match=r"^Expected node 2 of the normal cell to have 2 edges, but got 0\.$"):
        none.validate(find_space("DARTSWithoutNone"))
    assert cell.kept(5) == 2


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_the_strongest_and_weighted_draws_keep_as_many_as_they_may(space: SearchSpace) -> None:
    rows = {kind: torch.rand(cell.shape).tolist() for kind, cell in space.cells.items()}
    for genotype in (strongest(space, rows), weighted_genotype(space, rows, random.Random(0))):
        genotype.validate(space)
        kept = sum(cell.kept(node) for cell in space.cells.values() for node in cell.nodes)
        assert sum(len(choices) for choices in genotype.cells.values()) == kept


def test_an_absent_edge_leads_nowhere() -> None:
    genotype = of(DARTSFewerEdges, (0, 2, SEP), (3, 4, SEP), (2, 5, SKIP))
    live = live_choices(DARTSFewerEdges, genotype, "normal")
    assert live == [Choice(0, 2, SEP), Choice(2, 5, SKIP)]
    assert live_choices(DARTSFewerEdges, genotype, "reduce") == []


def test_a_node_without_input_is_zero_and_an_edge_is_the_sum_of_its_operations() -> None:
    """The discrete network, and the supernet at the one-hot mixtures of the genotype."""
    genotype = of(DARTSAnyEdges, (0, 2, SEP), (0, 2, SKIP), (2, 4, SKIP))
    torch.manual_seed(0)
    network = DiscreteNetwork(DARTSAnyEdges, genotype, channels=4, layers=3).train()
    seen = []
    cell = network.body.ordered_cells()[0]
    cell.register_forward_hook(lambda _, given, output: seen.append((given[0], output)))
    logits = network(torch.randn(2, 3, 8, 8))
    inputs, output = seen[0]
    nodes = output.chunk(4, dim=1)
    assert [bool((node == 0).all()) for node in nodes] == [False, True, False, True]
    assert torch.equal(nodes[2], nodes[0])
    states = cell._preprocess(inputs)
    single = of(DARTSAnyEdges, (0, 2, SEP))
    alone = DiscreteNetwork(DARTSAnyEdges, single, channels=4, layers=3).train()
    alone.load_edgewise_state_dict(network.edgewise_state_dict(), strict=False)
    of_sep = alone.body.ordered_cells()[0](inputs, None).chunk(4, dim=1)[0]
    torch.testing.assert_close(nodes[0], of_sep + states[0])
    assert logits.isfinite().all()

    mixtures = one_hots(DARTSAnyEdges, genotype, torch.zeros(1))
    assert int(mixtures["normal"].operations.sum()) == 3
    assert int(mixtures["reduce"].operations.sum()) == 0
    assert Supernet(DARTSAnyEdges, channels=4, layers=3)(torch.randn(2, 3, 8, 8), mixtures).isfinite().all()


def test_cells_without_edges_are_drawn() -> None:
    for genotype in (EMPTY, of(DARTSFewerEdges, (0, 2, SEP)), of(DARTSAnyEdges, (1, 2, SEP), (1, 2, SKIP))):
        assert draw_genotype(genotype).count("output") >= 2
        assert to_dot(genotype).count("c0_5 -> c0_output") == 1
