"""The study on TensorBoard's HParams page: a session for each finished trial, written without torch."""

from __future__ import annotations

import io
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robustnas.analysis import metrics as registry
from robustnas.reports.study.study_data import STATES, StudyData
from robustnas.runs.record import write_bytes
from robustnas.studies.results import Record

FOLDER = "tensorboard"
EVENTS = "events.out.tfevents.study"  # one name, so that writing again replaces it
FIRST = (  # five columns are shown at first
    "score", "search/lambda_max", "search/skip_share", registry.REGRET.name, "seconds/total",
)  # fmt: skip
SERIES = {  # metric: series whose last value it is
    "search/lambda_max": registry.CURVATURE.name,
    "search/skip_share": registry.SKIP_SHARE.name,
    "search/gap": registry.GAP.name,
    "search/entropy": registry.ENTROPY.name,
    "search/top1": registry.VAL_TOP1.name,
}


def write_sessions(study: StudyData) -> Path:
    """Write an event file for each finished trial, for ``tensorboard --logdir STUDY/tensorboard``."""
    root = study.root / FOLDER
    sessions = {
        Path(*Path(record.folder).parts[1:]): (record, settings(record), metrics(study, record))
        for record in study.records
    }
    for old in list(root.rglob(EVENTS)):
        if old.parent.relative_to(root) not in sessions:
            shutil.rmtree(old.parent)  # a trial that is no longer in the study
    values: dict[str, set[str | float]] = {}
    for _, given, _ in sessions.values():
        for name, value in given.items():
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


def metrics(study: StudyData, record: Record) -> dict[str, float]:
    """Results of a trial: score, metrics of the test, true accuracy, indicators of collapse, time."""
    held, verdict = record.held, record.held["verdict"]
    truth = study.truths.get(record.folder, {})
    found: dict[str, Any] = {
        "score": record.score,
        "seconds/total": sum(held["seconds"].values()),
        **{name: study.last(record, series) for name, series in SERIES.items()},
        **{f"truth/{name}": truth.get(name) for name in ("accuracy", "regret", "rank")},
        registry.VERDICT.name: STATES.get(verdict["state"]) if verdict else None,
        **held["metrics"]["test"],
        "parameters": held["parameters"],
        **{f"seconds/{name}": value for name, value in held["seconds"].items()},
    }
    return {name: float(value) for name, value in found.items() if _is_number(value)}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _events(
    trial: str, given: Mapping[str, str | float], found: Mapping[str, float],
    values: Mapping[str, set[str | float]], measured: Sequence[str], at: float,
) -> bytes:  # fmt: skip
    """The content of an event file."""
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
