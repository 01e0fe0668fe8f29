"""Image files in folders, one folder for each class or one table of targets."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from robustnas.data import cache
from robustnas.data.decoding import Channels, Decoding, Encoded, decode
from robustnas.data.images import Images, Task
from robustnas.data.listing import Listing
from robustnas.data.module import ImageData
from robustnas.data.parts import with_validation
from robustnas.data.targets import encode_targets
from robustnas.data.wording import listed
from robustnas.runtime.csv_files import read_csv
from robustnas.runtime.paths import expand


class ImageFolder(ImageData):
    """Images below ``root``, decoded once and cached.

    Without ``labels`` each folder in ``root`` is a class and holds its images, at any depth. If ``root/train`` holds
    the class folders, they are the training part; those in ``root/val`` are the validation part, which becomes the role
    selection, and those in ``root/test`` the test part. With ``labels`` a table names the images, which may lie
    anywhere below ``root``.

    Args:
        root: Folder of the images.
        image_size: Side of the square images: the shorter side is scaled to it and the centre cropped. ``None`` keeps
            the images as they are; they must then all have one size.
        channels: 1 for grey images, 3 for colour; others are converted.
        task: Task of the targets. Multilabel and regression need ``labels``.
        labels: CSV file with a header ``file,target[,target2...]``: paths below ``root`` and their targets.
        cache_dir: Folder of decoded images; by default ``root/.robustnas``.
        background: Grey level, 0 to 255, on which transparent pixels are composited.
        skip_unreadable: Whether images that cannot be decoded are skipped instead of refused.
        **shared: Arguments of :class:`~robustnas.data.module.ImageData`.

    Raises:
        ValueError: If an option is impossible. Files are read when the data are first needed.
    """

    def __init__(
        self,
        root: str | Path,
        image_size: int | None = None,
        channels: Channels = 3,
        task: Task = "classification",
        labels: str | Path | None = None,
        cache_dir: str | Path | None = None,
        background: int = 255,
        skip_unreadable: bool = False,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        if task != "classification" and labels is None:
            raise ValueError(f"Expected `labels` to be a CSV file of targets for {task}, but got None.")
        self.root = expand(root, "root")
        self.decoding: Decoding = Decoding(channels, image_size, background, skip_unreadable)
        self.target_task: Task = task
        self.labels = None if labels is None else expand(labels, "labels")
        self.cache_dir = self.root / cache.FOLDER if cache_dir is None else expand(cache_dir, "cache_dir")

    @property
    def source(self) -> str:
        """Kind and place of the data."""
        return f"{type(self).__name__}({self.root})"

    def load(self) -> tuple[Images, Images | None]:
        """The training part, joined with the validation part if there is one, and the test part if there is one."""
        if not self.root.is_dir():
            raise ValueError(f"Expected `root` to be a folder, but got {str(self.root)!r}.")
        if self.labels is not None:
            return self._table(self.labels), None
        listing = Listing()
        parts = listing.parts(self.root)
        train = self._part(parts.get("train", self.root), None, listing)
        val, test = (self._part(parts[part], train.classes) if part in parts else None for part in ("val", "test"))
        return with_validation(train, val), test

    def _part(self, folder: Path, classes: tuple[str, ...] | None, listing: Listing | None = None) -> Images:
        listing = listing or Listing()
        found = listing.classes(folder)
        if unknown := [repr(name) for name in found if classes is not None and name not in classes]:
            raise ValueError(
                f"Expected the folders in {str(folder)!r} to be classes of the training part, "
                f"{listed(classes or ())}, but got {listed(unknown)} too."
            )
        files = [path for paths in found.values() for path in paths]
        names = [name for name, paths in found.items() for _ in paths]
        return self._images(files, {"folder": names}, folder, classes or tuple(found), listing.reading())

    def _table(self, path: Path) -> Images:
        table = read_csv(path)
        if not table.rows or len(table.names) < 2:
            raise ValueError(
                f"Expected {str(path)!r} to have a header 'file,target[,target2...]' and at least one row, "
                f"but got {table.names} and {len(table.rows)} rows."
            )
        header, rows = table.names, [[row.cells[0], *map(str.strip, row.cells[1:])] for row in table.rows]
        files = [self._below_root(row[0]) for row in rows]
        _check_targets_agree(files, rows, path)
        if Path(header[0]).suffix and self._below_root(header[0]).is_file():
            raise ValueError(
                f"Expected the first row of {str(path)!r} to be a header 'file,target[,target2...]', but it names the "
                f"file {header[0]!r}; put a header above it."
            )
        missing = [row[0] for row, file in zip(rows, files, strict=True) if not file.is_file()]
        if missing:
            raise ValueError(
                f"Expected {str(path)!r} to name files below `root`, {str(self.root)!r}, but {len(missing)} of "
                f"{len(rows)} are none: {listed([repr(name) for name in missing])}."
            )
        listing = Listing()
        unnamed = len(set(listing.images(self.root, self.root)) - set(files))
        listing.other_endings.clear()  # such as that of the table
        reading = {**listing.reading(), **({"not_in_labels": unnamed} if unnamed else {})}
        columns: dict[str, list[Any]] = {name: [row[i] for row in rows] for i, name in enumerate(header[1:], start=1)}
        return self._images(files, columns, path, None, reading)

    def _below_root(self, name: str) -> Path:
        """A file of a table as a path that begins with ``root``; one outside is refused."""
        file = self.root / name
        if name != name.strip() and not file.is_file():  # spaces beside the comma
            name = name.strip()
            file = self.root / name
        if "\\" in name and not file.is_file():  # written on Windows
            file = self.root / name.replace("\\", "/")
        for place in (os.path.abspath, os.path.realpath):  # links below root may lead out of it
            path, root = Path(place(file)), Path(place(self.root))
            if path.is_relative_to(root):
                return self.root / path.relative_to(root)
        raise ValueError(f"Expected `labels` to name files below `root`, {str(self.root)!r}, but got {name!r}.")

    def _images(
        self,
        files: list[Path],
        columns: dict[str, list[Any]],
        source: Path,
        classes: tuple[str, ...] | None,
        reading: dict[str, Any],
    ) -> Images:
        targets = encode_targets(columns, self.target_task, repr(str(source)), classes=classes)
        encoded = [Encoded(repr(str(file)), file) for file in files]
        build = partial(decode, encoded, targets, self.target_task, self.decoding)
        options = {
            "task": self.target_task,
            "classes": list(targets.names),
            "targets": targets.values.tolist(),
            **asdict(self.decoding),
        }
        mark = cache.fingerprint([(file.relative_to(self.root).as_posix(), file) for file in files], options)
        name = cache.cache_name(self.cache_dir, source, self.decoding.image_size, self.decoding.channels)
        images = cache.cached_images(self.cache_dir, name, mark, build)
        return replace(images, reading={**reading, **images.reading})


def _check_targets_agree(files: list[Path], rows: list[list[str]], path: Path) -> None:
    """Refuse a table that gives one file two targets."""
    given: dict[Path, list[str]] = {}
    for file, (name, *targets) in zip(files, rows, strict=True):
        if (other := given.setdefault(file, targets)) != targets:
            raise ValueError(
                f"Expected {str(path)!r} to give each file one target, but got {', '.join(other)} and "
                f"{', '.join(targets)} for {name!r}."
            )
