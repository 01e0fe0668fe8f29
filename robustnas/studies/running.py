"""Running a study in its folder: what is finished stays, what failed is told, and nobody else is there."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from robustnas import __version__
from robustnas.runs.record import read_json, write_json
from robustnas.studies.engine import Engine, Event, Job
from robustnas.studies.grid import Cell
from robustnas.studies.results import SCHEMA

RUN_CELL = "robustnas.studies.cell:run_cell"


def unfinished(root: Path, cells: Sequence[Cell], force: bool = False, keep: bool = False) -> list[Cell]:
    """The cells that have no result yet.

    Args:
        root: Folder of the study.
        cells: The cells, each with its fingerprint.
        force: Whether results of another version or configuration are thrown away.
        keep: Whether they are only counted as to be run, and stay.

    Returns:
        Those that are still to be run.

    Raises:
        ValueError: If a folder holds a cell of another version or configuration, and ``force`` is not set.
    """
    other = [(cell, reason) for cell in cells if (reason := _other(root / cell.folder, cell)) is not None]
    if keep:
        strange = {cell.key for cell, _ in other}
        return [cell for cell in cells if cell.key in strange or not (root / cell.folder / "result.json").is_file()]
    if other and not force:
        cell, reason = other[0]
        more = f", and so do {len(other) - 1} more" if len(other) > 1 else ""
        raise ValueError(
            f"Expected {root / cell.folder} to hold what this study and version make, but it holds {reason}{more}; "
            f"`--folder` starts anew in another folder, `--force` runs such cells again."
        )
    for cell, _ in other:
        shutil.rmtree(root / cell.folder)
    return [cell for cell in cells if not (root / cell.folder / "result.json").is_file()]


def _other(folder: Path, cell: Cell) -> str | None:
    """What a folder holds that is not of this cell, finished or begun."""
    for name in ("result.json", "cell.json"):
        path = folder / name
        if path.is_file():
            held = read_json(path)
            version = held.get("version") if isinstance(held, dict) else None
            if version != __version__:
                return f"a cell of version {version} instead of {__version__}"
            if held.get("fingerprint") != cell.fingerprint:
                return "a cell of another configuration"
    return None


def run_cells(
    root: Path, cells: Sequence[Cell], engine: Engine, watch: Callable[[Event], None], function: str = RUN_CELL
) -> int:
    """Run cells, and note those that fail in a ``failure.json``.

    Args:
        root: Folder of the study.
        cells: Cells to run.
        engine: Where.
        watch: Called with each thing that happens.
        function: What is called with each cell, by import path.

    Returns:
        How many failed.
    """
    jobs = [
        Job(cell.key, function, {"root": str(root), "cell": asdict(cell)}, str(root / cell.folder / "log.txt"))
        for cell in cells
    ]
    folders = {cell.key: root / cell.folder for cell in cells}
    failed = 0
    with contextlib.closing(engine.run(jobs)) as events:  # type: ignore[type-var]
        for event in events:
            path = folders[event.key] / "failure.json"
            if event.kind == "failed":
                failed += 1
                write_json(path, {"schema": SCHEMA, "error": event.text, "attempt": event.attempt, "log": "log.txt"})
            elif event.kind == "done":
                path.unlink(missing_ok=True)
            watch(event)
    return failed
