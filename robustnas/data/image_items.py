"""Images of files, folders and parquet files, one by one, with their classes where these are known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from robustnas.data.listing import SUFFIXES, Listing
from robustnas.data.parquet import batches_of, class_names_of, columns_of
from robustnas.data.table import encoded_cell
from robustnas.data.targets import encode_targets
from robustnas.data.wording import listed

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMN = "label"


class Item(NamedTuple):
    """An image: its name in tables, its bytes or file, or ``None`` and what was found instead; and its class."""

    name: str
    content: bytes | Path | None
    found: str = ""
    target: int | None = None


@dataclass(frozen=True)
class ImageItems:
    """Images that are read when they are asked for, in the order of ``paths``.

    Images of a folder whose subfolders are all named like classes are of these classes; rows of a parquet file of those
    in its column of labels.

    Args:
        paths: Image files, parquet files, and folders, which are searched at any depth.
        classes: Names of the classes; none where classes mean nothing.
        image_column: Column of the images in parquet files; by default ``img`` or ``image``.
        label_column: Column of the classes in parquet files, where they have one of this name; ``None`` reads none.

    Raises:
        ValueError: If a path does not exist or holds no image, a parquet file lacks the columns, or its labels are not
            classes.
    """

    paths: Sequence[Path]
    classes: tuple[str, ...] = ()
    image_column: str | None = None
    label_column: str | None = LABEL_COLUMN

    def __post_init__(self) -> None:
        if not self.paths:
            raise ValueError("Expected at least one file or folder of images, but got none.")
        parts: list[_Files | _Table] = []
        for path in self.paths:
            parts += self._parts(path)
        object.__setattr__(self, "_found", parts)

    def __len__(self) -> int:
        return sum(len(part) for part in self._all)

    def __iter__(self) -> Iterator[Item]:
        for part in self._all:
            yield from part

    @property
    def _all(self) -> list[_Files | _Table]:
        found: list[_Files | _Table] = self.__dict__["_found"]
        return found

    def _parts(self, path: Path) -> list[_Files | _Table]:
        if path.is_dir():
            files = Listing().images(path, path)
            tables = sorted(file for file in path.rglob("*.parquet") if not file.name.startswith("."))
            if not (files or tables):
                raise ValueError(f"Expected {path} to hold images, but got a folder without any.")
            targets = _classes_of(files, path, self.classes)
            return [*([_Files(files, targets)] if files else []), *map(self._table, tables)]
        if not path.is_file():
            raise ValueError(f"Expected a file or a folder of images, but there is no {path}.")
        if path.suffix.lower() == ".parquet":
            return [self._table(path)]
        if path.suffix.lower() not in SUFFIXES:
            raise ValueError(
                f"Expected a parquet file, or an image that ends in one of {', '.join(sorted(SUFFIXES))}, but got "
                f"{path}."
            )
        return [_Files([path], [None])]

    def _table(self, file: Path) -> _Table:
        columns = columns_of(file)
        image = self.image_column or next((name for name in IMAGE_COLUMNS if name in columns), None)
        if image is None or image not in columns:
            wanted = self.image_column or " or ".join(IMAGE_COLUMNS)
            raise ValueError(f"Expected {file} to have the column {wanted} of images, but its columns are {columns}.")
        if not self.classes or self.label_column is None or self.label_column not in columns:
            rows = sum(len(batch[image]) for batch in batches_of(file, [image]))
            return _Table(file, image, [None] * rows)
        values = [one for batch in batches_of(file, [self.label_column]) for one in batch[self.label_column]]
        if all(value in (None, -1) for value in values):  # as published test parts without labels have it
            return _Table(file, image, [None] * len(values))
        numbered = all(name.isdecimal() for name in self.classes)  # then a number is a name, else an index
        names = class_names_of(file, self.label_column) or (None if numbered else self.classes)
        labels = {self.label_column: values}
        try:
            encoded = encode_targets(labels, "classification", repr(str(file)), names, self.classes)
        except ValueError as error:
            raise ValueError(f"{error} `label_column` none leaves labels out.") from error
        return _Table(file, image, encoded.values.tolist())


def _classes_of(files: list[Path], folder: Path, classes: tuple[str, ...]) -> list[int | None]:
    """Class of each file by the subfolder of ``folder`` that it lies in; none if one lies in no class."""
    names = [file.relative_to(folder).parts[0] if file.parent != folder else "" for file in files]
    if not set(names) <= set(classes):
        return [None] * len(files)
    return [classes.index(name) for name in names]


@dataclass(frozen=True)
class _Files:
    """Image files and their classes."""

    files: list[Path]
    targets: Sequence[int | None]

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[Item]:
        for file, target in zip(self.files, self.targets, strict=True):
            yield Item(str(file), file, "", target)


@dataclass(frozen=True)
class _Table:
    """Rows of a parquet file and their classes."""

    file: Path
    column: str
    targets: Sequence[int | None]

    def __len__(self) -> int:
        return len(self.targets)

    def __iter__(self) -> Iterator[Item]:
        cells = (cell for batch in batches_of(self.file, [self.column], 64) for cell in batch[self.column])
        for row, (cell, target) in enumerate(zip(cells, self.targets, strict=True)):
            _, content, found = encoded_cell(cell, "", self.file.parent)
            yield Item(f"{self.file}#{row}", content, found, target)


def unreadable(skipped: Sequence[tuple[str, str]]) -> str:
    """Images that were left out, with the reasons, in one sentence."""
    return f"{len(skipped)} left out: " + listed([f"{name} ({reason})" for name, reason in skipped], "; ")
