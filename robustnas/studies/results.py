"""What the cells of a study left, as plain records, for tables, statistics and reports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustnas.analysis.metrics import GAP, GAP_LOSS
from robustnas.runs.record import read_json, write_json, write_text
from robustnas.runtime.csv_files import csv_text
from robustnas.studies.grid import Cell

SCHEMA = 1
LOWER = ("loss", "mse", "mae", "error", "regret", "rank", "latency", "flops", "parameters")
GAPS = (GAP.name, GAP_LOSS.name)  # what the supernet has and the discrete network has not


@dataclass(frozen=True)
class Record:
    """A finished cell.

    Args:
        variant: Name of the variant or baseline.
        space: Name of the search space, or ``None`` where the study names none.
        data: Name of the data, likewise.
        levels: Level of each factor and part.
        seed: Seed of everything.
        baseline: Whether it is a baseline.
        score: Value of the metric that counts, or ``None`` where there is none.
        folder: Folder of the cell inside the study's.
        held: Everything that ``result.json`` holds.
    """

    variant: str
    space: str | None
    data: str | None
    levels: Mapping[str, str]
    seed: int
    baseline: bool
    score: float | None
    folder: str
    held: Mapping[str, Any]

    @property
    def task(self) -> tuple[str | None, str | None]:
        """Space and data: what variants are compared on."""
        return self.space, self.data

    @property
    def group(self) -> str:
        """The cell without its seed."""
        return str(Path(self.folder).parent.relative_to("cells").as_posix())


def higher_is_better(metric: str) -> bool:
    """Whether more of a metric is better, by its name.

    Args:
        metric: Name, such as ``test/top1``.

    Returns:
        ``False`` for losses, errors, regret, ranks, costs and what rounding loses.
    """
    return not metric.startswith(GAPS) and not metric.rpartition("/")[2].lower().endswith(LOWER)


def write_plan(
    root: Path, name: str, cells: Iterable[Cell], published: Mapping[str, Mapping[str, Any]] | None = None
) -> None:
    """Write ``study.json``: which cells a study has, whether finished or not.

    Args:
        root: Folder of the study.
        name: Its name.
        cells: All of its cells.
        published: Variant to what others published of it, for the report.
    """
    listed = [{**cell.place, "folder": cell.folder, "fingerprint": cell.fingerprint} for cell in cells]
    write_json(root / "study.json", {"schema": SCHEMA, "name": name, "cells": listed, "published": published or {}})


def read_plan(root: Path) -> dict[str, Any]:
    """What :func:`write_plan` wrote.

    Args:
        root: Folder of the study.

    Returns:
        ``name`` and ``cells``.

    Raises:
        ValueError: If the folder holds no study, or one of another schema.
    """
    held = read_json(root / "study.json")
    if not isinstance(held, dict) or held.get("schema") != SCHEMA or not isinstance(held.get("cells"), list):
        raise ValueError(f"Expected {root / 'study.json'} to be a study of schema {SCHEMA}, but got another file.")
    return held


def read_results(root: Path) -> list[Record]:
    """The finished cells of a study, in the order of its plan.

    Args:
        root: Folder of the study.

    Returns:
        One record for each ``result.json``.

    Raises:
        ValueError: If one is of another schema.
    """
    found = []
    for cell in read_plan(root)["cells"]:
        path = root / cell["folder"] / "result.json"
        if path.is_file():
            held = read_json(path)
            if not isinstance(held, dict) or held.get("schema") != SCHEMA or not isinstance(held.get("cell"), dict):
                raise ValueError(f"Expected {path} to be a result of schema {SCHEMA}, but got another file.")
            place, score = held["cell"], held["score"]
            found.append(Record(**place, score=score and score["value"], folder=cell["folder"], held=held))
    return found


def read_failures(root: Path) -> dict[str, str]:
    """The cells of a study that failed last time.

    Args:
        root: Folder of the study.

    Returns:
        Folder of the cell to what went wrong, in a sentence.
    """
    folders = [cell["folder"] for cell in read_plan(root)["cells"]]
    paths = {folder: root / folder / "failure.json" for folder in folders}
    return {folder: str(read_json(path)["error"]) for folder, path in paths.items() if path.is_file()}


def rows_of(records: Iterable[Record]) -> list[dict[str, Any]]:
    """A row for each finished cell, with everything that is a number or a word.

    Args:
        records: The cells.

    Returns:
        Name of the column to what it holds.
    """
    return [_row(record) for record in records]


def write_csv(root: Path, records: Iterable[Record] | None = None) -> Path:
    """Write ``results.csv``: a row for each finished cell.

    Args:
        root: Folder of the study.
        records: The cells; by default they are read.

    Returns:
        The file.
    """
    write_text(root / "results.csv", csv_text(rows_of(read_results(root) if records is None else records)))
    return root / "results.csv"


def _row(record: Record) -> dict[str, Any]:
    held, verdict = record.held, record.held["verdict"] or {}
    return {
        "variant": record.variant, "space": record.space, "data": record.data, **record.levels, "seed": record.seed,
        "baseline": record.baseline, "score": record.score, "metric": (held["score"] or {}).get("name"),
        **held["metrics"]["test"], **held["metrics"].get("truth", {}), "parameters": held["parameters"],
        "verdict": verdict.get("state"), "since": verdict.get("since"),
        **{f"seconds/{name}": value for name, value in held["seconds"].items()},
        "processor_seconds": held["processor_seconds"], "device": held["device"], "attempts": held["attempts"],
        "folder": record.folder,
        **{f"search/{name}": value for name, value in held["metrics"]["search"].items()},
    }  # fmt: skip
