"""The embedded table: look-ups by name, and files that were cut, renamed or are of another task."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robustnas.spaces import NASBench201, decode
from robustnas.tabular import Rank, Table, embedded
from robustnas.tabular.embedded import COLUMN, NAME, TASK, read_embedded, read_manifest
from robustnas.tabular.table import _cached


def write(folder: Path, rows: int = 15625, **changes: Any) -> Path:
    """A table in which the accuracy of a cell is its number / 200."""
    numbers = np.arange(rows, dtype=np.int32)
    columns = {"number": numbers, "trained": numbers, COLUMN: (numbers / 200).astype(np.float32)}
    pq.write_table(pa.table(columns), folder / f"{NAME}.parquet")
    data = (folder / f"{NAME}.parquet").read_bytes()
    manifest = {"schema": 1, "task": dict(TASK), "sha256": hashlib.sha256(data).hexdigest(), **changes}
    (folder / f"{NAME}.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(embedded, "FOLDER", write(tmp_path))
    _cached.cache_clear()
    yield tmp_path
    _cached.cache_clear()


@pytest.mark.parametrize("read", [Table.read, Table.read_cached])
def test_the_name_reads_the_embedded_table(made: Path, read: Any) -> None:
    table = read(NAME)
    assert len(table) == 15625
    cell = decode(15000, NASBench201)
    assert table.accuracy(cell, COLUMN) == table.accuracy(cell.to_nasbench201(), COLUMN) == 75
    assert table.rank(cell, COLUMN) == Rank(625, 15625)
    assert table.best(COLUMN).genotype == decode(15624, NASBench201)


def test_another_space_is_refused(made: Path) -> None:
    with pytest.raises(ValueError, match="'digits' to hold architectures of S1, but it holds those of NASBench201"):
        Table.read(NAME, space="S1")


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"but there is none\. Install robustnas again, or make the table with"):
        read_embedded(tmp_path)
    write(tmp_path)
    (tmp_path / f"{NAME}.parquet").rename(tmp_path / "other.parquet")
    with pytest.raises(ValueError, match=r"^Expected the table 'digits' in .*: No such file"):
        read_embedded(tmp_path)


def test_a_cut_or_replaced_table_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    path = tmp_path / f"{NAME}.parquet"
    whole = path.read_bytes()
    for damaged in (whole[:-100], whole[:1000] + b"x" + whole[1001:], b""):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"to be the table that its manifest describes, .* it was cut, changed or"):
            read_embedded(tmp_path)


def test_a_table_of_fewer_cells_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="to have a row for each cell of NASBench201, but got 15,624 rows"):
        read_embedded(write(tmp_path, rows=15624))


@pytest.mark.parametrize("task", [{}, {**TASK, "test_sha256": "0" * 64}, None])
def test_a_table_of_another_task_is_refused(tmp_path: Path, task: Any) -> None:
    write(tmp_path, task=task)
    with pytest.raises(ValueError, match=r"to be of the task ClutteredDigits, .* accuracies are of another task"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("manifest", ["[]", '{"schema": 2, "sha256": "0"}', '{"schema": 1}'])
def test_a_manifest_of_another_form_is_refused(tmp_path: Path, manifest: str) -> None:
    write(tmp_path)
    (tmp_path / f"{NAME}.json").write_text(manifest)
    with pytest.raises(ValueError, match=r"to be a manifest of schema 1 with `sha256`, but it is not"):
        read_manifest(tmp_path)


def test_the_shipped_table_keeps_what_it_promises() -> None:
    table, manifest = Table.read(NAME), read_manifest()
    assert len(table) == manifest["cells"] == 15625
    assert (embedded.FOLDER / f"{NAME}.parquet").stat().st_size < 400_000
    values = table.column(COLUMN)
    assert np.isfinite(values).all()
    counts = np.array(list(manifest["repeats"]["correct"].values())) * 100 / manifest["task"]["test_images"]
    assert values.std() > 5 * np.sqrt(counts.var(axis=1, ddof=1).mean())
    assert table.accuracy(decode(0, NASBench201), COLUMN) < 15  # no path
    assert table.accuracy(decode(3906, NASBench201), COLUMN) < np.quantile(values, 0.25)  # all skip connections
