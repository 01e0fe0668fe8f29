"""Tables as CSV text: the one reader and the one writer."""

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
FORMULA = ("=", "+", "-", "@", "\t", "\n")  # how a cell begins that a spreadsheet evaluates


@dataclass(frozen=True)
class CsvRow:
    """A row of a CSV file.

    Args:
        line: Line of the file on which it begins, from 1.
        cells: One text for each column.
    """

    line: int
    cells: list[str]


@dataclass(frozen=True)
class CsvTable:
    """What a CSV file holds.

    Args:
        source: Where it comes from, for errors.
        names: Names of the columns, distinct and not empty; none if the file is empty.
        rows: Rows that hold something, each with one text for each column.
    """

    source: str
    names: list[str]
    rows: list[CsvRow]

    def records(self) -> list[dict[str, str]]:
        """Each row as texts by name of the column."""
        return [dict(zip(self.names, row.cells, strict=True)) for row in self.rows]

    def where(self, row: CsvRow, column: str | None = None) -> str:
        """A row or a cell, for a message."""
        named = "" if column is None else f"column {column!r}, "
        return f"{named}line {row.line} of {self.source}"


def is_csv(path: str | Path) -> bool:
    """Whether a file is a CSV file by its name, gzipped or not."""
    return Path(path).name.lower().endswith(ENDINGS)


def read_csv(path: str | Path) -> CsvTable:
    """Read a CSV file, gzipped or not: UTF-8, a line of names, then one row for each line of the same length.

    A byte order mark is dropped, and line ends may be those of any system. Where the line of names has no comma,
    semicolons or tabs separate. Lines without any content are skipped.

    Args:
        path: The file.

    Returns:
        Its names and rows.

    Raises:
        ValueError: If it cannot be read, a name is empty or there twice, or a row is longer or shorter than the names.
    """
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
            hint = "; a decimal comma separates too, unless quoted" if count > len(names) else ""
            raise ValueError(
                f"Expected {source} to have {len(names)} fields in line {row.line}, as in its line of names, but got "
                f"{count}: {_shown(row.cells)}{hint}."
            )
    return CsvTable(source, names, rows[1:])


def number(text: str, where: str) -> float:
    """The number in a cell.

    Args:
        text: The cell.
        where: Where it is, for the error.

    Returns:
        The number, which may be NaN or infinite where the cell says so.

    Raises:
        ValueError: If it is none, with the reason where it is a decimal comma or a percent sign.
    """
    try:
        if "_" not in text:
            return float(text)
    except ValueError:
        pass
    raise ValueError(f"Expected a number, but got {text!r}{number_hint(text)} in {where}.")


def number_hint(text: str) -> str:
    """What keeps a text from being a number and how to write it, in parentheses; empty where that is not known."""
    bare = text.strip().removesuffix("%").strip()
    plain = bare.replace(",", ".") if bare.count(",") == 1 and "." not in bare else bare
    faults = [name for name, found in (("a decimal comma", plain != bare), ("a percent sign", "%" in text)) if found]
    try:
        float(plain)
    except ValueError:
        return ""
    return f" ({' and '.join(faults)}; write {plain})" if faults else ""


def csv_text(rows: Iterable[Mapping[str, Any]], names: Sequence[str] | None = None) -> str:
    """Rows as CSV text that is safe to open in a spreadsheet.

    A text that a spreadsheet would evaluate, such as ``=1+1``, gets an apostrophe in front. Numbers stay as they are.

    Args:
        rows: Rows; what one lacks is left empty.
        names: Names of the columns; by default those of all rows, in order of appearance.

    Returns:
        A line of names and a line for each row.
    """
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
    first = next((line for line in text.splitlines() if line.strip()), "")
    return next((mark for mark in (",", ";", "\t") if mark in first), ",")


def _check_names(names: Sequence[str], source: str) -> None:
    if "" in names:
        place = names.index("") + 1
        hint = "; pandas leaves out such a column with `index=False`" if place == 1 else ""
        raise ValueError(
            f"Expected {source} to name every column, but column {place} of {len(names)} has no name{hint}."
        )
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise ValueError(f"Expected {source} to name each column once, but got {twice[0]!r} again.")


def _shown(cells: Sequence[str]) -> str:
    text = str(cells)
    return text if len(text) <= 120 else f"{text[:117]}..."
