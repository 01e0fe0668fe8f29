"""A table of the accuracies of a space's architectures, each trained from scratch."""

from __future__ import annotations

import functools
import gzip
import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from robustnas.runs.record import write_bytes
from robustnas.runtime.csv_files import csv_text
from robustnas.runtime.paths import expand
from robustnas.spaces import Genotype, NASBench201, SearchSpace, decode, encode, find_space
from robustnas.tabular import embedded
from robustnas.tabular.reading import Column, column_of, parse, read_columns

INDEX = np.int64


class Entry(NamedTuple):
    """An architecture and its accuracy."""

    genotype: Genotype
    accuracy: float


class Rank(NamedTuple):
    """The rank of an architecture ``of`` so many: 1 for the best; equal accuracies share a place."""

    place: int
    of: int


@dataclass(frozen=True, eq=False)
class Table:
    """Architectures of a space with their accuracies, such as those of NAS-Bench-201 (arXiv:2001.00326).

    An architecture is stored as its number (:func:`~robustnas.spaces.encode`) and looked up by binary search: the
    15,625 of NAS-Bench-201 with nine columns take 0.7 MB. Architectures that compute the same function have separate
    entries, as in the benchmark. Accuracies are in single precision.

    Raises:
        ValueError: If numbers do not ascend, or a column has another length.
    """

    space: SearchSpace  #: the search space
    numbers: npt.NDArray[np.int64]  #: number of each architecture, ascending, ``[architectures]``
    columns: Mapping[str, Column]  #: accuracies by name, each ``[architectures]``, NaN where missing; higher is better
    source: str = "the table"  #: name of the origin, for errors

    def __post_init__(self) -> None:
        if not (np.diff(self.numbers) > 0).all():
            raise ValueError(f"Expected `numbers` of {self.source} to be in ascending order, but they are not.")
        if wrong := [name for name, column in self.columns.items() if len(column) != len(self.numbers)]:
            raise ValueError(f"Expected columns of {len(self.numbers)} numbers, but {wrong[0]!r} has another length.")

    @classmethod
    def of(cls, genotypes: list[Genotype], columns: Mapping[str, Column], source: str, space: SearchSpace) -> Table:
        """A table of distinct architectures of a space in any order, with accuracies; errors name ``source``."""
        if not genotypes:
            raise ValueError(f"Expected {source} to hold architectures, but got none.")
        numbers = [encode(genotype, space) for genotype in genotypes]
        if max(numbers) > np.iinfo(INDEX).max:
            raise ValueError(f"Expected `space` to have fewer than 2^63 genotypes, but got {space.name}.")
        held, first, times = np.unique(np.array(numbers, INDEX), return_index=True, return_counts=True)
        if len(held) < len(numbers):
            twice = genotypes[int(first[times.argmax()])]
            raise ValueError(f"Expected {source} to name each architecture once, but got this one twice: {twice}")
        ordered = {name: np.asarray(column, np.float32)[first] for name, column in columns.items()}
        return cls(space, held, ordered, source)

    @classmethod
    def read(cls, path: str | Path, space: SearchSpace | str | None = None, architecture: str = "arch") -> Table:
        """Return the table in a file.

        Args:
            path: A CSV file with a header, gzipped if its name ends in ``.gz``, or a Parquet file. Each row has an
                architecture, as a string of NAS-Bench-201, as the line that a genotype prints, or as JSON. ``digits``
                is the table that comes with the package (:mod:`robustnas.tabular.embedded`); it needs no file.
            space: The search space; by default the one that the first architecture names.
            architecture: Column of architectures. All other numeric columns except ``index`` are accuracies.

        Raises:
            ValueError: If the file cannot be read, or does not hold architectures of one space.
        """
        if str(path) == embedded.NAME:
            return cls._embedded(space)
        texts, columns = read_columns(path, architecture)
        wanted = None if space is None else find_space(space)
        genotypes = []
        for text in texts:
            try:
                genotypes.append(parse(text, wanted))
            except ValueError as error:
                name = wanted.name if wanted else "a space"
                raise ValueError(
                    f"Expected {path} to hold architectures of {name}, but got {text!r}: {error}"
                ) from error
            wanted = wanted or find_space(genotypes[0].space)
        return cls.of(genotypes, columns, str(path), wanted or find_space("NASBench201"))

    @classmethod
    def _embedded(cls, space: SearchSpace | str | None) -> Table:
        if space is not None and (wanted := find_space(space)) != NASBench201:
            raise ValueError(
                f"Expected the table {embedded.NAME!r} to hold architectures of {wanted.name}, but it holds those of "
                f"{NASBench201.name}."
            )
        numbers, columns = embedded.read_embedded()
        return cls(NASBench201, numbers, columns, f"the table {embedded.NAME!r}")

    @classmethod
    def read_cached(cls, path: str | Path, architecture: str = "arch") -> Table:
        """Like :meth:`read`, but cached in the process while the file does not change, and shared between callers."""
        if str(path) == embedded.NAME:
            return _cached(embedded.NAME, architecture, 0)
        path = expand(path, "table")
        try:
            changed = path.stat().st_mtime_ns
        except OSError:
            return cls.read(path, architecture=architecture)  # raises the error
        return _cached(str(path), architecture, changed)

    def within(self, space: SearchSpace) -> Table:
        """Return the architectures that a space shares with that of the table, as a table of it; itself for its own.

        Raises:
            ValueError: If they share none.
        """
        if space == self.space:
            return self
        rows: dict[int, int] = {}
        if space.skeleton == self.space.skeleton:
            for row, genotype in enumerate(self):
                with suppress(ValueError):  # not of the space
                    rows[encode(Genotype(space.name, genotype.cells), space)] = row
        if not rows:
            raise ValueError(
                f"Expected {self.source} to hold architectures of {space.name}, but got those of {self.space.name}."
            )
        numbers = sorted(rows)
        held = [rows[number] for number in numbers]
        columns = {name: column[held] for name, column in self.columns.items()}
        return Table(space, np.array(numbers, INDEX), columns, self.source)

    def write(self, path: str | Path) -> None:
        """Write a ``.parquet``, ``.csv`` or ``.csv.gz`` file for :meth:`read`, atomically; other names are refused."""
        path = Path(path)
        architectures = [g.to_nasbench201() if self.space.name == "NASBench201" else str(g) for g in self]
        if path.suffix == ".parquet":
            write_bytes(path, _as_parquet(architectures, self.columns))
        elif path.name.endswith((".csv", ".csv.gz")):
            data = _as_csv(architectures, self.columns)
            write_bytes(path, gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
        else:
            raise ValueError(f"Expected the file of a table to end in .parquet, .csv or .csv.gz, but got {path}.")

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[Genotype]:
        """Architectures in the order of their numbers."""
        return (decode(int(number), self.space) for number in self.numbers)

    def __contains__(self, genotype: object) -> bool:
        """Whether the architecture has an entry."""
        return isinstance(genotype, (Genotype, str)) and self._row(genotype) is not None

    @property
    def nbytes(self) -> int:
        """Size of numbers and columns in bytes."""
        return int(self.numbers.nbytes + sum(column.nbytes for column in self.columns.values()))

    @property
    def usual_column(self) -> str:
        """The only column, or else ``cifar10_test_200``, which the published tables have."""
        return next(iter(self.columns)) if len(self.columns) == 1 else "cifar10_test_200"

    def column(self, name: str) -> Column:
        """Accuracies by name of the column, in the order of :meth:`__iter__`, ``[architectures]``."""
        found: Column = column_of(self.columns, name, self.source)
        return found

    def accuracy(self, genotype: Genotype | str, column: str) -> float:
        """The accuracy of an architecture, or of its string, in a column; refused where the table has none."""
        values, row = self.column(column), self._row(genotype)
        if row is None or not np.isfinite(values[row]):
            raise ValueError(
                f"Expected {self.source} to hold {column!r} of every architecture, but it has none of {genotype}."
            )
        return float(values[row])

    def regret(self, genotype: Genotype | str, column: str) -> float:
        """Best accuracy of the table minus that of an architecture; see :meth:`accuracy`."""
        return self.best(column).accuracy - self.accuracy(genotype, column)

    def rank(self, genotype: Genotype | str, column: str) -> Rank:
        """The rank of an architecture among all; see :meth:`accuracy`."""
        accuracy, values = self.accuracy(genotype, column), self.column(column)
        return Rank(1 + int((values > np.float32(accuracy)).sum()), int(np.isfinite(values).sum()))

    def best(self, column: str) -> Entry:
        """The best architecture; among equals, the one with the smallest number."""
        values = self.column(column)
        row = int(np.nanargmax(values))
        return Entry(decode(int(self.numbers[row]), self.space), float(values[row]))

    def mean(self, column: str) -> float:
        """Mean accuracy of the table: the expectation for a random architecture."""
        return float(np.nanmean(self.column(column), dtype=np.float64))

    def evaluator(self, column: str) -> Callable[..., float]:
        """A function that replaces training for :mod:`~robustnas.studies.searchers`; it ignores the budget."""
        self.column(column)
        return lambda genotype, *ignored: self.accuracy(genotype, column)

    def _row(self, genotype: Genotype | str) -> int | None:
        number = encode(parse(genotype, self.space) if isinstance(genotype, str) else genotype, self.space)
        row = int(np.searchsorted(self.numbers, number)) if number <= np.iinfo(INDEX).max else len(self.numbers)
        return row if row < len(self.numbers) and self.numbers[row] == number else None


@functools.lru_cache(maxsize=4)
def _cached(path: str, architecture: str, changed: int) -> Table:
    return Table.read(path, architecture=architecture)


def _as_csv(architectures: list[str], columns: Mapping[str, Column]) -> bytes:
    names = ["arch", *columns]
    cells = ([None if np.isnan(value) else str(value) for value in column] for column in columns.values())
    rows = (dict(zip(names, row, strict=True)) for row in zip(architectures, *cells, strict=True))
    return csv_text(rows, names).encode()


def _as_parquet(architectures: list[str], columns: Mapping[str, Column]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = io.BytesIO()
    held = {name: pa.array(column, from_pandas=True) for name, column in columns.items()}
    pq.write_table(pa.table({"arch": architectures, **held}), file, compression="zstd")
    return file.getvalue()
