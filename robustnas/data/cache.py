"""Cache of decoded images beside their source."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from robustnas.data.images import Images, Task
from robustnas.runtime.atomic_files import open_atomically, remove_unfinished

FOLDER = ".robustnas"  # name of the default cache folder
SCHEMA = 2
DAY = 86400.0  # seconds after which an unfinished file is left over from a killed run


def fingerprint(files: list[tuple[str, Path]], options: dict[str, Any]) -> str:
    """Hash of the names, sizes, modification times and order of source files, and of all options of decoding."""
    stats = [(name, path.stat()) for name, path in files]
    listing = [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]
    return _hash({"schema": SCHEMA, "files": listing, "options": options})


def cache_name(folder: Path, source: Path, *variant: object) -> str:
    """Cache name of the images of a source, which stays valid if source and cache are moved together."""
    place = str(source)
    with contextlib.suppress(ValueError):  # no relative path leads to another drive
        place = os.path.relpath(source, folder)
    return " ".join(map(str, (place, *variant)))


def cached_images(folder: Path, name: str, mark: str, build: Callable[[], Images]) -> Images:
    """Read images of fingerprint ``mark`` from the cache, or build and write them; a failed write is only a warning."""
    path = folder / f"images-{_hash(name)[:16]}.npz"
    images = _read(path, mark)
    if images is None:
        images = build()
        try:
            _write(path, mark, images)
        except OSError as error:
            warnings.warn(
                f"Decoded images are not cached, since {str(path)!r} could not be written: {error}. "
                "Set `cache_dir` to a writable folder.",
                stacklevel=2,
            )
    return images


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _read(path: Path, mark: str) -> Images | None:
    try:
        with np.load(path, allow_pickle=False) as stored:
            if stored["mark"].item() != mark:
                return None
            pixels, targets = torch.from_numpy(stored["pixels"]), torch.from_numpy(stored["targets"])
            task, reading = cast(Task, stored["task"].item()), json.loads(stored["reading"].item())
            return Images(pixels, targets, task, tuple(stored["classes"].tolist()), reading)
    except Exception:  # any damaged cache is built again
        return None


def _write(path: Path, mark: str, images: Images) -> None:
    remove_unfinished(path.parent, age=DAY)  # another run may be writing there
    with open_atomically(path) as file:
        np.savez(
            file,
            mark=np.array(mark),
            pixels=images.pixels.numpy(),
            targets=images.targets.numpy(),
            task=np.array(images.task),
            classes=np.array(images.classes),
            reading=np.array(json.dumps(images.reading)),
        )
