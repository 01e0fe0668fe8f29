"""Image files in folders: one folder for each class, or one table of targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robustnas.csv_files import read_csv
from robustnas.data import cache
from robustnas.data.decoding import Channels, Encoded, check_options, decode
from robustnas.data.images import Images, Task
from robustnas.data.module import ImageData
from robustnas.data.targets import encode_targets

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}


class ImageFolder(ImageData):
    """Images below ``root``, decoded once and kept in a cache.

    Without ``labels`` each folder in ``root`` is a class and holds its images, at any depth. When ``root/train`` holds
    the class folders, these are the training part, and those in ``root/test``, if there is one, the test part. With
    ``labels`` the images may lie anywhere below ``root`` and a table names them.

    Args:
        root: The folder.
        image_size: Side of the square images to make: the shorter side is scaled to it and the centre kept. ``None``
            takes images as they are; they must then all have one size.
        channels: 1 for grey images, 3 for colour; others are converted.
        task: What the targets are. Multilabel and regression need ``labels``.
        labels: CSV file with a header ``file,target[,target2...]``: a path below ``root`` and its targets.
        cache_dir: Where decoded images are kept; by default ``root/.robustnas``.
        **shared: Arguments of :class:`~robustnas.data.module.ImageData`.

    Raises:
        ValueError: If an option is impossible. Folders and files are looked at when the data are first needed.
    """

    def __init__(
        self,
        root: str | Path,
        image_size: int | None = None,
        channels: Channels = 3,
        task: Task = "classification",
        labels: str | Path | None = None,
        cache_dir: str | Path | None = None,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        check_options(channels, image_size)
        if task != "classification" and labels is None:
            raise ValueError(f"Expected `labels` to be a CSV file of targets for {task}, but got None.")
        self.root = Path(root)
        self.image_size = image_size
        self.channels: Channels = channels
        self.target_task: Task = task
        self.labels = None if labels is None else Path(labels)
        self.cache_dir = self.root / cache.FOLDER if cache_dir is None else Path(cache_dir)

    @property
    def source(self) -> str:
        """Kind and place of the data."""
        return f"{type(self).__name__}({self.root})"

    def load(self) -> tuple[Images, Images | None]:
        """The images, decoded or from the cache.

        Returns:
            The training part, and the test part where ``root/test`` is one.

        Raises:
            ValueError: If a folder or file is missing, empty, or cannot be read.
        """
        if not self.root.is_dir():
            raise ValueError(f"Expected `root` to be a folder, but got {str(self.root)!r}.")
        if self.labels is not None:
            return self._table(self.labels), None
        train, test = self.root / "train", self.root / "test"
        if not _subfolders(train):
            return self._part(self.root), None
        images = self._part(train)
        return images, self._part(test, images.classes) if test.is_dir() else None

    def _part(self, folder: Path, classes: tuple[str, ...] | None = None) -> Images:
        found = {path.name: _image_files(path) for path in _subfolders(folder)}
        empty = [name for name, files in found.items() if not files]
        if not found or empty:
            got = f"no image in {empty[0]!r}" if empty else "none"
            raise ValueError(f"Expected {str(folder)!r} to hold a folder of images for each class, but got {got}.")
        files = [path for paths in found.values() for path in paths]
        names = [name for name, paths in found.items() for _ in paths]
        return self._images(files, {"folder": names}, folder, classes or tuple(found))

    def _table(self, path: Path) -> Images:
        header, rows = _read_table(path)
        files = [self.root / row[0] for row in rows]
        missing = [file for file in files if not file.is_file()]
        if missing:
            raise ValueError(f"Expected {str(path)!r} to name files below `root`, but {str(missing[0])!r} is none.")
        columns: dict[str, list[Any]] = {name: [row[i] for row in rows] for i, name in enumerate(header[1:], start=1)}
        return self._images(files, columns, path, None)

    def _images(
        self, files: list[Path], columns: dict[str, list[Any]], source: Path, classes: tuple[str, ...] | None
    ) -> Images:
        targets = encode_targets(columns, self.target_task, repr(str(source)), classes)

        def build() -> Images:
            encoded = [Encoded(repr(str(file)), file) for file in files]
            pixels = decode(encoded, self.channels, self.image_size)
            return Images(pixels, targets.values, self.target_task, targets.names)

        options = {
            "image_size": self.image_size,
            "channels": self.channels,
            "task": self.target_task,
            "classes": list(targets.names),
            "targets": targets.values.tolist(),
        }
        mark = cache.fingerprint([(file.relative_to(self.root).as_posix(), file) for file in files], options)
        name = cache.cache_name(self.cache_dir, source, self.image_size, self.channels)
        return cache.cached_images(self.cache_dir, name, mark, build)


def _subfolders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _image_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def _read_table(path: Path) -> tuple[list[str], list[list[str]]]:
    table = read_csv(path)
    if not table.rows or len(table.names) < 2:
        raise ValueError(
            f"Expected {str(path)!r} to have a header 'file,target[,target2...]' and at least one row, "
            f"but got {table.names} and {len(table.rows)} rows."
        )
    return table.names, [row.cells for row in table.rows]
