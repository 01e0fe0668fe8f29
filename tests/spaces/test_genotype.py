"""Genotypes are checked, compared and written in every form without loss."""

from __future__ import annotations

import copy
import json
import pickle
import random
from typing import Any

import pytest
from golden import golden, listing
from tables import check_each

from robustnas.spaces import (
    DARTS,
    S1,
    S2,
    S3,
    S4,
    CellSpace,
    Choice,
    DARTSSingleCell,
    Edge,
    Genotype,
    NASBench201,
    SearchSpace,
    complete_cell,
)

SKIP, SEP = "skip_connect", "sep_conv_3x3"
PAIRS = [(SEP, 1), (SKIP, 0), (SKIP, 0), (SEP, 2), (SKIP, 3), (SKIP, 1), (SEP, 4), (SEP, 0)]
REDUCE = [(SKIP, 0), (SKIP, 1), (SEP, 2), (SEP, 1), (SEP, 0), (SKIP, 2), (SEP, 3), (SKIP, 4)]


def example(space: str = "S2") -> Genotype:
    return Genotype.from_quark0(PAIRS, REDUCE, space)


def changed(kind: str, choices: list[Choice]) -> Genotype:
    return Genotype("S2", {**example().cells, kind: tuple(choices)})


def random_cell(draw: random.Random, inputs: int, reduction: bool) -> CellSpace:
    nodes = range(inputs, inputs + draw.randint(1, 5))
    names = ["none", *(f"op_{i}" for i in range(6))]
    edges = []
    for node in nodes:
        sources = draw.sample(range(node), draw.randint(1, node))
        edges += [Edge(s, node, ("op_9", *draw.sample(names, draw.randint(1, 6)))) for s in sources]
    outputs = (nodes[-1],) if inputs == 1 else tuple(nodes)
    keep = draw.choice([None, 1])
    draw.shuffle(edges)
    return CellSpace(inputs, tuple(edges), outputs, reduction, keep, frozenset({"none"}))


def random_space(draw: random.Random) -> SearchSpace:
    if draw.random() < 0.5:
        return SearchSpace("Random", {"cell": random_cell(draw, 1, False)}, "nasbench201")
    return SearchSpace("Random", {"normal": random_cell(draw, 2, False), "reduce": random_cell(draw, 2, True)})


def random_genotype(draw: random.Random, space: SearchSpace) -> Genotype:
    cells = {}
    for kind, cell in space.cells.items():
        kept = []
        for node in cell.nodes:
            entering = [edge for _, edge in cell.edges_into(node)]
            kept += draw.sample(entering, cell.keep or len(entering))
        draw.shuffle(kept)
        choices = [(e, draw.choice([name for name in e.operations if name not in cell.never_selected])) for e in kept]
        cells[kind] = tuple(Choice(edge.source, edge.node, name) for edge, name in choices)
    return Genotype(space.name, cells)


def test_any_genotype_of_any_space_is_valid_and_survives_every_form() -> None:
    def check(seed: int) -> None:
        draw = random.Random(seed)
        known = [DARTS, DARTSSingleCell, S1, S2, S3, S4, NASBench201]
        space = random_space(draw) if seed % 2 else known[seed // 2 % len(known)]
        genotype = random_genotype(draw, space)
        assert genotype.validate(space) is genotype
        for again in (
            Genotype.from_json(genotype.to_json()),
            Genotype.from_text(str(genotype)),
            pickle.loads(pickle.dumps(genotype)),
            copy.deepcopy(genotype),
        ):
            assert again == genotype
            assert hash(again) == hash(genotype)
            assert dict(again.cells) == dict(genotype.cells)  # also the order inside a node
        if space.skeleton == "nasbench201":
            assert Genotype.from_nasbench201(genotype.to_nasbench201(), "Random") == Genotype("Random", genotype.cells)

    check_each(range(14), check)


def test_choices_are_ordered_by_node_and_keep_their_order_inside_a_node() -> None:
    genotype = Genotype("S2", {"normal": [(2, 3, SKIP), (1, 2, SKIP), (0, 3, SEP), (0, 2, SEP)]})  # type: ignore[dict-item]
    assert genotype.cells["normal"] == ((1, 2, SKIP), (0, 2, SEP), (2, 3, SKIP), (0, 3, SEP))
    assert all(isinstance(choice, Choice) for choice in genotype.cells["normal"])


def test_equality_ignores_the_order_of_edges_and_kinds_and_nothing_else() -> None:
    genotype = example()
    backwards = Genotype("S2", {kind: choices[::-1] for kind, choices in reversed(genotype.cells.items())})
    assert backwards == genotype
    assert hash(backwards) == hash(genotype)
    assert backwards.cells["normal"] != genotype.cells["normal"]
    assert genotype != example("S3")
    assert genotype != Genotype("S2", {"normal": genotype.cells["reduce"], "reduce": genotype.cells["normal"]})
    assert genotype != changed("normal", [choice._replace(operation=SEP) for choice in genotype.cells["normal"]])
    assert genotype != str(genotype)


def test_genotypes_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        example().space = "S1"  # type: ignore[misc]
    with pytest.raises(TypeError):
        example().cells["normal"] = ()  # type: ignore[index]


def test_operations_are_counted_by_kind() -> None:
    assert example().count(SKIP) == {"normal": 4, "reduce": 4}
    assert example().count("none") == {"normal": 0, "reduce": 0}


def test_choices_must_be_triples() -> None:
    def check(choices: Any) -> None:
        with pytest.raises(ValueError, match=r"Expected `cells\['normal'\]` to be triples"):
            Genotype("S2", {"normal": choices})

    check_each(
        [
            [(0, 2)],
            [("a", 2, SKIP)],
            [(0.5, 2, SKIP)],
            [(0, 2, None)],
            [(0, 2, "max pool")],
            [(3, 2, SKIP)],
            [(-1, 2, SKIP)],
            3,
            ["0-2 none"],
        ],
        check,
    )


def test_the_name_of_the_space_is_a_word() -> None:
    def check(space: Any) -> None:
        with pytest.raises(ValueError, match="Expected `space` to be a name without spaces"):
            Genotype(space, {})

    check_each(["my space", "", None], check)


def test_validation_names_what_is_wrong() -> None:
    normal = list(example().cells["normal"])
    wrong = {
        "Expected `genotype` to be from the space S2, but got one from S3": example("S3"),
        r"to have the cells \['normal', 'reduce'\], but got \['normal'\]": Genotype("S2", {"normal": tuple(normal)}),
        "use edges of the normal cell, but got 0-6": changed("normal", [*normal, Choice(0, 6, SKIP)]),
        "use edges of the reduce cell, but got 0-1": changed("reduce", [Choice(0, 1, SKIP), *normal]),
        r"Expected edge 1-2 of the normal cell to carry one of \['skip_connect', 'sep_conv_3x3'\], but got 'noise'": (
            changed("normal", [Choice(1, 2, "noise"), *normal[1:]])
        ),
        "Expected node 2 of the normal cell to have 2 edges, but got 1": changed("normal", normal[1:]),
        "Expected node 4 of the reduce cell to have 2 edges, but got 3": changed(
            "reduce", [*normal, Choice(2, 4, SEP)]
        ),
    }
    for message, genotype in wrong.items():
        with pytest.raises(ValueError, match=message):
            genotype.validate(S2)


def test_none_is_never_selected_in_the_darts_family_but_may_be_in_nasbench201() -> None:
    pairs = [("none", 0), *PAIRS[1:]]
    with pytest.raises(ValueError, match=r"Expected edge 0-2 of the normal cell to carry one of .*but got 'none'"):
        Genotype.from_quark0(pairs, PAIRS, "S3").validate(S3)
    cell = complete_cell(1, 3, ("none",), (3,))
    choices = tuple(Choice(edge.source, edge.node, "none") for edge in cell.edges)
    Genotype("NASBench201", {"cell": choices}).validate(NASBench201)


def test_where_all_edges_are_kept_none_comes_twice() -> None:
    choices = [Choice(edge.source, edge.node, "none") for edge in NASBench201.cells["cell"].edges]
    choices[2] = Choice(0, 2, SKIP)
    with pytest.raises(ValueError, match="Expected the edges of the cell cell to be distinct"):
        Genotype("NASBench201", {"cell": tuple(choices)}).validate(NASBench201)


def test_two_operations_on_one_edge_are_two_edges_of_a_node() -> None:
    pairs = [(SEP, 0), (SKIP, 0), *PAIRS[2:]]
    assert Genotype.from_quark0(pairs, PAIRS, "S2").validate(S2).cells["normal"][:2] == ((0, 2, SEP), (0, 2, SKIP))


def test_text_is_one_line() -> None:
    genotype = Genotype("S2", {"normal": (Choice(0, 2, SKIP), Choice(1, 2, SEP)), "reduce": (Choice(1, 2, SEP),)})
    assert str(genotype) == "S2 normal: 0-2 skip_connect, 1-2 sep_conv_3x3 | reduce: 1-2 sep_conv_3x3"
    assert Genotype.from_text(f"  {genotype}\n") == genotype


def test_other_text_is_refused() -> None:
    def check(text: str) -> None:
        with pytest.raises(ValueError, match="Expected `text` to read like"):
            Genotype.from_text(text)

    check_each(
        [
            "",
            "S2",
            "S2 normal:",
            "S2 normal: ",
            "S2 normal: 0-2",
            "S2 normal: 0-2 a b",
            "S2 normal: 0_2 skip_connect",
            "S2 0-2 skip_connect",
            "S2 normal: 0-2 skip_connect | normal: 0-2 skip_connect",
            "my space normal: 0-2 skip_connect",
            "S2 normal: 0-2 skip_connect | ",
        ],
        check,
    )


def test_json_holds_schema_space_and_cells() -> None:
    document = json.loads(example().to_json())
    assert list(document) == ["schema", "space", "cells"]
    assert (document["schema"], document["space"]) == (1, "S2")
    assert document["cells"]["normal"][:2] == [["1-2", SEP], ["0-2", SKIP]]
    assert max(map(len, example().to_json().splitlines())) > 200  # one line for each cell


def test_other_json_is_refused() -> None:
    def check(text: str, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Genotype.from_json(text)

    check_each(
        [
            ("{", "Expected `genotype` to be JSON"),
            ("[]", r"Expected `genotype` JSON to have schema version 1, but got 'list'"),
            ("{}", "Expected `genotype` JSON to have schema version 1, but got None"),
            ('{"schema": 2, "space": "S2", "cells": {}}', "schema version 1, but got 2"),
            ('{"schema": 1, "cells": {}}', "Expected `genotype` JSON to hold `space` and `cells`.*'space'"),
            ('{"schema": 1, "space": "S2"}', "Expected `genotype` JSON to hold `space` and `cells`.*'cells'"),
            ('{"schema": 1, "space": null, "cells": {}}', "Expected `genotype` JSON to hold"),
            ('{"schema": 1, "space": "S2", "cells": []}', "Expected `genotype` JSON to hold"),
            ('{"schema": 1, "space": "S2", "cells": {"normal": [["0-2"]]}}', "Expected `genotype` JSON to hold"),
            (
                '{"schema": 1, "space": "S2", "cells": {"normal": [["0-2-3", "none"]]}}',
                "Expected `genotype` JSON to hold",
            ),
            ('{"schema": 1, "space": "S2", "cells": {"normal": [["0-2", 5]]}}', "Expected `genotype` JSON to hold"),
            ('{"schema": 1, "space": "S2", "cells": {"normal": {"0-2": "none"}}}', "Expected `genotype` JSON to hold"),
        ],
        lambda row: check(*row),
    )


def test_listings_of_the_original_code_round_trip() -> None:
    arrays, _ = golden("genotype_darts")
    listings = arrays["out/genotypes"] + arrays["out/genotypes_ties"]
    assert len(listings) == 53
    for listed in listings:
        genotype = Genotype.from_quark0(listed["normal"], listed["reduce"])
        assert listing(genotype.validate(DARTS)) == listed


def test_published_genotypes_are_valid() -> None:
    arrays, _ = golden("retrain_forward")
    names = [name for name in arrays["genotypes"] if "NASNet" not in name and "AmoebaNet" not in name]
    assert len(names) == 6
    for name in names:
        listing = arrays["genotypes"][name]
        Genotype.from_quark0(listing["normal"], listing["reduce"]).validate(DARTS)
