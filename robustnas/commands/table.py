"""``robustnas table``: convert the files of a tabular benchmark to a table, and query it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table as Lines

from robustnas.cli.errors import Parser
from robustnas.runs.record import read_genotype
from robustnas.runtime.csv_files import is_csv
from robustnas.spaces import Genotype
from robustnas.tabular import Table
from robustnas.tabular.benchmarks import convert

EPILOG = """examples:
  robustnas table convert NATS-tss-v1_0-3ffb9-simple --out nas_bench_201.parquet
  robustnas table show nas_bench_201.parquet runs/darts-parquetimages-001
  robustnas fit -c configs/cifar10_nasbench201_darts.yaml --diagnostics.table nas_bench_201.parquet

Nothing in the files of a benchmark is executed. A benchmark in a single file is loaded into memory as a
whole, as its own code does; a benchmark in a folder needs little memory.
"""


def parser() -> Parser:
    """The options of ``robustnas table``."""
    parser = Parser(
        prog="robustnas table",
        description="Tables with the accuracies of architectures that were each trained from scratch.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="convert|show")
    made = actions.add_parser("convert", help="convert a benchmark, or another table, to a table")
    made.add_argument(
        "file",
        metavar="FILE",
        help="NAS-Bench-201's .pth file, NATS-Bench's .pickle.pbz2 file or -simple folder, or a CSV",
    )
    made.add_path("--out", required=True, help="file of the table: .parquet, .csv or .csv.gz")
    shown = actions.add_parser("show", help="print what a table holds on one genotype, or on all")
    shown.add_argument("file", metavar="TABLE", help="file of the table: .parquet, .csv or .csv.gz")
    shown.add_argument("genotype", nargs="?", metavar="GENOTYPE", help="a genotype, its file, or the folder of a run")
    for action in (made, shown):
        action.add_argument("--arch", default="arch", metavar="COLUMN", help="column of architectures (default: arch)")
    return parser


def main(arguments: list[str]) -> None:
    """Convert a benchmark to a table, or query a table."""
    options = parser().parse_args(arguments[1:])
    if options.action == "convert":
        _convert(Path(options.file), Path(options.out), options.arch)
    else:
        table = Table.read(options.file, architecture=options.arch)
        _show(table, None if options.genotype is None else read_genotype(options.genotype, table.space))


def _convert(path: Path, out: Path, architecture: str) -> None:
    if not out.name.endswith((".parquet", ".csv", ".csv.gz")):
        raise ValueError(f"Expected `--out` to end in .parquet, .csv or .csv.gz, but got {out}.")
    tabular = path.suffix == ".parquet" or is_csv(path)
    table = Table.read(path, architecture=architecture) if tabular else convert(path, _advance)
    table.write(out)
    _show(table, None)
    print(f"Table: {out}")


def _advance(done: int, count: int) -> None:
    if sys.stderr.isatty() and (done % 100 == 0 or done == count):
        print(f"\r{done:,} of {count:,} architectures", end="\n" if done == count else "", file=sys.stderr, flush=True)


def _show(table: Table, genotype: Genotype | None) -> None:
    shown = Lines(title=f"{len(table):,} architectures of {table.space.name}", title_justify="left")
    shown.add_column("column")
    own = () if genotype is None else ("accuracy", "regret", "rank")
    for name in (*own, "best", "mean"):
        shown.add_column(name, justify="right")
    for column in table.columns:
        figures = [] if genotype is None else _of(table, genotype, column)
        shown.add_row(column, *figures, f"{table.best(column).accuracy:.2f}", f"{table.mean(column):.2f}")
    Console().print(shown)


def _of(table: Table, genotype: Genotype, column: str) -> list[str]:
    rank, figures = table.rank(genotype, column), (table.accuracy(genotype, column), table.regret(genotype, column))
    return [*(f"{one:.2f}" for one in figures), f"{rank.place:,} of {rank.of:,}"]
