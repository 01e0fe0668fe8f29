"""The files of a report: results as CSV and Parquet, tables, the page, TensorBoard's sessions."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robustnas.reports.study.calibration import Calibration, as_rows, calibrate, cases_of
from robustnas.reports.study.checklist import checklist
from robustnas.reports.study.hparams import write_sessions
from robustnas.reports.study.page import study_page
from robustnas.reports.study.study_data import StudyData
from robustnas.reports.study.tables import latex_tables, markdown_tables
from robustnas.runs.record import write_bytes, write_text
from robustnas.runtime.csv_files import csv_text
from robustnas.studies.results import rows_of, write_csv

INTEGERS = {"seed", "attempts", "parameters", "since"}


def write_report(folder: str | Path, out: str | Path | None = None) -> Path:
    """Write the report of a study, finished or not, into its folder, each file atomically.

    The folder gets ``results.csv`` and ``.parquet``, ``tables.md`` and ``.tex``, ``calibration.csv``, ``tensorboard/``
    and ``report.html``, the page, unless ``out`` is another place for it.

    Returns:
        The page.

    Raises:
        ValueError: If it is no study, or a file in it is of another schema or damaged.
    """
    study = StudyData.read(folder)
    write_csv(study.root, study.records)
    write_parquet(study.root / "results.parquet", rows_of(study.records))
    cases, bad = cases_of(study)
    calibration = calibrate(cases)
    write_text(study.root / "calibration.csv", csv_text(as_rows(calibration)))
    items = checklist(study)
    write_text(study.root / "tables.md", markdown_tables(study, items))
    write_text(study.root / "tables.tex", latex_tables(study))
    write_sessions(study)
    html = Path(out) if out else study.root / "report.html"
    write_text(html, study_page(study, calibration, bad, len(cases), items, html.parent))
    return html


def write_pooled(folders: Sequence[str | Path], path: Path) -> list[Calibration]:
    """Return the calibration of indicators over studies, also written as CSV; different tasks are never compared.

    Raises:
        ValueError: If one is no study, or a file in it is of another schema or damaged.
    """
    found = calibrate([case for folder in folders for case in cases_of(StudyData.read(folder))[0]])
    write_text(path, csv_text(as_rows(found)))
    return found


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as Parquet; a column with a text in any row is a column of texts."""
    import pyarrow as pa
    from pyarrow import parquet

    columns = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        if any(isinstance(value, str) for value in values):
            values = [None if value is None else str(value) for value in values]
        elif name not in INTEGERS:
            values = [float(v) if isinstance(v, int | float) and not isinstance(v, bool) else v for v in values]
        columns[name] = pa.array(values)
    file = io.BytesIO()
    parquet.write_table(pa.table(columns), file)
    write_bytes(path, file.getvalue())
