"""``robustnas report``: what happened in a search, in several, or in a study, as one HTML file."""

from __future__ import annotations

from pathlib import Path

from robustnas.cli.errors import Parser
from robustnas.reports import report
from robustnas.runs.record import write_text


def parser() -> Parser:
    """The options of ``robustnas report``."""
    parser = Parser(
        prog="robustnas report",
        description="Write one HTML file about one or several searches, finished or running: verdict, curves, α, "
        "genotypes, Hessian spectrum, discretisation gap, data and commands. For a study: leaderboards with intervals, "
        "significance tests, ranks, effects of factors, cost and a checklist, and tables for a paper in other files. "
        "The file needs no server and no network.",
    )
    parser.add_path(
        "runs", metavar="RUN", nargs="+", help="folder of a search or of a study; several searches are compared"
    )
    out = "file to write (default: report.html in this folder, or in that of a study)"
    parser.add_path("-o", "--out", metavar="FILE", help=out)
    parser.add_argument("--space", help="search space, by name or import path (default: the one that the run names)")
    return parser


def main(arguments: list[str]) -> None:
    """Write a report of searches, or of each study, and for several the calibration of indicators over all of them."""
    options = parser().parse_args(arguments[1:])
    studies = [folder for folder in options.runs if (Path(folder) / "study.json").is_file()]
    if studies and len(studies) < len(options.runs):
        other = next(folder for folder in options.runs if folder not in studies)
        raise ValueError(
            f"Expected RUN to name searches only, or studies only, but got the study {studies[0]} and {other}."
        )
    if len(studies) > 1 and options.out is not None:
        raise ValueError(f"Expected no --out with {len(studies)} studies, but got {options.out!r}.")
    out = Path(options.out or "report.html")
    if out.suffix not in (".html", ".htm") or out.is_dir():
        raise ValueError(f"Expected --out to be a file ending in .html, but got {options.out!r}.")
    if not studies:
        write_text(out, report(options.runs, options.space))
        print(out)
        return
    from robustnas.reports.study import write_pooled, write_report  # imports scipy

    for folder in studies:
        print(write_report(folder, options.out))
    if len(studies) > 1:
        write_pooled(studies, Path("calibration.csv"))
        print("calibration.csv")
