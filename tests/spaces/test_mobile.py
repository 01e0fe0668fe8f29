"""The mobile space is that of ProxylessNAS, and chains that do not fit are refused."""

from __future__ import annotations

import pickle
import random
import re
from typing import Any

import pytest
from tables import check_each

from robustnas.spaces import CellSpace, Choice, Edge, Genotype, Mobile, SearchSpace, find_space, mobile

CHAIN = Mobile.cells["chain"]
ENTRIES = [0, 4, 8, 12, 16, 20]


def random_genotype(space: SearchSpace, seed: int = 0) -> Genotype:
    draw = random.Random(seed)
    return Genotype(space.name, {"chain": tuple(Choice(e.source, e.node, draw.choice(e.operations)) for _, e in space)})


def test_the_papers_chain_has_21_blocks_in_six_stages() -> None:
    assert CHAIN.shape == (21, 7)
    assert Mobile.stages == (4, 4, 4, 4, 4, 1)
    assert [edge.name for edge in CHAIN.edges] == [f"{k}-{k + 1}" for k in range(21)]
    assert CHAIN.outputs == (21,)


def test_operations_are_those_of_the_original_in_its_order() -> None:
    original = ["3x3_MBConv3", "3x3_MBConv6", "5x5_MBConv3", "5x5_MBConv6", "7x7_MBConv3", "7x7_MBConv6"]
    names = [re.sub(r"mbconv_(\dx\d)_(\d)", r"\1_MBConv\2", name) for name in CHAIN.edges[0].operations]
    assert names == original
    assert Mobile.operations == (*CHAIN.edges[0].operations, "none")


def test_none_drops_a_block_where_its_input_goes_on_without_it() -> None:
    without = [k for k, edge in enumerate(CHAIN.edges) if "none" not in edge.operations]
    assert without == ENTRIES
    assert all(edge.operations[-1] == "none" for k, edge in enumerate(CHAIN.edges) if k not in ENTRIES)


def test_it_is_found_by_name_and_survives_pickling() -> None:
    assert find_space("Mobile") is Mobile
    again = pickle.loads(pickle.dumps(Mobile))
    assert again == Mobile
    assert hash(again) == hash(Mobile)
    assert mobile("Mobile", (4, 4, 4, 4, 5)) != mobile("Mobile", (4, 4, 4, 5, 4))


def test_genotypes_come_back_from_json_and_text() -> None:
    genotype = random_genotype(Mobile)
    assert Genotype.from_json(genotype.to_json()).validate(Mobile) == genotype
    assert Genotype.from_text(str(genotype)) == genotype
    entry = Genotype("Mobile", {"chain": [Choice(s, n, "none") for s, n, _ in genotype.cells["chain"]]})
    with pytest.raises(ValueError, match=r"Expected edge 0-1 of the chain cell to carry one of .* but got 'none'"):
        entry.validate(Mobile)


def test_a_chain_of_ones_own() -> None:
    space = mobile("short", (1, 3), ("mbconv_3x3_3", "skip_connect"))
    assert [edge.operations for _, edge in space] == [
        ("mbconv_3x3_3", "skip_connect"),
        ("mbconv_3x3_3", "skip_connect"),
        ("mbconv_3x3_3", "skip_connect", "none"),
        ("mbconv_3x3_3", "skip_connect", "none"),
    ]


def chain(*edges: Edge, outputs: tuple[int, ...] = (2,), stages: tuple[int, ...] = (2,)) -> SearchSpace:
    return SearchSpace("mine", {"chain": CellSpace(1, edges, outputs)}, "mobile", stages)


FIRST, SECOND, JUMP = Edge(0, 1, ("a",)), Edge(1, 2, ("a", "none")), Edge(0, 2, ("a",))
WRONG: dict[str, tuple[Any, str]] = {
    "no stages": (lambda: mobile("x", ()), "Expected `blocks` to list one to six stages, but got 0."),
    "seven stages": (lambda: mobile("x", [1] * 7), "Expected `blocks` to list one to six stages, but got 7."),
    "an empty stage": (
        lambda: mobile("x", (2, 0)),
        "Expected `stages` to be positive and to sum up to 2 edges, but got (2, 0).",
    ),
    "a missing stage": (
        lambda: chain(FIRST, SECOND, stages=()),
        "Expected `stages` to be positive and to sum up to 2 edges, but got ().",
    ),
    "a jump": (lambda: chain(FIRST, SECOND, JUMP, stages=(3,)), "Expected `edges` of a chain to be 0-1, 1-2, ... with"),
    "an early output": (lambda: chain(FIRST, SECOND, outputs=(1,)), "Expected `edges` of a chain to be 0-1, 1-2, ..."),
    "none at the start": (
        lambda: chain(FIRST, SECOND, stages=(1, 1)),
        "Expected no `none` on 1-2, where a stage of the chain starts and nothing bypasses the operations, but got",
    ),
    "stages elsewhere": (
        lambda: SearchSpace("x", dict(find_space("S1").cells), "darts", (1,)),
        "Expected no `stages` with the skeleton 'darts', but got (1,).",
    ),
    "another kind": (
        lambda: SearchSpace("x", {"cell": CHAIN}, "mobile", Mobile.stages),
        "Expected `cells` of the skeleton 'mobile' to be {'chain': (1, False)}",
    ),
}


def test_what_is_no_chain_is_refused() -> None:
    def check(case: str) -> None:
        call, beginning = WRONG[case]
        with pytest.raises(ValueError, match=re.escape(beginning)):
            call()

    check_each(WRONG, check)
