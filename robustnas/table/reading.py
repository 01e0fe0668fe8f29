"""Tables of architectures as they lie on disk: CSV files, also gzipped, and Parquet files."""

from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from robustnas.paths import expand
from robustnas.spaces import Genotype, SearchSpace, find_space

Column = npt.NDArray[np.float32]


def read_columns(path: str | Path, architecture: str = "arch") -> tuple[list[str], dict[str, Column]]:
    """Architectures of a table, as they are written, and its columns of numbers.

    Args:
        path: A CSV file with a line of names, gzipped if its name ends in ``.gz``, or a Parquet file (``.parquet``).
        architecture: Column of architectures; rows without one are left out.

    Returns:
        The architectures, and by name every other column in which there is a number; NaN where it has none.

    Raises:
        ValueError: If the file cannot be read, or has no such column.
    """
    path = expand(path, "table")
    try:
        columns = _parquet(path) if path.suffix == ".parquet" else _csv(path)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, ValueError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ValueError(f"Expected `table` to be a CSV or Parquet file, but reading {path} fails: {reason}") from error
    texts = [str(text or "").strip() for text in column_of(columns, architecture, path)]
    rows = [row for row, text in enumerate(texts) if text]
    numbers = {name: _numbers(values)[rows] for name, values in columns.items() if name not in (architecture, "index")}
    return [texts[row] for row in rows], {name: each for name, each in numbers.items() if np.isfinite(each).any()}


def column_of(columns: Mapping[str, Any], name: str, source: object) -> Any:
    """A column of a table.

    Args:
        columns: All of them by name.
        name: Which one.
        source: Where they come from, for the error.

    Returns:
        The column.

    Raises:
        ValueError: If there is none of that name.
    """
    if name not in columns:
        raise ValueError(f"Expected {source} to have the column {name!r}, but got {list(columns)}.")
    return columns[name]


def parse(text: str, space: SearchSpace | None = None) -> Genotype:
    """An architecture of a table.

    Args:
        text: A string of NAS-Bench-201, the one line that a genotype prints, or its JSON.
        space: The space it must be of; by default the one it names, NAS-Bench-201 for such a string.

    Returns:
        The genotype.

    Raises:
        ValueError: If it is none of the space.
    """
    text = text.strip()
    if text.startswith("|"):
        genotype = Genotype.from_nasbench201(text, space.name if space else "NASBench201")
    else:
        genotype = (Genotype.from_json if text.startswith("{") else Genotype.from_text)(text)
    return genotype.validate(space or find_space(genotype.space))


def _csv(path: Path) -> dict[str, list[Any]]:
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        rows = csv.DictReader(file)
        columns: dict[str, list[Any]] = {name: [] for name in rows.fieldnames or []}
        for row in rows:
            for name, values in columns.items():
                values.append(row[name])
    return columns


def _parquet(path: Path) -> dict[str, list[Any]]:
    import pyarrow.parquet as pq

    with path.open("rb") as file:  # what is missing is told apart from what is damaged
        return dict(pq.read_table(file).to_pydict())


def _numbers(values: Iterable[Any]) -> Column:
    return np.array([_number(value) for value in values], dtype=np.float32)


def _number(value: Any) -> float:
    try:
        return float("nan" if value is None or value == "" else value)
    except (TypeError, ValueError):
        return math.nan
