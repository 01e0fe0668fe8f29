"""Numbers and genotypes are in bijection, draws are uniform, and mutations change one edge."""

from __future__ import annotations

import random
from collections import Counter
from itertools import combinations, product
from math import prod

import pytest
from scipy.stats import chisquare

from robustnas.spaces import (
    DARTS,
    S1,
    S2,
    S4,
    CellSpace,
    Choice,
    DARTSAnyEdges,
    DARTSFewerEdges,
    DARTSSingleCell,
    DARTSWithoutNone,
    DARTSWithoutSkip,
    Genotype,
    Mobile,
    MobileSmall,
    NASBench201,
    SearchSpace,
    complete_cell,
    decode,
    encode,
    mutated,
    num_architectures,
    random_genotype,
)

SAMPLE = [DARTS, S1, NASBench201, Mobile, DARTSSingleCell, DARTSWithoutSkip]
FEWER = [DARTSFewerEdges, DARTSAnyEdges]
UNEVEN = [("a", "b"), ("a", "b", "c"), ("a",), ("b", "none"), ("a", "c")]  # edges 0-2, 1-2, 0-3, 1-3, 2-3
TINY = SearchSpace(
    "Tiny",
    {
        "normal": complete_cell(2, 2, UNEVEN, (2, 3), keep=2, never_selected=("none",)),
        "reduce": complete_cell(2, 1, ("a", "b"), (2,), reduction=True, keep=1),
    },
)


def listed(space: SearchSpace) -> list[Genotype]:
    """Every genotype, the slow way."""
    cells = {}
    for kind, cell in space.cells.items():
        nodes = []
        for node in cell.nodes:
            edges = [edge for _, edge in cell.edges_into(node)]
            kept = combinations(edges, cell.keep or len(edges))
            names = lambda edge, cell=cell: [n for n in edge.operations if n not in cell.never_selected]  # noqa: E731
            nodes.append(
                [
                    tuple(Choice(edge.source, edge.node, name) for edge, name in zip(chosen, drawn, strict=True))
                    for chosen in kept
                    for drawn in product(*map(names, chosen))
                ]
            )
        cells[kind] = [sum(parts, ()) for parts in product(*nodes)]
    return [Genotype(space.name, dict(zip(cells, each, strict=True))) for each in product(*cells.values())]


@pytest.mark.parametrize("space", [TINY, MobileSmall], ids=lambda space: space.name)
def test_numbers_list_every_genotype_once(space: SearchSpace) -> None:
    every = listed(space)
    assert num_architectures(space) == len(every) == len(set(every))
    assert {decode(number, space) for number in range(len(every))} == set(every)
    assert sorted(encode(genotype, space) for genotype in every) == list(range(len(every)))


def test_sizes_are_those_of_the_papers() -> None:
    assert num_architectures(NASBench201) == 5**6 == 15625
    assert (
        num_architectures(DARTS) == num_architectures(DARTSWithoutNone) == (1 * 3 * 6 * 10 * 7**8) ** 2
    )  # 7^8 * 180 for each cell
    assert num_architectures(DARTSWithoutSkip) == (180 * 6**8) ** 2
    assert num_architectures(DARTSSingleCell) == 1 * 3 * 6 * 10 * 15 * 21 * 28 * 36 * 7**16
    assert num_architectures(S2) == num_architectures(S4) == (180 * 2**8) ** 2
    of_edge = 1 + 7 + 21  # absent, one operation, two
    assert num_architectures(DARTSAnyEdges) == of_edge**28
    nodes = (1 + k * 7 + k * (k - 1) // 2 * 49 for k in (2, 3, 4, 5))
    assert num_architectures(DARTSFewerEdges) == prod(nodes) ** 2
    assert num_architectures(Mobile) == 6**6 * 7**15


SPARSE = SearchSpace(  # nodes keep two of their edges at most
    "Sparse",
    {
        "normal": complete_cell(2, 2, ("a", "b", "none"), (2, 3), keep=2, never_selected=("none",), fewer=True),
        "reduce": complete_cell(2, 1, ("a",), (2,), reduction=True, keep=1, fewer=True),
    },
)
DOUBLE = SearchSpace(  # any edges, with two operations at most
    "Double",
    {
        "normal": complete_cell(2, 1, ("a", "b", "c"), (2,), fewer=True, carried=2),
        "reduce": complete_cell(2, 1, ("a", "b"), (2,), reduction=True, fewer=True, carried=2),
    },
)


def every_subset(space: SearchSpace) -> list[Genotype]:
    """All genotypes of a space whose nodes may keep fewer edges: subsets of all choices that are valid."""
    kinds = []
    for kind, cell in space.cells.items():
        choices = [Choice(e.source, e.node, name) for e in cell.edges for name in cell.selectable(e).values()]
        every = [tuple(some) for count in range(len(choices) + 1) for some in combinations(choices, count)]
        kinds.append([(kind, some) for some in every if fits(cell, some)])
    return [Genotype(space.name, dict(cells)) for cells in product(*kinds)]


def fits(cell: CellSpace, some: tuple[Choice, ...]) -> bool:
    per_edge = Counter(choice[:2] for choice in some)
    per_node = Counter(node for _, node in per_edge)
    most = {node: cell.keep or len(cell.edges_into(node)) for node in cell.nodes}
    return max(per_edge.values(), default=0) <= cell.carried and all(per_node[n] <= most[n] for n in per_node)


@pytest.mark.parametrize("space", [SPARSE, DOUBLE], ids=lambda space: space.name)
def test_every_subset_of_edges_counts_where_a_node_may_keep_fewer(space: SearchSpace) -> None:
    every = every_subset(space)
    assert num_architectures(space) == len(every) == len(set(every))
    assert {decode(number, space).validate(space) for number in range(len(every))} == set(every)
    assert sorted(encode(genotype, space) for genotype in every) == list(range(len(every)))
    reached, draw = Genotype(space.name, dict.fromkeys(space.cells, ())), random.Random(0)
    seen = {reached}
    for _ in range(20 * len(every)):  # neighbours lead everywhere, from the empty cell on
        reached = mutated(reached, space, draw)
        seen.add(reached)
    assert seen == set(every)


def test_neighbours_differ_by_one_operation_where_a_node_may_keep_fewer() -> None:
    draw = random.Random(2)
    for space in FEWER:
        kinds = set()
        for _ in range(60):
            genotype = random_genotype(space, draw)
            changed = mutated(genotype, space, draw).validate(space)
            gone, new = (
                sum(len(set(one.cells[kind]) - set(other.cells[kind])) for kind in space.cells)
                for one, other in ((genotype, changed), (changed, genotype))
            )
            kinds.add((gone, new))
        assert {(1, 1)} <= kinds <= {(1, 1), (1, 0), (0, 1)}
        empty = Genotype(space.name, dict.fromkeys(space.cells, ()))
        assert sum(len(choices) for choices in mutated(empty, space, draw).cells.values()) == 1


@pytest.mark.parametrize("space", [*SAMPLE, *FEWER], ids=lambda space: space.name)
def test_a_number_stands_for_its_genotype_in_every_space(space: SearchSpace) -> None:
    draw = random.Random(1)
    for number in (0, num_architectures(space) - 1, *(draw.randrange(num_architectures(space)) for _ in range(30))):
        genotype = decode(number, space).validate(space)
        assert encode(genotype, space) == number
        shuffled = {kind: draw.sample(cell, len(cell)) for kind, cell in genotype.cells.items()}
        assert encode(Genotype(space.name, shuffled), space) == number
        if space in FEWER:
            continue
        changed = mutated(genotype, space, draw).validate(space)
        assert sum(len(set(cell) - set(changed.cells[kind])) for kind, cell in genotype.cells.items()) == 1


def test_what_has_no_number_is_refused() -> None:
    for number in (-1, 15625):
        with pytest.raises(
            ValueError, match=f"^Expected `number` to be from 0 to 15624 in NASBench201, but got {number}"
        ):
            decode(number, NASBench201)
    twice = {kind: (Choice(0, 2, "skip_connect"),) * 2 for kind in ("normal", "reduce")}
    rest = [Choice(source, node, "skip_connect") for node in (3, 4, 5) for source in (0, 1)]
    genotype = Genotype("S2", {kind: (*cell, *rest) for kind, cell in twice.items()})
    with pytest.raises(
        ValueError, match=r"^Expected node 2 of the normal cell to keep distinct edges, but got \['0-2'\]"
    ):
        encode(genotype, S2)
    with pytest.raises(ValueError, match="to be from the space NASBench201"):
        encode(genotype, NASBench201)
    one = SearchSpace("One", {"cell": complete_cell(1, 1, ("a",), (1,))}, "nasbench201")
    with pytest.raises(ValueError, match=r"^Expected `space` to have more than one genotype, but One has one\.$"):
        mutated(decode(0, one), one, random.Random(0))


def test_drawn_genotypes_are_uniform() -> None:
    draw, every = random.Random(0), listed(TINY)
    found = Counter(random_genotype(TINY, draw) for _ in range(40 * len(every)))
    assert chisquare([found[one] for one in every]).pvalue > 0.01
    kept = Counter(choice[:2] for one in found.elements() for choice in one.cells["normal"] if choice.node == 3)
    assert kept[2, 3] > kept[0, 3] > 0  # an edge with more operations is in more genotypes
    assert random_genotype(DARTS, random.Random(5)) == random_genotype(DARTS, random.Random(5))


def test_every_neighbour_is_reached_and_nothing_else() -> None:
    start = decode(17, TINY)
    near = {
        one
        for one in listed(TINY)
        if sum(len(set(cell) - set(one.cells[kind])) for kind, cell in start.cells.items()) == 1
        and all(len({c.node for c in set(one.cells[k]) ^ set(start.cells[k])}) <= 1 for k in start.cells)
    }
    draw = random.Random(0)
    found = {mutated(start, TINY, draw) for _ in range(3000)}
    assert found <= near
    swapped_with_its_operation = {  # a swap keeps the operation where the other edge has it
        one
        for one in near
        for kind, cell in start.cells.items()
        for old, new in zip(
            sorted(set(cell) - set(one.cells[kind])), sorted(set(one.cells[kind]) - set(cell)), strict=True
        )
        if old.source == new.source
        or old.operation == new.operation
        or old.operation not in TINY.cells[kind].edges[TINY.cells[kind].row(new.source, new.node) or 0].operations
    }
    assert found == swapped_with_its_operation
