"""Read tables of architectures from CSV files, optionally gzipped, and Parquet files."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from robustnas.runtime.csv_files import number_hint, read_csv
from robustnas.runtime.paths import expand
from robustnas.spaces import Genotype, SearchSpace, find_space, parse_genotype

Column = npt.NDArray[np.float32]
Cells = list[tuple[str, Any]]  # position of a cell, for errors, and its value

MISSING = {"", "nan", "na", "n/a", "null", "none", "-", "--", "?"}


def read_columns(path: str | Path, architecture: str = "arch") -> tuple[list[str], dict[str, Column]]:
    """Return the architectures of a table as text, and its numeric columns by name, with NaN for missing values.

    Text columns are skipped. A column that mixes numbers and text, such as ``60.00%``, is refused.

    Args:
        path: A CSV file with a header, gzipped or not, or a Parquet file (``.parquet``).
        architecture: Column of architectures; rows without one are skipped.

    Raises:
        ValueError: If the file cannot be read, or has no such column, or no numeric column.
    """
    path = expand(path, "table")
    columns = _parquet(path) if path.suffix == ".parquet" else _csv(path)
    texts = [str(text or "").strip() for _, text in column_of(columns, architecture, path)]
    rows = [row for row, text in enumerate(texts) if text]
    others = {name: [cells[row] for row in rows] for name, cells in columns.items() if name != architecture}
    others.pop("index", None)
    numbers = {name: _numbers(name, cells, path) for name, cells in others.items()}
    found = {name: values for name, values in numbers.items() if np.isfinite(values).any()}
    if rows and not found:
        raise ValueError(_no_numbers(others, architecture, path))
    return [texts[row] for row in rows], found


def column_of(columns: Mapping[str, Any], name: str, source: object) -> Any:
    """The column ``name`` of a mapping; ``source`` names the table in the error."""
    if name not in columns:
        raise ValueError(f"Expected {source} to have the column {name!r}, but got {list(columns)}.")
    return columns[name]


def parse(text: str, space: SearchSpace | None = None) -> Genotype:
    """An architecture in any form that :func:`~robustnas.spaces.parse_genotype` reads; refused if not in its space."""
    genotype = parse_genotype(text, space)
    return genotype.validate(space or find_space(genotype.space))


def _csv(path: Path) -> dict[str, Cells]:
    table = read_csv(path)
    return {
        name: [(f"line {row.line}", row.cells[place]) for row in table.rows] for place, name in enumerate(table.names)
    }


def _parquet(path: Path) -> dict[str, Cells]:
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as file:  # distinguishes a missing file from a damaged one
            held = pq.ParquetFile(file)
            names = Counter(held.schema_arrow.names)
            table = None if max(names.values(), default=0) > 1 else held.read()
    except (OSError, ValueError) as error:  # the errors of pyarrow are subclasses
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ValueError(f"Expected {path} to be a Parquet file, but reading it fails: {reason}") from error
    if table is None:
        raise ValueError(f"Expected {path} to name each column once, but got {names.most_common(1)[0][0]!r} twice.")
    return {
        name: [(f"row {row}", value) for row, value in enumerate(values)] for name, values in table.to_pydict().items()
    }


def _numbers(name: str, cells: Cells, path: Path) -> Column:
    """The numbers of a column, NaN where missing; all NaN for a text column."""
    values = [_number(value) for _, value in cells]
    with np.errstate(over="ignore"):  # overflow is refused below
        column = np.array([math.nan if value is None else value for value in values], dtype=np.float32)
    if np.isfinite(column).any():
        wrong = np.isinf(column) | np.array([value is None for value in values])
        for where, cell in (cells[row] for row in np.flatnonzero(wrong)):
            raise ValueError(
                f"Expected the column {name!r} of {path} to hold finite numbers, but got {cell!r}"
                f"{number_hint(str(cell))} in {where}."
            )
    return column


def _number(value: Any) -> float | None:
    """A cell as a number: NaN if it is empty, ``None`` if it is not a number."""
    if value is None or (isinstance(value, str) and value.strip().lower() in MISSING):
        return math.nan
    try:
        return None if isinstance(value, str) and "_" in value else float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _no_numbers(columns: Mapping[str, Cells], architecture: str, path: Path) -> str:
    hinted = (
        f"{name!r} holds {cell!r}{hint} in {where}"
        for name, cells in columns.items()
        for where, cell in cells
        if (hint := number_hint(str(cell)))
    )
    got = next(hinted, None) or f"got {f'text columns: {list(columns)}' if columns else 'no other column'}"
    return f"Expected {path} to have a numeric column beside {architecture!r}, but {got}."
