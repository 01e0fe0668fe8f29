"""Small data sets on disk: pictures whose brightness tells their class, in folders, tables or parquet files."""

from __future__ import annotations

import csv
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def picture(level: float, seed: int, size: int = 8) -> bytes:
    """A noisy PNG whose mean brightness is about ``level``, between 0 and 1."""
    noise = np.random.default_rng(seed).integers(-30, 30, (size, size, 3))
    file = BytesIO()
    Image.fromarray(np.clip(30 + 195 * level + noise, 0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def write_folders(root: Path, classes: int = 2, each: int = 24, size: int = 8) -> Path:
    """One folder of pictures for each class."""
    for number in range(classes):
        folder = root / f"class{number}"
        folder.mkdir(parents=True)
        for index in range(each):
            content = picture(number / max(classes - 1, 1), classes * index + number, size)
            (folder / f"{index}.png").write_bytes(content)
    return root


def write_table(root: Path, multilabel: bool, count: int = 48) -> Path:
    """Pictures with two labels, or with one value, in a CSV table."""
    root.mkdir(parents=True)
    rows: list[list[Any]] = [["file", "bright", "very_bright"] if multilabel else ["file", "level"]]
    for index in range(count):
        level = index / count
        (root / f"{index}.png").write_bytes(picture(level, index))
        rows.append([f"{index}.png", int(level > 0.3), int(level > 0.6)] if multilabel else [f"{index}.png", level])
    with (root / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return root / "labels.csv"


def write_parquet(path: Path, classes: int = 2, count: int = 48, size: int = 8) -> Path:
    """Pictures and their classes in the layout of the Hugging Face hub."""
    labels = [index % classes for index in range(count)]
    cells = [{"bytes": picture(label / (classes - 1), i, size), "path": None} for i, label in enumerate(labels)]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"img": cells, "label": labels}), path)
    return path
