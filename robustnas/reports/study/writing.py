"""The files of a report: results as CSV and Parquet, tables, the page, TensorBoard's sessions."""

from __future__ import annotations

import io
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robustnas.analysis import metrics
from robustnas.plotting.scatter import scatter_figure
from robustnas.reports.study.calibration import Calibration, as_rows, calibrate, cases_of
from robustnas.reports.study.checklist import checklist
from robustnas.reports.study.front import charts
from robustnas.reports.study.page import study_page
from robustnas.reports.study.study_data import STATES, StudyData
from robustnas.reports.study.tables import latex_tables, markdown_tables
from robustnas.runs.record import write_bytes, write_text
from robustnas.runtime.csv_files import csv_text
from robustnas.studies.results import Record, rows_of, write_csv

INTEGERS = {"seed", "attempts", "parameters", "since"}
EVENTS = "events.out.tfevents.study"  # one name, so that writing again replaces it
FIRST = (  # five columns are shown at first
    "score", "search/lambda_max", "search/skip_share", metrics.REGRET.name, "seconds/total",
)  # fmt: skip
SERIES = {  # metric: series whose last value it is
    "search/lambda_max": metrics.CURVATURE.name,
    "search/skip_share": metrics.SKIP_SHARE.name,
    "search/gap": metrics.GAP.name,
    "search/entropy": metrics.ENTROPY.name,
    "search/top1": metrics.VAL_TOP1.name,
}


def write_report(folder: str | Path, out: str | Path | None = None) -> Path:
    """Return the page of a study, finished or not, after writing it and its other files, each atomically.

    The folder gets ``results.csv`` and ``.parquet``, ``tables.md`` and ``.tex``, ``calibration.csv``, ``tensorboard/``
    and ``report.html``, the page, unless ``out`` is another place for it; ``front.png`` where searches know costs.

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
    write_front(study)
    html = Path(out) if out else study.root / "report.html"
    write_text(html, study_page(study, calibration, bad, len(cases), items, html.parent))
    return html


def write_front(study: StudyData) -> None:
    """Draw cost against score, where searches know the cost of what they find."""
    if drawn := charts(study):
        file = io.BytesIO()
        scatter_figure(drawn).savefig(file, format="png", dpi=120)
        write_bytes(study.root / "front.png", file.getvalue())


def write_pooled(folders: Sequence[str | Path], path: Path) -> list[Calibration]:
    """Return the calibration of indicators over studies, also written as CSV; different tasks are never compared."""
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


def write_sessions(study: StudyData) -> Path:
    """Write an event file for each finished trial, for ``tensorboard --logdir STUDY/tensorboard``."""
    root = study.root / "tensorboard"
    sessions = {
        Path(*Path(record.folder).parts[1:]): (record, settings(record), figures(study, record))
        for record in study.records
    }
    for old in list(root.rglob(EVENTS)):
        if old.parent.relative_to(root) not in sessions:
            shutil.rmtree(old.parent)  # a trial that is no longer in the study
    values: dict[str, set[str | float]] = {}
    for name, value in (pair for _, given, _ in sessions.values() for pair in given.items()):
        values.setdefault(name, set()).add(value)
    every = dict.fromkeys(name for *_, found in sessions.values() for name in found)
    measured = [name for name in FIRST if name in every] + [name for name in every if name not in FIRST]
    for place, (record, given, found) in sessions.items():
        at = (study.root / record.folder / "result.json").stat().st_mtime
        write_bytes(root / place / EVENTS, _events(str(place), given, found, values, measured, at))
    return root


def settings(record: Record) -> dict[str, str | float]:
    """Method, space, data, levels and seed of a trial, for the columns on the left."""
    verdict = record.held["verdict"]
    given: dict[str, str | float | None] = {
        "variant": record.variant, "space": record.space, "data": record.data, **record.levels,
        "seed": float(record.seed), "kind": "baseline" if record.baseline else "variant",
        "verdict": verdict and verdict["state"],
    }  # fmt: skip
    return {name: value for name, value in given.items() if value is not None}


def figures(study: StudyData, record: Record) -> dict[str, float]:
    """Results of a trial: score, metrics of the test, true accuracy, indicators of collapse, time."""
    held, verdict = record.held, record.held["verdict"]
    truth = study.truths.get(record.folder, {})
    found: dict[str, Any] = {
        "score": record.score,
        "seconds/total": sum(held["seconds"].values()),
        **{name: study.last(record, series) for name, series in SERIES.items()},
        **{metrics.TRUTH.of(name): truth.get(name) for name in ("accuracy", "regret", "rank")},
        metrics.VERDICT.name: STATES.get(verdict["state"]) if verdict else None,
        **held["metrics"]["test"],
        "parameters": held["parameters"],
        **{f"seconds/{name}": value for name, value in held["seconds"].items()},
    }
    return {
        name: float(value) for name, value in found.items() if isinstance(value, int | float) and math.isfinite(value)
    }


def _events(
    trial: str, given: Mapping[str, str | float], found: Mapping[str, float],
    values: Mapping[str, set[str | float]], measured: Sequence[str], at: float,
) -> bytes:  # fmt: skip
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
    from tensorboard.plugins.hparams import summary_v2 as hparams
    from tensorboard.summary.writer.record_writer import RecordWriter

    columns = [
        hparams.HParam(name, hparams.Discrete(sorted(map(str, held))) if any(isinstance(v, str) for v in held)
            else hparams.RealInterval(min(held), max(held)))
        for name, held in values.items()
    ]  # fmt: skip
    done = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=at)
    ended = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(session_end_info=done))
    summaries = [
        hparams.hparams_config_pb(columns, [hparams.Metric(name) for name in measured], at),
        hparams.hparams_pb(given, trial, at),
        Summary(value=[Summary.Value(tag=metadata.SESSION_END_INFO_TAG, metadata=ended)]),
        Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in found.items()]),
    ]
    events = [Event(wall_time=at, file_version="brain.Event:2")]
    events += [Event(wall_time=at, summary=summary) for summary in summaries]
    file = io.BytesIO()
    writer = RecordWriter(file)
    for event in events:
        writer.write(event.SerializeToString(deterministic=True))
    return file.getvalue()
