"""Protects the plan of a drawn cell: lanes that do not overlap, labels, colours, and the dot form."""

from __future__ import annotations

import random
from itertools import combinations

import pytest
from tables import check_each

from robustnas.plotting.cell_layout import CellPlan, assign_lanes, colour_of, label_of, plan_cells, to_dot, wrap
from robustnas.spaces import DARTS, S2, Choice, Genotype, Mobile, NASBench201, SearchSpace, complete_cell

SKIP, SEP = "skip_connect", "sep_conv_3x3"


def test_edges_that_overlap_have_lanes_of_their_own_the_shorter_below() -> None:
    def check(seed: int) -> None:
        draw = random.Random(seed)
        pairs = [(source, node) for node in range(1, 7) for source in range(node)]
        choices = [Choice(*pair, draw.choice([SKIP, SEP])) for pair in draw.sample(pairs, draw.randint(1, len(pairs)))]
        lanes = assign_lanes(choices)
        for (one, lane), (other, other_lane) in combinations(zip(choices, lanes, strict=True), 2):
            if one.source < other.node and other.source < one.node:
                assert lane != other_lane
                lengths = (one.node - one.source) - (other.node - other.source)
                assert lengths == 0 or (lengths < 0) == (lane < other_lane)
        assert all((lane == 0) == (node == source + 1) for (source, node, _), lane in zip(choices, lanes, strict=True))

    check_each(range(20), check)


def test_a_second_operation_on_an_edge_gets_a_lane_above_the_straight_line() -> None:
    assert assign_lanes([Choice(0, 1, SKIP), Choice(0, 1, SEP)]) in {(0, 1), (1, 0)}


def test_edges_that_only_meet_at_a_state_share_a_lane() -> None:
    assert assign_lanes([Choice(0, 2, SKIP), Choice(2, 4, SEP), Choice(1, 2, SKIP)]) == (1, 1, 0)


def test_lanes_touch_a_state_from_the_inner_to_the_outer_on_both_sides() -> None:
    choices = (Choice(0, 3, SKIP), Choice(1, 3, SEP), Choice(3, 5, SKIP), Choice(3, 6, SEP), Choice(2, 3, SKIP))
    plan = plan_cells(Genotype("Mine", {"normal": choices}))["normal"]
    touching = [plan.choices[i][:2] for i in plan.ports(3)]
    assert touching == [(1, 3), (0, 3), (3, 6), (3, 5)]  # the straight line from 2 comes from the side


def test_inputs_and_outputs_are_those_of_the_space() -> None:
    pairs = [(SKIP, 0), (SKIP, 1)] * 4
    plan = plan_cells(Genotype.from_quark0(pairs, pairs, "S2"))["reduce"]
    assert (plan.title, plan.inputs, plan.states, plan.outputs) == ("Reduction cell", 2, 6, (2, 3, 4, 5))
    choices = tuple(Choice(edge.source, edge.node, SKIP) for edge in NASBench201.cells["cell"].edges)
    plan = plan_cells(Genotype("NASBench201", {"cell": choices}))["cell"]
    assert (plan.title, plan.inputs, plan.states, plan.outputs) == ("Cell", 1, 4, (3,))
    mine = SearchSpace("Mine", {"cell": complete_cell(1, 3, (SKIP,), (2,))}, "nasbench201")
    assert plan_cells(Genotype("Mine", {"cell": choices}), mine)["cell"].outputs == (2,)


def test_without_a_space_they_follow_from_the_nodes() -> None:
    two = plan_cells(Genotype("Unknown", {"normal": (Choice(0, 2, SKIP), Choice(2, 3, SKIP))}))["normal"]
    assert (two.inputs, two.outputs) == (2, (2, 3))
    one = plan_cells(Genotype("Unknown", {"odd": (Choice(0, 1, SKIP), Choice(1, 2, SKIP))}))["odd"]
    assert (one.title, one.inputs, one.outputs) == ("odd", 1, (2,))


def test_a_space_that_is_given_must_fit() -> None:
    pairs = [(SKIP, 0), (SKIP, 1)] * 4
    with pytest.raises(ValueError, match="Expected `genotype` to be from the space DARTS, but got one from S2"):
        plan_cells(Genotype.from_quark0(pairs, pairs, "S2"), DARTS)


def test_labels_are_short_and_colours_go_by_family() -> None:
    labels = {name: label_of(name) for name in (*DARTS.operations, "nor_conv_1x1", "my_own_operation")}
    assert labels == {
        "none": "none",
        "max_pool_3x3": "max pool",
        "avg_pool_3x3": "avg pool",
        "skip_connect": "skip",
        "sep_conv_3x3": "sep 3×3",
        "sep_conv_5x5": "sep 5×5",
        "dil_conv_3x3": "dil 3×3",
        "dil_conv_5x5": "dil 5×5",
        "nor_conv_1x1": "conv 1×1",
        "my_own_operation": "my own operation",
    }
    assert label_of("a" * 30) == "a" * 23 + "…"
    assert colour_of("sep_conv_3x3") == colour_of("nor_conv_1x1")
    families = ["skip_connect", "max_pool_3x3", "sep_conv_3x3", "none", "noise", "my_own"]
    assert len({colour_of(name) for name in families}) == len(families)


def test_dot_lists_every_edge_and_output() -> None:
    pairs = [(SKIP, 0), (SEP, 1)] * 4
    text = to_dot(Genotype.from_quark0(pairs, pairs, "S2"), S2)
    assert text.count("subgraph") == 2
    assert text.count("label=skip_connect") == 0
    assert text.count('label="skip_connect"') == text.count('label="sep_conv_3x3"') == 8
    assert text.count("style=dotted") == 8
    assert '    c0_1 -> c0_5 [label="sep_conv_3x3", color="#00805e"];' in text.splitlines()
    assert text.count("{") == text.count("}")


def test_dot_quotes_names() -> None:
    text = to_dot(Genotype("Mine", {'a "b"': (Choice(0, 1, 'c"\\'),)}))
    assert r'label="a \"b\""' in text
    assert r'label="c\"\\"' in text


def test_a_long_chain_goes_on_in_further_rows() -> None:
    choices = tuple(Choice(edge.source, edge.node, edge.operations[-1]) for _, edge in Mobile)
    plan = plan_cells(Genotype("Mobile", {"chain": choices}))["chain"]
    rows = wrap(plan)
    assert [(row.title, row.first, row.states, row.inputs) for row in rows] == [
        ("Chain", 0, 8, 1),
        ("", 7, 8, 0),
        ("", 14, 8, 0),
    ]
    assert [row.outputs for row in rows] == [(), (), (7,)]
    again = [Choice(s + row.first, n + row.first, name) for row in rows for s, n, name in row.choices]
    assert tuple(again) == choices


def test_other_cells_stay_in_one_row() -> None:
    straight = tuple(Choice(k, k + 1, SEP) for k in range(8))
    short = CellPlan("Chain", 1, 8, straight[:7], (0,) * 7, (7,))
    jumping = CellPlan("Cell", 1, 9, (*straight, Choice(0, 2, SKIP)), (*(0,) * 8, 1), (8,))
    for plan in (short, jumping):
        assert wrap(plan) == [plan]


def test_names_of_mobile_blocks_are_short() -> None:
    assert label_of("mbconv_7x7_3") == "MBConv3 7×7"
    assert colour_of("mbconv_7x7_3") == colour_of(SEP)
