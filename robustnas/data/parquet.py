"""Images in parquet files, in the layout of the Hugging Face hub."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from robustnas.data import cache
from robustnas.data.decoding import Encoded, decode
from robustnas.data.images import Images
from robustnas.data.parts import part_of, with_validation
from robustnas.data.table import ImageTable, encoded_cell
from robustnas.data.targets import encode_targets
from robustnas.runtime.paths import expand


class ParquetImages(ImageTable):
    """Images in parquet files: a column of structs with the encoded ``bytes`` or a ``path``, and columns of targets.

    Class names are read from the Hugging Face metadata if the file has them. Decoded images are cached.

    Args:
        train: A parquet file, a folder whose ``*.parquet`` files are read in the order of their names, or a pattern
            such as ``data/train-*.parquet``.
        test: The same for the test part; with ``None``, ``test_fraction`` of ``train`` becomes the test part.
        image_column: Column of the images.
        val: The same for a validation part, which becomes the role selection.
        **shared: Arguments of :class:`~robustnas.data.table.ImageTable` and
            :class:`~robustnas.data.module.ImageData`; ``cache_dir`` is by default ``.robustnas`` beside the files.

    Raises:
        ValueError: If an option is impossible. Files are read when the data are first needed.
    """

    def __init__(
        self,
        train: str | Path,
        test: str | Path | None = None,
        image_column: str = "img",
        val: str | Path | None = None,
        **shared: Any,
    ) -> None:
        super().__init__(image_column=image_column, **shared)
        self.train_path = expand(train, "train")
        self.test_path = None if test is None else expand(test, "test")
        self.val_path = None if val is None else expand(val, "val")

    @property
    def source(self) -> str:
        """Kind and place of the data."""
        return f"{type(self).__name__}({self.train_path})"

    def load(self) -> tuple[Images, Images | None]:
        """The training part, joined with that of ``val`` if it is given, and the test part if ``test`` is given."""
        train, names = self._part("train", self.train_path, None, None)
        others = {
            name: None if path is None else self._part(name, path, names, train.classes)[0]
            for name, path in (("val", self.val_path), ("test", self.test_path))
        }
        return with_validation(train, others["val"]), others["test"]

    def _part(
        self, argument: str, path: Path, names: tuple[str, ...] | None, classes: tuple[str, ...] | None
    ) -> tuple[Images, tuple[str, ...] | None]:
        """The images of a part, and the names of its class indices if they are known."""
        files = _files(argument, path)
        described = _class_names(files, self.target_columns)
        names = described.names or names
        options = {
            "columns": [self.image_column, *self.target_columns],
            "limit": self.limit,
            "task": self.target_task,
            "names": names,
            "classes": classes,
            **asdict(self.decoding),
        }
        mark = cache.fingerprint([(file.name, file) for file in files], options)
        folder = self.cache_dir or files[0].parent / cache.FOLDER
        name = cache.cache_name(folder, path, self.limit, self.decoding.image_size, self.decoding.channels)
        images = cache.cached_images(folder, name, mark, partial(self._read, files, path, names, classes))
        ignored = {"ignored_names": described.ignored} if described.ignored else {}
        return replace(images, reading={**images.reading, **ignored}), names

    def _read(
        self, files: list[Path], path: Path, names: tuple[str, ...] | None, classes: tuple[str, ...] | None
    ) -> Images:
        images: list[Encoded] = []
        columns: dict[str, list[Any]] = {name: [] for name in self.target_columns}
        for file in files:
            left = None if self.limit is None else self.limit - len(images)
            rows = _read_rows(file, [self.image_column, *self.target_columns], left)
            cells = rows.pop(self.image_column)
            images += [encoded_cell(cell, f"row {i} of {str(file)!r}", file.parent) for i, cell in enumerate(cells)]
            for name in columns:
                columns[name] += rows[name]
        targets = encode_targets(columns, self.target_task, repr(str(path)), names, classes)
        return decode(images, targets, self.target_task, self.decoding)


class _Described(NamedTuple):
    """Class names in the metadata of files, and metadata that were ignored."""

    names: tuple[str, ...] | None = None
    ignored: str = ""


def _files(argument: str, path: Path) -> list[Path]:
    pattern = bool(re.search(r"[*?\[]", path.name)) and not path.exists()
    found: Iterable[Path] = [path]
    if path.is_dir() or pattern:
        found = path.glob("*.parquet") if path.is_dir() else path.parent.glob(path.name)
    files = sorted(file for file in found if file.is_file() and not file.name.startswith("."))
    if not files:
        raise ValueError(
            f"Expected `{argument}` to be a parquet file or a folder of them, but got {str(path)!r}"
            f"{', which holds none' if path.is_dir() or pattern else ''}."
        )
    parts = {part: file.name for file in files if (part := part_of(re.split(r"[-_.]", file.name)[0])) is not None}
    if len(parts) > 1:
        one, other = list(parts.values())[:2]
        raise ValueError(
            f"Expected `{argument}` to name the files of one part, but got {one!r} beside {other!r} in {str(path)!r}; "
            f"a pattern such as {str(path / 'train-*.parquet')!r} selects one part."
        )
    return files


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as table:
            yield table
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"Expected {str(file)!r} to be a readable parquet file, but got: {error}") from error


def _read_rows(file: Path, wanted: list[str], limit: int | None) -> dict[str, list[Any]]:
    """Columns of the first ``limit`` rows."""
    rows: dict[str, list[Any]] = {name: [] for name in wanted}
    taken = 0
    for batch in batches_of(file, wanted):
        part = batch if limit is None else {name: values[: limit - taken] for name, values in batch.items()}
        for name, values in rows.items():
            values += part[name]
        taken = len(rows[wanted[0]])
        if limit is not None and taken >= limit:
            break
    return rows


def batches_of(file: Path, wanted: list[str], size: int = 1024) -> Iterator[dict[str, list[Any]]]:
    """Columns of a parquet file, ``size`` rows at a time; a column that is missing or there twice is refused."""
    with _opened(file) as table:
        there = table.schema_arrow.names
        for name in wanted:
            if (count := there.count(name)) != 1:
                got = f"it has {count} of that name" if count else f"its columns are {there}"
                raise ValueError(f"Expected {str(file)!r} to have the column {name!r}, but {got}.")
        for batch in table.iter_batches(batch_size=size, columns=list(dict.fromkeys(wanted))):
            yield {name: batch.column(name).to_pylist() for name in wanted}


def columns_of(file: Path) -> list[str]:
    """Names of the columns of a parquet file."""
    with _opened(file) as table:
        return list(table.schema_arrow.names)


def class_names_of(file: Path, column: str) -> tuple[str, ...] | None:
    """Names of class indices in the Hugging Face metadata of a file, if it has some."""
    return _class_names([file], [column]).names


def _class_names(files: list[Path], targets: list[str]) -> _Described:
    """Class names in the Hugging Face metadata; files with different names are refused."""
    if len(targets) != 1:
        return _Described()
    found: dict[Path, _Described] = {}
    for file in files:
        with _opened(file) as table:
            described = _described((table.schema_arrow.metadata or {}).get(b"huggingface"), targets[0])
        if described != _Described():
            found[file] = described
    if len(set(found.values())) > 1:
        one, other = {described: str(file) for file, described in found.items()}.values()
        raise ValueError(f"Expected the files of a part to name the same classes, but {one!r} and {other!r} differ.")
    return next(iter(found.values()), _Described())


def _described(metadata: bytes | None, column: str) -> _Described:
    try:
        value = json.loads(metadata or b"{}")
    except (ValueError, RecursionError):
        return _Described()
    for key in ("info", "features", column, "names"):
        value = value.get(key) if isinstance(value, dict) else None
    names = value
    if isinstance(value, dict):  # a dict from index to name
        names = [value.get(str(i)) for i in range(len(value))]
    if not names:
        return _Described()
    if isinstance(names, list) and all(isinstance(name, str | int) for name in names):
        texts = tuple(map(str, names))
        if "" not in texts and len(set(texts)) == len(texts):
            return _Described(texts)
    return _Described(None, json.dumps(value)[:200])
