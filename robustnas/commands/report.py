"""``robustnas report``: what happened in a search, or in several, as one HTML file."""

from __future__ import annotations

from pathlib import Path

from robustnas.options import Parser
from robustnas.record import write_text
from robustnas.report import report


def main(arguments: list[str]) -> None:
    """Write a report.

    Args:
        arguments: ``report`` and its options.

    Raises:
        ValueError: If a folder is no run, or the file is to be no HTML.
    """
    parser = Parser(
        prog="robustnas report",
        description="Write one HTML file about searches, finished or running: verdict, curves, α, genotypes, spectrum, "
        "gap, data and commands. It needs no server and no network, and reads well on a phone and in print.",
        allow_abbrev=False,
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", help="folder of a search; several are compared")
    parser.add_argument(
        "-o", "--out", default="report.html", metavar="FILE", help="file to write (default: %(default)s)"
    )
    parser.add_argument("--space", help="search space, by name or import path (default: the one that a run names)")
    options = parser.parse_args(arguments[1:])
    out = Path(options.out)
    if out.suffix not in (".html", ".htm") or out.is_dir():
        raise ValueError(f"Expected --out to be a file ending in .html, but got {options.out!r}.")
    write_text(out, report(options.runs, options.space))
    print(out)
