"""The study on TensorBoard's HParams page: a session for each finished trial, written without torch."""

from __future__ import annotations

import io
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robustnas.analysis import metrics as registry
from robustnas.reports.study.study_data import STATES, StudyData
from robustnas.runs.record import write_bytes
from robustnas.studies.results import Record

FOLDER = "tensorboard"
EVENTS = "events.out.tfevents.study"  # one name, so that writing again replaces it
FIRST = (
    "score",
    "search/lambda_max",
    "search/skip_share",
    registry.REGRET.name,
    "seconds/total",
)  # five are shown at first
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
    names = dict.fromkeys(name for _, given, _ in sessions.values() for name in given)
    kinds = {name: next(type(given[name]) for _, given, _ in sessions.values() if name in given) for name in names}
    every = dict.fromkeys(name for *_, found in sessions.values() for name in found)
    measured = [name for name in FIRST if name in every] + [name for name in every if name not in FIRST]
    for place, (record, given, found) in sessions.items():
        at = (study.root / record.folder / "result.json").stat().st_mtime
        write_bytes(root / place / EVENTS, _events(given, found, kinds, measured, at))
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
    given: Mapping[str, str | float],
    found: Mapping[str, float],
    kinds: Mapping[str, type],
    measured: list[str],
    at: float,
) -> bytes:
    """The content of an event file."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.plugins.hparams import api_pb2
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
    from tensorboard.summary.writer.record_writer import RecordWriter

    types = {str: api_pb2.DATA_TYPE_STRING, float: api_pb2.DATA_TYPE_FLOAT64}
    experiment = api_pb2.Experiment(
        hparam_infos=[api_pb2.HParamInfo(name=name, type=types[kind]) for name, kind in kinds.items()],
        metric_infos=[api_pb2.MetricInfo(name=api_pb2.MetricName(tag=name)) for name in measured],
    )
    start = SessionStartInfo(start_time_secs=at)
    for name, value in given.items():
        if isinstance(value, str):
            start.hparams[name].string_value = value
        else:
            start.hparams[name].number_value = value
    end = SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=at)
    plugins = {
        "_hparams_/experiment": HParamsPluginData(experiment=experiment),
        "_hparams_/session_start_info": HParamsPluginData(session_start_info=start),
        "_hparams_/session_end_info": HParamsPluginData(session_end_info=end),
    }
    events = [Event(wall_time=at, file_version="brain.Event:2")]
    for name, data in plugins.items():
        content = SummaryMetadata.PluginData(plugin_name="hparams", content=data.SerializeToString())
        value = Summary.Value(tag=name, metadata=SummaryMetadata(plugin_data=content))
        events.append(Event(wall_time=at, summary=Summary(value=[value])))
    scalars = [Summary.Value(tag=name, simple_value=value) for name, value in found.items()]
    events.append(Event(wall_time=at, step=0, summary=Summary(value=scalars)))
    file = io.BytesIO()
    writer = RecordWriter(file)
    for event in events:
        writer.write(event.SerializeToString())
    return file.getvalue()
