"""Decoded images kept beside their source, so that they are decoded once."""

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
from robustnas.runtime.atomic_files import clean, writing

FOLDER = ".robustnas"  # name of the default cache folder
SCHEMA = 2
DAY = 86400.0  # seconds after which an unfinished file is one that a kill left


def fingerprint(files: list[tuple[str, Path]], options: dict[str, Any]) -> str:
    """A number for what is to be decoded and how.

    Args:
        files: Name and path of each source file, in order.
        options: Everything else the result depends on, as plain values.

    Returns:
        A hash that changes with any file's name, size or time of modification, with their order and with the options.
    """
    stats = [(name, path.stat()) for name, path in files]
    listing = [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]
    return _hash({"schema": SCHEMA, "files": listing, "options": options})


def cache_name(folder: Path, source: Path, *variant: object) -> str:
    """What to call the images of a source, so that the name stays when source and cache are moved together.

    Args:
        folder: Where cache files lie.
        source: File or folder of the images.
        *variant: What else tells apart images that should be kept side by side.

    Returns:
        The name.
    """
    place = str(source)
    with contextlib.suppress(ValueError):  # no relative path leads to another drive
        place = os.path.relpath(source, folder)
    return " ".join(map(str, (place, *variant)))


def cached_images(folder: Path, name: str, mark: str, build: Callable[[], Images]) -> Images:
    """Images from the cache, or built and put there.

    A cache file that is missing, damaged or made from something else is built again. It is written under another name
    and moved into place, so that a run that is killed, or several at once, never leave half a file. A folder that
    cannot be written costs a warning, not the run.

    Args:
        folder: Where cache files lie; made if it is missing.
        name: What is cached. A new version replaces the old one of the same name.
        mark: Its fingerprint, see :func:`fingerprint`.
        build: Makes the images.

    Returns:
        The images.
    """
    path = folder / f"images-{_hash(name)[:16]}.npz"
    images = _read(path, mark)
    if images is None:
        images = build()
        try:
            _write(path, mark, images)
        except OSError as error:
            warnings.warn(
                f"Decoded images are not kept for the next run, since {str(path)!r} could not be written: {error}. "
                "Set `cache_dir` to a folder that can be.",
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
    except Exception:  # whatever is wrong with a cache, the cure is to build it again
        return None


def _write(path: Path, mark: str, images: Images) -> None:
    clean(path.parent, age=DAY)  # another run may be writing there
    with writing(path) as file:
        np.savez(
            file,
            mark=np.array(mark),
            pixels=images.pixels.numpy(),
            targets=images.targets.numpy(),
            task=np.array(images.task),
            classes=np.array(images.classes),
            reading=np.array(json.dumps(images.reading)),
        )
