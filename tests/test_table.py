"""The tabular benchmark: look-ups, files, and what users have of NAS-Bench-201."""

from __future__ import annotations

import gzip
import random
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from golden import listing
from tables import check_each

from robustnas.spaces import S2, Genotype, NASBench201, NASBench201SkipConv, decode, encode, random_genotype
from robustnas.tabular import Entry, Rank, Table, read_columns

REAL = Path(__file__).resolve().parents[1] / "../shared/data/nas_bench_201.csv.gz"
ALL_SKIP = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"


def made(numbers: list[int], **columns: list[float]) -> Table:
    genotypes = [decode(number, NASBench201) for number in numbers]
    return Table.of(genotypes, {k: np.array(v, np.float32) for k, v in columns.items()}, "t.csv", NASBench201)


def test_a_table_knows_accuracy_regret_and_rank() -> None:
    table = made([70, 3, 15624, 9], top1=[50.0, 90.5, 50.0, 20.0], other=[1.0, 2.0, np.nan, 4.0])
    at = {number: decode(number, NASBench201) for number in (3, 9, 70, 15624, 8)}
    assert list(table) == [at[3], at[9], at[70], at[15624]]
    assert len(table) == 4
    assert [table.accuracy(at[k], "top1") for k in (3, 9, 70)] == [90.5, 20.0, 50.0]
    assert table.accuracy(at[70].to_nasbench201(), "top1") == table.accuracy(str(at[70]), "top1") == 50.0
    assert [table.regret(at[k], "top1") for k in (3, 9)] == [0.0, 70.5]
    assert [table.rank(at[k], "top1") for k in (3, 70, 15624, 9)] == [Rank(1, 4), Rank(2, 4), Rank(2, 4), Rank(4, 4)]
    assert table.rank(at[3], "other") == Rank(2, 3)
    assert table.best("top1") == Entry(at[3], 90.5)
    assert table.best("other") == Entry(at[9], 4.0)
    assert table.mean("top1") == pytest.approx(210.5 / 4)
    assert table.mean("other") == pytest.approx(7 / 3)
    assert table.evaluator("top1")(at[9], 200) == 20.0
    assert (at[3] in table, at[8] in table, ALL_SKIP in table, 3 in table) == (True, False, False, False)
    for genotype, column in ((at[8], "top1"), (at[15624], "other")):
        with pytest.raises(
            ValueError, match=rf"^Expected t\.csv to hold '{column}' of every architecture, but it has none of NASB"
        ):
            table.accuracy(genotype, column)
    for ask in (table.column, table.evaluator, table.best, table.mean, lambda name: table.rank(at[3], name)):
        with pytest.raises(
            ValueError, match=r"^Expected t\.csv to have the column 'top5', but got \['top1', 'other'\]"
        ):
            ask("top5")
    with pytest.raises(ValueError, match="to be from the space NASBench201, but got one from S2"):
        table.accuracy(decode(0, S2), "top1")


def test_a_part_of_the_space_is_a_table_of_its_own() -> None:
    table = made([781, 3906, 5218, 5000], top1=[40.0, 90.0, 80.0, 99.0])
    cells = [decode(number, NASBench201) for number in (3906, 5218)]  # all skip; skips and convolutions
    part = table.within(NASBench201SkipConv)
    assert part.space == NASBench201SkipConv
    assert [one.cells for one in part] == [cell.cells for cell in cells]
    moved = Genotype(NASBench201SkipConv.name, cells[1].cells)
    assert part.accuracy(moved, "top1") == 80.0
    assert part.rank(moved, "top1") == Rank(2, 2)
    assert part.regret(moved, "top1") == 10.0
    assert table.within(NASBench201) is table
    with pytest.raises(ValueError, match=r"^Expected t\.csv to hold architectures of S2, but got those of NASBench201"):
        table.within(S2)


def test_equal_functions_have_entries_of_their_own() -> None:
    """A cell whose last node sees nothing but zeros computes the same whatever stands before it."""
    cut = "+|none~0|none~1|none~2|"
    texts = [f"|{op}~0|+|{op}~0|{op}~1|{cut}" for op in ("none", "skip_connect", "nor_conv_3x3")]
    numbers = [encode(Genotype.from_nasbench201(text), NASBench201) for text in texts]
    table = made(numbers, top1=[10.0, 10.0, 10.1])
    assert [table.accuracy(text, "top1") for text in texts] == [10.0, 10.0, pytest.approx(10.1)]


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet"])
@pytest.mark.parametrize("space", [NASBench201, S2], ids=lambda space: space.name)
def test_a_file_holds_the_table(tmp_path: Path, ending: str, space: Any) -> None:
    draw = random.Random(0)
    genotypes = list({random_genotype(space, draw): None for _ in range(30)})
    values = {"a": np.float32([draw.random() for _ in genotypes]), "b": np.float32(range(len(genotypes)))}
    values["a"][3] = np.nan
    table = Table.of(genotypes, values, "made", space)
    path = tmp_path / f"table{ending}"
    table.write(path)
    read = Table.read(path)
    assert read.space is space
    assert (read.numbers == table.numbers).all()
    for name in ("a", "b"):
        np.testing.assert_array_equal(read.columns[name], table.columns[name])
    assert read.accuracy(genotypes[7], "a") == table.accuracy(genotypes[7], "a") == float(values["a"][7])
    with pytest.raises(ValueError, match=r"^Expected the file of a table to end in \.parquet, \.csv or \.csv\.gz, but"):
        table.write(tmp_path / "table.txt")


def test_a_table_that_is_wrong_is_one_sentence(tmp_path: Path) -> None:
    def table(name: str, *rows: str) -> Path:
        path = tmp_path / name
        path.write_text("\n".join(["index,cells,top1,note", *rows]), encoding="utf-8")
        return path

    good = f"0,{ALL_SKIP},54.3,x"
    assert list(read_columns(table("ok.csv", good), "cells")[1]) == ["top1"]  # a column without a number is none
    with pytest.raises(ValueError, match=r"to have the column 'arch', but got \['index', 'cells', 'top1', 'note'\]"):
        Table.read(table("a.csv", good))
    with pytest.raises(
        ValueError, match=r"a\.csv to name each architecture once, but got this one twice: NASBench201 "
    ):
        Table.read(table("a.csv", good, good), architecture="cells")
    with pytest.raises(ValueError, match=r"a\.csv to hold architectures, but got none\.$"):
        Table.read(table("a.csv"), architecture="cells")
    with pytest.raises(ValueError, match=r"a\.csv to hold architectures of S2, but got '\|skip_connect~0\|"):
        Table.read(table("a.csv", good), "S2", "cells")
    with pytest.raises(ValueError, match=r"a\.csv to hold architectures of NASBench201, but got 'S2 normal"):
        Table.read(table("a.csv", good, f'1,"{decode(0, S2)}",1,x'), architecture="cells")
    with pytest.raises(ValueError, match=r"a\.csv to hold architectures of a space, but got 'resnet'"):
        Table.read(table("a.csv", "0,resnet,1,x"), architecture="cells")
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(good.encode())[:-9])
    (tmp_path / "none.parquet").write_bytes(b"PAR1 no")
    sentences = {
        "cut.csv.gz": "be a complete gzip file, but unpacking it fails",
        "none.parquet": "be a Parquet file, but reading it fails",
        "missing.csv": "be a file that can be read, but got no such file",
        "missing.parquet": "be a Parquet file, but reading it fails: No such file",
    }
    for name, says in sentences.items():
        with pytest.raises(ValueError, match=f"^Expected .*{name} to {says}"):
            Table.read(tmp_path / name)
    with pytest.raises(ValueError, match=r"`numbers` of the table to be in ascending order"):
        Table(NASBench201, np.array([2, 1]), {})
    with pytest.raises(ValueError, match="columns of 2 numbers, but 'a' has another length"):
        Table(NASBench201, np.array([1, 2]), {"a": np.float32([1])})


def test_a_parquet_file_of_other_types_is_read(tmp_path: Path) -> None:
    rows = {"index": [0], "arch": [ALL_SKIP], "top1": pa.array([54.3], pa.float64()), "epochs": [200], "who": ["x"]}
    pq.write_table(pa.table(rows), tmp_path / "t.parquet")
    table = Table.read(tmp_path / "t.parquet")
    assert list(table.columns) == ["top1", "epochs"]
    assert table.accuracy(ALL_SKIP, "top1") == pytest.approx(54.3)


def test_the_benchmark_takes_less_than_five_megabytes() -> None:
    """Measured on a fifth of its architectures."""
    values = {f"c{k}": np.zeros(3125, np.float32) for k in range(12)}
    genotypes = [decode(number, NASBench201) for number in range(3125)]
    tracemalloc.start()
    table = Table.of(genotypes, values, "made", NASBench201)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert table.nbytes == 3125 * (8 + 12 * 4)
    assert held < 1e6


def test_it_agrees_with_what_was_published() -> None:
    """arXiv:2001.00326 and later: the cell that DARTS collapses to, and the best there is."""
    if not REAL.is_file():
        pytest.skip("no benchmark table: nas_bench_201.csv.gz is not in ../shared/data")
    table = Table.read(REAL)
    assert len(table) == 15625
    assert table.nbytes < 5e6
    published = {"cifar10": (54.30, 94.37), "cifar100": (15.61, 73.51), "imagenet16_120": (16.32, 47.31)}
    for data, (skips, best) in published.items():
        column = f"{data}_test_200"
        assert round(table.accuracy(ALL_SKIP, column), 2) == skips
        assert round(table.best(column).accuracy, 2) == best
        assert table.rank(table.best(column).genotype, column) == Rank(1, 15625)
        assert table.regret(ALL_SKIP, column) == pytest.approx(best - skips, abs=0.011)
    assert table.rank(ALL_SKIP, "cifar10_test_200").place > 15000


def csv(path: Path, *columns: str, rows: int = 3) -> Path:
    """A table of ``rows`` architectures: each column is its name and its cells, with colons between them."""
    names, *cells = zip(*(column.split(":") for column in columns), strict=True)
    lines = [";".join(("arch", *names))]
    lines += [f"{decode(row, NASBench201).to_nasbench201()};{';'.join(cells[row])}" for row in range(rows)]
    path.write_text("\n".join(lines), encoding="utf-8-sig")
    return path


WRONG = {
    "percent alone": (
        ["top1:50%:60%:70%"],
        "a numeric column beside 'arch', but 'top1' holds '50%' (a percent sign; ",
    ),
    "decimal commas alone": (["a:x:y:z", "top1:50,5:60:7,5"], "the column 'top1' of"),
    "all decimal commas": (["top1:50,5:60,5:7,5"], "'top1' holds '50,5' (a decimal comma; write 50.5) in line 2."),
    "words alone": (["note:a:b:c"], "a numeric column beside 'arch', but got text columns: ['note']."),
    "no column": ([":1:2:3"], "has no name"),
    "a percent among numbers": (
        ["top1:50:60%:70"],
        "to hold finite numbers, but got '60%' (a percent sign; write 60) in line 3",
    ),
    "a word among numbers": (["ok:1:2:3", "top1:50:60:high"], "the column 'top1' of"),
    "infinite": (["top1:50:inf:70"], "to hold finite numbers, but got 'inf' in line 3."),
    "too large": (["top1:50:1e39:70"], "to hold finite numbers, but got '1e39' in line 3."),
    "index alone": (["index:1:2:3"], "a numeric column beside 'arch', but got no other column."),
}


def test_columns_that_are_no_numbers_are_named(tmp_path_factory: pytest.TempPathFactory) -> None:
    def check(case: str) -> None:
        tmp_path = tmp_path_factory.mktemp("row")
        columns, says = WRONG[case]
        with pytest.raises(ValueError, match=r"^Expected [^\n]*\.$") as caught:
            Table.read(csv(tmp_path / "t.csv", *columns))
        assert says in str(caught.value)

    check_each(WRONG, check)


def test_semicolons_gaps_and_words_are_read(tmp_path: Path) -> None:
    table = Table.read(csv(tmp_path / "t.csv", "top1:50: n/a :70", "note:a:b:c", "empty:::", "val:1:2:?"))
    assert list(table.columns) == ["top1", "val"]
    np.testing.assert_array_equal(table.columns["top1"], np.float32([50, np.nan, 70]))
    np.testing.assert_array_equal(table.columns["val"], np.float32([1, 2, np.nan]))


def test_long_rows_are_refused(tmp_path: Path) -> None:
    """With decimal commas each row has more fields than the line of names, and its numbers would be others."""
    rows = "".join(f"{decode(row, NASBench201).to_nasbench201()},60,00,50,00\n" for row in range(2))
    (tmp_path / "t.csv").write_text(f"arch,test,valid\n{rows}", encoding="utf-8")
    with pytest.raises(ValueError, match=r"3 fields in line 2, .* but got 5: .*; a number with a decimal comma"):
        Table.read(tmp_path / "t.csv")


def test_a_column_twice_in_a_parquet_file_is_refused(tmp_path: Path) -> None:
    arrays = [pa.array([ALL_SKIP]), pa.array([1.0]), pa.array([2.0])]
    pq.write_table(pa.Table.from_arrays(arrays, names=["arch", "top1", "top1"]), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=r"t\.parquet to name each column once, but got 'top1' twice\.$"):
        Table.read(tmp_path / "t.parquet")


def test_a_written_table_holds_no_formula(tmp_path: Path) -> None:
    table = made([3, 9], **{"=top1": [-1.5, 2.0]})
    table.write(tmp_path / "t.csv")
    header, row, *_ = (tmp_path / "t.csv").read_text(encoding="utf-8").splitlines()
    assert header == "arch,'=top1"
    assert row.endswith(",-1.5")


def test_an_architecture_is_read_in_every_form(tmp_path_factory: pytest.TempPathFactory) -> None:
    def check(form: str) -> None:
        tmp_path = tmp_path_factory.mktemp("row")
        genotype = decode(12345, S2)
        fields = ", ".join(f"{name}={value}" for name, value in listing(genotype).items())
        text = {"quark0": f"Genotype({fields})", "json": genotype.to_json(), "line": str(genotype)}[form]
        (tmp_path / "t.csv").write_text(f'arch\ttop1\n"{text.replace(chr(34), chr(34) * 2)}"\t50\n', encoding="utf-8")
        assert Table.read(tmp_path / "t.csv", "S2").accuracy(genotype, "top1") == 50.0

    check_each(["quark0", "json", "line"], check)
