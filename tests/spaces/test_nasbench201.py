"""The space of NAS-Bench-201 has exactly the 15,625 cells of the benchmark."""

from __future__ import annotations

import csv
import gzip
from itertools import product
from pathlib import Path

import pytest
from golden import golden
from tables import check_each

from robustnas.spaces import Choice, Genotype, NASBench201

CELL = NASBench201.cells["cell"]
TABLE = Path(__file__).resolve().parents[2] / "../shared/data/nas_bench_201.csv.gz"


def all_strings() -> list[str]:
    """The 15,625 strings, written out without the code under test."""
    return [
        f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|" for a, b, c, d, e, f in product(NASBench201.operations, repeat=6)
    ]


def test_cell_is_that_of_the_benchmark() -> None:
    _, meta = golden("nb201_forward")
    assert [edge.name for edge in CELL.edges] == meta["edge_order"]
    assert {edge.operations for edge in CELL.edges} == {tuple(meta["ops"])}
    assert (CELL.inputs, CELL.outputs, CELL.keep, CELL.reduction) == (1, (3,), None, False)
    assert CELL.never_selected == frozenset()


def test_every_string_round_trips_and_is_a_cell_of_its_own() -> None:
    strings = all_strings()
    genotypes = [Genotype.from_nasbench201(text).validate(NASBench201) for text in strings]
    assert [genotype.to_nasbench201() for genotype in genotypes] == strings
    assert len(set(genotypes)) == len(strings) == 15_625


def test_strings_of_the_benchmark_are_exactly_those() -> None:
    if not TABLE.exists():
        pytest.skip("no benchmark table: nas_bench_201.csv.gz is not in ../shared/data")
    with gzip.open(TABLE, "rt", newline="") as file:
        strings = [row["arch"] for row in csv.DictReader(file)]
    assert sorted(strings) == sorted(all_strings())
    assert [Genotype.from_nasbench201(text).to_nasbench201() for text in strings] == strings


def test_strings_found_by_the_original_round_trip() -> None:
    arrays, _ = golden("genotype_nb201")
    for text in arrays["out/arch_strings"] + arrays["out/arch_strings_ties"]:
        assert Genotype.from_nasbench201(text).validate(NASBench201).to_nasbench201() == text


def test_each_operation_stands_on_its_edge() -> None:
    text = "|none~0|+|skip_connect~0|nor_conv_1x1~1|+|nor_conv_3x3~0|avg_pool_3x3~1|none~2|"
    assert Genotype.from_nasbench201(f" {text}\n").cells["cell"] == (
        Choice(0, 1, "none"),
        Choice(0, 2, "skip_connect"),
        Choice(1, 2, "nor_conv_1x1"),
        Choice(0, 3, "nor_conv_3x3"),
        Choice(1, 3, "avg_pool_3x3"),
        Choice(2, 3, "none"),
    )


def test_string_is_written_in_order_of_the_sources() -> None:
    text = "|none~0|+|skip_connect~0|nor_conv_1x1~1|+|nor_conv_3x3~0|avg_pool_3x3~1|none~2|"
    choices = Genotype.from_nasbench201(text).cells["cell"]
    assert Genotype("NASBench201", {"cell": choices[::-1]}).to_nasbench201() == text


def test_other_strings_are_refused() -> None:
    def check(text: str) -> None:
        with pytest.raises(ValueError, match="Expected `text` to read like"):
            Genotype.from_nasbench201(text)

    check_each(["", "|", "||", "none~0", "|none~0", "|none|", "|none~0|+", "|none~0||none~0|", "|a b~0|"], check)


def test_cells_of_another_skeleton_have_no_string() -> None:
    choices = [("skip_connect", 0), ("skip_connect", 1)] * 4
    with pytest.raises(
        ValueError, match=r"Expected `genotype` to have one kind of cell, but got \['normal', 'reduce'\]"
    ):
        Genotype.from_quark0(choices, choices).to_nasbench201()
