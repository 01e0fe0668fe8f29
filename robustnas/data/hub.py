"""Data sets of the Hugging Face hub."""

from __future__ import annotations

import hashlib
import importlib
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from robustnas.data import cache
from robustnas.data.decoding import Encoded, decode
from robustnas.data.images import Images
from robustnas.data.parts import with_validation
from robustnas.data.table import ImageTable, encoded_cell
from robustnas.data.targets import encode_targets

TEST = "test"


class HubImages(ImageTable):
    """An image data set of the Hugging Face hub, through ``datasets`` (``pip install "robustnas[hf]"``).

    ``datasets`` caches the download, which is then read without a network. No code of a data set is executed.

    Args:
        name: Name on the hub, for instance ``uoft-cs/cifar10``.
        subset: Configuration of the data set, if it has several.
        revision: Branch, tag or commit; a commit fixes the data.
        train_split: Split with the training part.
        test_split: Split with the test part. If the data set has no split ``test``, or with ``None``, ``test_fraction``
            of the training part becomes the test part; any other name must exist.
        image_column: Column of the images.
        val_split: Split with a validation part, which becomes the role selection.
        **shared: Arguments of :class:`~robustnas.data.table.ImageTable` and
            :class:`~robustnas.data.module.ImageData`; without ``cache_dir`` images are decoded in every run.

    Raises:
        ValueError: If an option is impossible. The hub is queried when the data are first needed.
    """

    def __init__(
        self,
        name: str,
        subset: str | None = None,
        revision: str | None = None,
        train_split: str = "train",
        test_split: str | None = TEST,
        image_column: str = "image",
        val_split: str | None = None,
        **shared: Any,
    ) -> None:
        super().__init__(image_column=image_column, **shared)
        self.hub_name = name
        self.subset = subset
        self.revision = revision
        self.train_split = train_split
        self.test_split = test_split
        self.val_split = val_split

    @property
    def source(self) -> str:
        """Kind and name of the data."""
        return f"{type(self).__name__}({', '.join(filter(None, (self.hub_name, self.subset, self.revision)))})"

    def load(self) -> tuple[Images, Images | None]:
        """The training part, joined with that of ``val_split`` if it is given, and the test part if there is one."""
        library = _datasets()
        try:
            parts = library.load_dataset(self.hub_name, self.subset, revision=self.revision)
        except Exception as error:  # network, missing names and old formats raise different kinds
            raise ValueError(
                f"Expected the data set {self.hub_name!r} to be on the Hugging Face hub or in its local cache, but "
                f"got {type(error).__name__}: {error}"
            ) from error
        test = self.test_split if self.test_split in parts or self.test_split != TEST else None
        given = {"train": self.train_split, "test": test, "val": self.val_split}
        wanted = {part: split for part, split in given.items() if split is not None}
        for split in wanted.values():
            if split not in parts:
                raise ValueError(
                    f"Expected the data set {self.hub_name!r} to have the split {split!r}, but its splits are "
                    f"{list(parts)}."
                )
        train = self._part(library, parts[self.train_split], self.train_split, None)
        del wanted["train"]
        others = {part: self._part(library, parts[split], split, train.classes) for part, split in wanted.items()}
        if unused := [split for split in parts if split not in (self.train_split, *wanted.values())]:
            train = replace(train, reading={**train.reading, "unused_splits": unused})
        return with_validation(train, others.get("val")), others.get("test")

    def _part(self, library: Any, part: Any, split: str, classes: tuple[str, ...] | None) -> Images:
        source = f"split {split!r} of {self.hub_name!r}"
        for column in (self.image_column, *self.target_columns):
            if column not in part.column_names:
                raise ValueError(
                    f"Expected {source} to have the column {column!r}, but its columns are {part.column_names}."
                )
        if self.limit is not None:
            part = part.select(range(min(self.limit, len(part))))
        names = getattr(part.features[self.target_columns[0]], "names", None) if len(self.target_columns) == 1 else None
        part = part.cast_column(self.image_column, library.Image(decode=False))
        cells = part[self.image_column]
        images = [encoded_cell(cell, f"row {i} of {source}", Path()) for i, cell in enumerate(cells)]
        columns = {name: list(part[name]) for name in self.target_columns}
        targets = encode_targets(columns, self.target_task, source, tuple(names) if names else None, classes)
        build = partial(decode, images, targets, self.target_task, self.decoding)
        if self.cache_dir is None:
            return build()
        options = {
            **asdict(self.decoding),
            "task": self.target_task,
            "classes": list(targets.names),
            "targets": targets.values.tolist(),
            "content": _content_hash(images),
        }
        name = f"{self.source} {split} {self.limit} {self.decoding.image_size} {self.decoding.channels}"
        return cache.cached_images(self.cache_dir, name, cache.fingerprint([], options), build)


def _datasets() -> Any:
    try:
        return importlib.import_module("datasets")
    except ImportError as error:
        raise ValueError(
            f'Expected `datasets` to be installed for HubImages, but got {error}. Run: pip install "robustnas[hf]"'
        ) from error


def _content_hash(images: list[Encoded]) -> str:
    digest = hashlib.sha256()
    for image in images:
        held = image.content
        content = (held.read_bytes() if held.is_file() else b"") if isinstance(held, Path) else held or b""
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    return digest.hexdigest()
