"""Images inside parquet files, in the layout of the Hugging Face hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from robustnas.data import cache
from robustnas.data.decoding import Encoded, decode
from robustnas.data.images import Images
from robustnas.data.table import ImageTable, encoded_cell
from robustnas.data.targets import encode_targets


class ParquetImages(ImageTable):
    """Images in parquet files: a column of structs with the encoded ``bytes`` or a ``path``, and columns of targets.

    Names of classes are taken from the Hugging Face metadata where the file has them. The decoded images are kept in a
    cache.

    Args:
        train: A parquet file, or a folder whose ``*.parquet`` files are read in the order of their names.
        test: The same for the test part; ``None`` carves ``test_fraction`` out of ``train``.
        image_column: Column of the images.
        **shared: Arguments of :class:`~robustnas.data.table.ImageTable` and
            :class:`~robustnas.data.module.ImageData`; ``cache_dir`` is by default ``.robustnas`` beside the files.

    Raises:
        ValueError: If an option is impossible. Files are looked at when the data are first needed.
    """

    def __init__(
        self,
        train: str | Path,
        test: str | Path | None = None,
        image_column: str = "img",
        **shared: Any,
    ) -> None:
        super().__init__(image_column=image_column, **shared)
        self.train_path = Path(train)
        self.test_path = None if test is None else Path(test)

    @property
    def source(self) -> str:
        """Kind and place of the data."""
        return f"{type(self).__name__}({self.train_path})"

    def load(self) -> tuple[Images, Images | None]:
        """The images, decoded or from the cache.

        Returns:
            The training part, and the test part where ``test`` names one.

        Raises:
            ValueError: If a file or column is missing, or cannot be read.
        """
        train = self._part("train", self.train_path, None)
        if self.test_path is None:
            return train, None
        return train, self._part("test", self.test_path, train.classes)

    def _part(self, argument: str, path: Path, classes: tuple[str, ...] | None) -> Images:
        files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        if not files or not files[0].is_file():
            raise ValueError(f"Expected `{argument}` to be a parquet file or a folder of them, but got {str(path)!r}.")

        def build() -> Images:
            return self._read(files, classes)

        options = {
            "columns": [self.image_column, *self.target_columns],
            "limit": self.limit,
            "image_size": self.image_size,
            "channels": self.channels,
            "task": self.target_task,
            "classes": classes,
        }
        mark = cache.fingerprint([(file.name, file) for file in files], options)
        folder = self.cache_dir or files[0].parent / cache.FOLDER
        name = cache.cache_name(folder, path, self.limit, self.image_size, self.channels)
        return cache.cached_images(folder, name, mark, build)

    def _read(self, files: list[Path], classes: tuple[str, ...] | None) -> Images:
        images: list[Encoded] = []
        columns: dict[str, list[Any]] = {name: [] for name in self.target_columns}
        for file in files:
            left = None if self.limit is None else self.limit - len(images)
            rows, names = _read_rows(file, [self.image_column, *self.target_columns], left)
            classes = classes or _class_names(names, self.target_columns)
            cells = rows.pop(self.image_column)
            images += [encoded_cell(cell, f"row {i} of {str(file)!r}", file.parent) for i, cell in enumerate(cells)]
            for name in columns:
                columns[name] += rows[name]
        targets = encode_targets(columns, self.target_task, repr(str(files[0])), classes)
        return Images(decode(images, self.channels, self.image_size), targets.values, self.target_task, targets.names)


def _read_rows(file: Path, wanted: list[str], limit: int | None) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """Columns of the first ``limit`` rows, and the Hugging Face description of the columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows: dict[str, list[Any]] = {name: [] for name in wanted}
    try:
        with pq.ParquetFile(file) as table:
            there = table.schema_arrow.names
            missing = [name for name in wanted if name not in there]
            if not missing:
                _take_rows(table, rows, limit)
            metadata = (table.schema_arrow.metadata or {}).get(b"huggingface", b"{}")
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"Expected {str(file)!r} to be a readable parquet file, but got: {error}") from error
    if missing:
        raise ValueError(f"Expected {str(file)!r} to have the column {missing[0]!r}, but its columns are {there}.")
    return rows, json.loads(metadata).get("info", {}).get("features", {})


def _take_rows(table: Any, rows: dict[str, list[Any]], limit: int | None) -> None:
    taken = 0
    for batch in table.iter_batches(batch_size=1024, columns=list(rows)):
        part = batch if limit is None else batch.slice(0, limit - taken)
        for name, values in rows.items():
            values += part.column(name).to_pylist()
        taken += part.num_rows
        if limit is not None and taken >= limit:
            break


def _class_names(features: dict[str, Any], targets: list[str]) -> tuple[str, ...] | None:
    names = features.get(targets[0], {}).get("names") if len(targets) == 1 else None
    return tuple(names) if names else None
