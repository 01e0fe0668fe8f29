"""The table that comes with the package: every cell of NAS-Bench-201, trained alone on ``ClutteredDigits``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from robustnas.runs.record import read_json
from robustnas.spaces import NASBench201, num_architectures
from robustnas.tabular.reading import Column

NAME = "digits"
COLUMN = "digits_test"
FOLDER = Path(__file__).parent / "tables"
SCHEMA = 1
TASK = {  # hashes of the two parts of ClutteredDigits() that the accuracies belong to
    "train_sha256": "a8ec4190733b6eb66500d9186539d8b4192da610112dc24068c8982a63ac9318",
    "test_sha256": "4e164883336ead8a165ee1abdbae6dd6d3bdbe1d12fe13e6b4a66be2244e68e2",
}


def read_embedded(folder: Path | None = None) -> tuple[npt.NDArray[np.int64], dict[str, Column]]:
    """Return the numbers of all cells, ascending, and their accuracies by column.

    The accuracy of a cell is in percent of the test images after one training run of seed 0. Cells that compute the
    same function were trained once. ``benchmarks/make_digits_table.py`` made it; :func:`read_manifest` has the recipe.

    Raises:
        ValueError: If the files are missing or damaged, do not belong together, or are of another task.
    """
    manifest = read_manifest(folder)
    path = (folder or FOLDER) / f"{NAME}.parquet"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"Expected the table {NAME!r} in {path}, but reading it fails: {error.strerror}.") from error
    found = hashlib.sha256(data).hexdigest()
    if found != manifest["sha256"]:
        raise ValueError(
            f"Expected {path} to be the table that its manifest describes, with the SHA-256 {manifest['sha256'][:12]}, "
            f"but got {len(data):,} bytes with {found[:12]}: it was cut, changed or replaced. Install robustnas again."
        )
    columns = _columns(data)
    numbers = columns["number"].astype(np.int64)
    if not np.array_equal(numbers, np.arange(num_architectures(NASBench201))):
        raise ValueError(f"Expected {path} to have a row for each cell of NASBench201, but got {len(numbers):,} rows.")
    return numbers, {COLUMN: columns[COLUMN].astype(np.float32)}


def read_manifest(folder: Path | None = None) -> dict[str, Any]:
    """Return the manifest of the table: task, recipe, seeds, repeated runs, seconds by device and version of torch.

    Raises:
        ValueError: If it is missing, or of another task than :class:`~robustnas.data.ClutteredDigits`.
    """
    path = (folder or FOLDER) / f"{NAME}.json"
    if not path.exists():
        raise ValueError(
            f"Expected the manifest of the table {NAME!r} at {path}, but there is none. Install robustnas "
            "again, or make the table with benchmarks/make_digits_table.py."
        )
    manifest = read_json(path)
    if (
        not isinstance(manifest, dict)
        or manifest.get("schema") != SCHEMA
        or not isinstance(manifest.get("sha256"), str)
    ):
        raise ValueError(f"Expected {path} to be a manifest of schema {SCHEMA} with `sha256`, but it is not.")
    task: Mapping[str, Any] = manifest.get("task") or {}
    for name, wanted in TASK.items():
        if (got := task.get(name)) != wanted:
            raise ValueError(
                f"Expected {path} to be of the task ClutteredDigits, with {name} {wanted[:12]}, but got "
                f"{str(got)[:12]}: its accuracies are of another task."
            )
    return manifest


def is_task(source: str) -> bool:
    """Whether data, by their ``source``, are of the task of the table, in whatever number of drawings."""
    return source.startswith("ClutteredDigits(") and source.endswith("task_seed=0)")


def _columns(data: bytes) -> dict[str, npt.NDArray[Any]]:
    import pyarrow.parquet as pq

    table = pq.read_table(BytesIO(data))
    return {name: table[name].to_numpy() for name in table.column_names}
