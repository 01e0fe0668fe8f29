"""Base of data sets in tables: a column of images, columns of targets, and a limit on rows."""

from __future__ import annotations

from abc import ABC
from pathlib import Path
from typing import Any

from robustnas.data.decoding import Channels, Decoding, Encoded
from robustnas.data.images import Task
from robustnas.data.module import ImageData
from robustnas.runtime.paths import expand


class ImageTable(ImageData, ABC):
    """Rows of a table, each with an encoded image and its targets.

    Args:
        image_column: Column of the images.
        target_columns: Column of the targets; several for multilabel and regression.
        task: Task of the targets.
        image_size: Side of the square images: the shorter side is scaled to it and the centre cropped. ``None`` keeps
            the images as they are; they must then all have one size.
        channels: 1 for grey images, 3 for colour; others are converted.
        limit: Number of first rows of each part to use, for quick runs.
        cache_dir: Folder of decoded images.
        background: Grey level, 0 to 255, on which transparent pixels are composited.
        skip_unreadable: Whether images that cannot be decoded are skipped instead of refused.
        **shared: Arguments of :class:`~robustnas.data.module.ImageData`.
    """

    def __init__(
        self,
        image_column: str,
        target_columns: str | list[str] = "label",
        task: Task = "classification",
        image_size: int | None = None,
        channels: Channels = 3,
        limit: int | None = None,
        cache_dir: str | Path | None = None,
        background: int = 255,
        skip_unreadable: bool = False,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.decoding: Decoding = Decoding(channels, image_size, background, skip_unreadable)
        if limit is not None and limit < 1:
            raise ValueError(f"Expected `limit` to be at least 1 or None, but got {limit}.")
        self.image_column = image_column
        self.target_columns = [target_columns] if isinstance(target_columns, str) else list(target_columns)
        self.target_task: Task = task
        self.limit = limit
        self.cache_dir = None if cache_dir is None else expand(cache_dir, "cache_dir")


def encoded_cell(cell: Any, name: str, folder: Path) -> Encoded:
    """An encoded image in the Hugging Face layout: bytes, or a mapping with ``bytes`` or a ``path`` in ``folder``."""
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if isinstance(content, bytes):
        return Encoded(name, content)
    path = cell.get("path") if isinstance(cell, dict) else None
    if not path or not isinstance(path, str):
        return Encoded(name, None, f"neither bytes nor path of an image, but {type(content).__name__}")
    return Encoded(f"{name} ({path})", folder / path)
