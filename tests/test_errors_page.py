"""The page of errors says what the tests of bad input hold; ``python tests/test_errors_page.py`` writes it anew."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import test_bad_environment
import test_bad_files
import test_bad_input
import test_bad_input_files

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "errors.md"
HEAD = """# Error messages

Each of these inputs is refused with one sentence before anything is trained. The table shows how the sentence begins;
the tests of bad input hold the same table. The exit status is 2 if options cannot be parsed, on the command line or in
a YAML file given with `-c`, and 1 otherwise.

"""


def rows() -> Iterator[tuple[str, str, str]]:
    """Kind of input, what is wrong with it, and how the sentence begins."""
    for table in (test_bad_input.ROWS, test_bad_input_files.ROWS):
        yield from (("options and data", case, row[1]) for case, row in table.items())
    for case, (_, says) in test_bad_files.CONFIGS.items():
        yield "configuration", case, f"Expected bad.yaml to {says}" if says.startswith("be ") else f"Expected {says}"
    yield from (("checkpoint", case, row[1]) for case, row in test_bad_files.CHECKPOINTS.items())
    yield from (("run folder", case, f"Expected {row[2]}") for case, row in test_bad_files.RUNS.items())
    yield from (("environment and trainer", case, row[2]) for case, row in test_bad_environment.ROWS.items())
    yield from (("other commands", case, row[1]) for case, row in test_bad_environment.COMMANDS.items())


def page() -> str:
    """The page, in Markdown."""
    lines = ["| input | what is wrong | message |", "|---|---|---|"]
    for kind, case, says in rows():
        lines.append(f"| {kind} | {case} | {says.replace('|', chr(92) + '|').strip()} ... |")
    return HEAD + "\n".join(lines) + "\n"


def test_the_page_is_that_of_the_tests() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()


def test_there_are_enough_of_each_kind() -> None:
    found = list(rows())
    assert len(found) >= 120
    assert len({(kind, case) for kind, case, _ in found}) == len(found)


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
