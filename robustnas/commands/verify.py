"""``robustnas verify``: check that a search with given options computes what it should, in a table."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from robustnas.cli.errors import Parser
from robustnas.runs.record import environment, write_json
from robustnas.verification.checks import CHECKS, run_checks
from robustnas.verification.finding import Outcome
from robustnas.verification.subject import describe

SHOWN = {"passed": ("passed", "green"), "failed": ("FAILED", "bold red"), "not applicable": ("n/a", "dim")}


def parser() -> Parser:
    """The options of ``robustnas verify``."""
    parser = Parser(
        prog="robustnas verify",
        description="Check a search with its own parts, space, data and device: which step updates which parameters, "
        "the gradient of α against automatic differentiation and finite differences, bundles against single edges, "
        "data roles, resume, diagnostics, and two processes. Where a check would take longer than a minute, it uses a "
        "smaller network and less data; the table says where. No files remain. The exit status is 1 if a check failed.",
        epilog="Further options are -c CONFIG and those of `robustnas fit`, such as --model.gradient Unrolled.",
    )
    listing = ", ".join(CHECKS)
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help=f"run this check only; may be repeated: {listing}"
    )
    parser.add_path("--json", metavar="FILE", help="also write the results as JSON")
    return parser


def main(arguments: list[str]) -> int:
    """Check a search and print the table; 0 if every check passed or did not apply, 1 if one failed."""
    options, rest = parser().parse_known_args(arguments[1:])
    unknown = [name for name in options.only if name not in CHECKS]
    if unknown:
        raise ValueError(f"Expected `--only` to be one of {', '.join(CHECKS)}, but got {unknown[0]!r}.")
    if options.json is not None and not Path(options.json).absolute().parent.is_dir():
        raise ValueError(f"Expected `--json` to be a file in a folder that exists, but got {options.json}.")
    start, console = time.perf_counter(), Console()
    names = [name for name in CHECKS if not options.only or name in options.only]
    with tempfile.TemporaryDirectory(prefix="robustnas-verify-") as folder:
        subject = describe(rest, Path(folder))
        size = f"{type(subject.search).__name__} at {subject.size}"
        outcomes = list(_with_status(run_checks(subject, names), names, console))
    seconds = time.perf_counter() - start
    console.print(_table(outcomes, size))
    failed = [outcome.name for outcome in outcomes if outcome.status == "failed"]
    counts = {status: sum(outcome.status == status for outcome in outcomes) for status in SHOWN}
    if failed:
        print(f"{len(failed)} of {len(outcomes)} checks failed, in {seconds:.0f} s: {', '.join(failed)}.")
    else:
        idle = f", {counts['not applicable']} did not apply" if counts["not applicable"] else ""
        print(f"{counts['passed']} checks passed{idle}, none failed, in {seconds:.0f} s.")
    if options.json is not None:
        found = {"passed": not failed, "seconds": round(seconds, 2), "checks": [one.to_json() for one in outcomes]}
        write_json(options.json, {**found, **environment()})
    return 1 if failed else 0


def _with_status(outcomes: Iterator[Outcome], names: Sequence[str], console: Console) -> Iterator[Outcome]:
    """Pass outcomes on, and show in a terminal which check is running."""
    with console.status("") as status:
        for name in names:
            status.update(f"{name} ...")
            yield next(outcomes)


def _table(outcomes: Sequence[Outcome], size: str) -> Table:
    table = Table(title=f"Verification of {size}", title_justify="left", box=box.HORIZONTALS, show_lines=True)
    table.add_column("check", no_wrap=True)
    table.add_column("what was compared", ratio=4)
    table.add_column("found (allowed)", ratio=5)
    table.add_column("result", no_wrap=True)
    table.add_column("s", justify="right", no_wrap=True)
    for outcome in outcomes:
        compared, figures = (outcome.finding.compared, outcome.finding.figures) if outcome.finding else ("", {})
        found = [f"{name}: {one.value:.2g} ({one.allowed:g})" for name, one in figures.items()]
        said = "\n".join([*found, *([outcome.says] if outcome.says else [])])
        result = Text(SHOWN[outcome.status][0], SHOWN[outcome.status][1])
        table.add_row(outcome.name, Text(compared), Text(said), result, f"{outcome.seconds:.1f}")
    return table
