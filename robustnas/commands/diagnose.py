"""``robustnas diagnose``: is a search healthy, at risk, undecided or collapsed, did it learn, and why."""

from __future__ import annotations

import argparse
from pathlib import Path

from robustnas.analysis import History, judge
from robustnas.analysis.foreign import is_history, read_foreign
from robustnas.cli.errors import Parser

STATUS = {"healthy": 0, "at risk": 10, "undecided": 15, "collapsed": 20, "did not learn": 30}

EPILOG = """exit status:
  0 healthy, 10 at risk, 15 undecided, 20 collapsed, 30 did not learn;
  1 if there is nothing to judge, 2 after a wrong command line

histories of other tools, with --space:
  .npz  arrays KIND of shape [epochs, edges, operations], or epoch_0007/KIND of
        shape [edges, operations]; KIND is normal and reduce, or cell
  .pt   the same as tensors in dicts or lists, by torch.save
  .csv  columns epoch, kind, edge, operation, alpha; or epoch and a column for
        each number, such as normal/0-2/skip_connect
Rows that sum to 1 are read as architecture weights; to other rows, softmax is
applied. -inf is a weight of 0. Epochs may be counted from 0 or from 1.
"""


def parser() -> Parser:
    """The options of ``robustnas diagnose``."""
    parser = Parser(
        prog="robustnas diagnose",
        description="Judge whether a search is healthy, at risk, undecided or collapsed, or did\n"
        "not learn: since which epoch, by what evidence, which genotype to use and what\n"
        "to change. The search may still be running.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_path("run", metavar="RUN", help="folder of a search, or the α history of another tool")
    parser.add_argument("--space", help="search space, by name or import path (default: the one the run names)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def main(arguments: list[str]) -> int:
    """Judge a search; the exit status is that of its state."""
    options = parser().parse_args(arguments[1:])
    verdict = judge(_history(options.run, options.space))
    print(verdict.to_json() if options.json else verdict.text(), end="")
    return STATUS[verdict.state]


def _history(source: str, space: str | None) -> History:
    if not Path(source).is_file():
        return History.of_run(source, space)
    if space is None and is_history(source):
        raise ValueError(
            f"Expected `--space` to be given with the α history of another tool, such as `--space S1` for {source}."
        )
    return read_foreign(source, space or "DARTS")
