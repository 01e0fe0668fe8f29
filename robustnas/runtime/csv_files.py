"""Reading and writing tables as CSV."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustnas.runtime.text_files import read_text

ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
FORMULA = ("=", "+", "-", "@", "\t", "\n")  # first characters of a cell that a spreadsheet evaluates


@dataclass(frozen=True)
class CsvRow:
    """A row of a CSV file: the line on which it begins, from 1, and one text for each column."""

    line: int
    cells: list[str]


@dataclass(frozen=True)
class CsvTable:
    """Content of a CSV file: its path for errors, the distinct column names, and the rows that hold something."""

    source: str
    names: list[str]
    rows: list[CsvRow]

    def records(self) -> list[dict[str, str]]:
        """The rows as dictionaries from column name to text."""
        return [dict(zip(self.names, row.cells, strict=True)) for row in self.rows]

    def where(self, row: CsvRow, column: str | None = None) -> str:
        """Describe the place of a row or a cell in a message."""
        named = "" if column is None else f"column {column!r}, "
        return f"{named}line {row.line} of {self.source}"


def is_csv(path: str | Path) -> bool:
    """Whether the name of a file is that of a CSV file, gzipped or not."""
    return Path(path).name.lower().endswith(ENDINGS)


def read_csv(path: str | Path) -> CsvTable:
    """Read a CSV file, gzipped or not, in UTF-8: a header, then rows of its length; empty lines are skipped."""
    text, source = read_text(path), str(path)
    try:
        rows = list(_rows(text))
    except csv.Error as error:
        raise ValueError(f"Expected {source} to be a CSV file, but reading it fails: {error}.") from error
    if not rows:
        return CsvTable(source, [], [])
    names = [name.strip() for name in rows[0].cells]
    _check_names(names, source)
    for row in rows[1:]:
        if (count := len(row.cells)) != len(names):
            hint = "; a number with a decimal comma must be quoted" if count > len(names) else ""
            cells = str(row.cells)
            shown = cells if len(cells) <= 120 else f"{cells[:117]}..."
            raise ValueError(
                f"Expected {source} to have {len(names)} fields in line {row.line}, as in its header, but got "
                f"{count}: {shown}{hint}."
            )
    return CsvTable(source, names, rows[1:])


def number(text: str, where: str) -> float:
    """Convert a cell to a number, which may be NaN or infinite; ``where`` names the cell in the ``ValueError``."""
    try:
        if "_" not in text:
            return float(text)
    except ValueError:
        pass
    raise ValueError(f"Expected a number, but got {text!r}{number_hint(text)} in {where}.")


def number_hint(text: str) -> str:
    """Explain in parentheses how to write a number that has a decimal comma or a percent sign; otherwise empty."""
    bare = text.strip().removesuffix("%").strip()
    plain = bare.replace(",", ".") if bare.count(",") == 1 and "." not in bare else bare
    faults = [name for name, found in (("a decimal comma", plain != bare), ("a percent sign", "%" in text)) if found]
    try:
        float(plain)
    except ValueError:
        return ""
    return f" ({' and '.join(faults)}; write {plain})" if faults else ""


def csv_text(rows: Iterable[Mapping[str, Any]], names: Sequence[str] | None = None) -> str:
    """Write rows as CSV; texts that a spreadsheet would evaluate, such as ``=1+1``, get an apostrophe in front."""
    rows = list(rows)
    names = list(dict.fromkeys(name for row in rows for name in row)) if names is None else names
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([_inert(name) for name in names])
    writer.writerows([_inert(row.get(name)) for name in names] for row in rows)
    return text.getvalue()


def _inert(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    text = str(value).replace("\r\n", "\n").replace("\r", "\n")  # the csv module does not quote a lone \r
    try:
        float(text)
    except ValueError:
        return f"'{text}" if text.startswith(FORMULA) else text
    return text


def _rows(text: str) -> Iterator[CsvRow]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    line = 1
    for cells in reader:
        if any(cell.strip() for cell in cells):
            yield CsvRow(line, cells)
        line = reader.line_num + 1


def _delimiter(text: str) -> str:
    # A header without a comma is separated by semicolons or tabs.
    first = next((line for line in text.splitlines() if line.strip()), "")
    return next((mark for mark in (",", ";", "\t") if mark in first), ",")


def _check_names(names: Sequence[str], source: str) -> None:
    if "" in names:
        place = names.index("") + 1
        hint = "; pandas does not write this column with `index=False`" if place == 1 else ""
        raise ValueError(
            f"Expected {source} to name every column, but column {place} of {len(names)} has no name{hint}."
        )
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise ValueError(f"Expected {source} to name each column once, but got {twice[0]!r} twice.")
