"""The results of a study as records, for tables, statistics and reports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustnas.analysis.metrics import GAP, GAP_LOSS
from robustnas.runs.record import read_json, write_json, write_text
from robustnas.runtime.csv_files import csv_text
from robustnas.studies.trial import Trial

SCHEMA = 2
PROGRESS = "progress.json"  # of a trial: its stages that have ended
LOWER = ("loss", "mse", "mae", "error", "regret", "rank", "latency", "flops", "parameters")
GAPS = (GAP.name, GAP_LOSS.name)  # what the supernet has and the discrete network has not


@dataclass(frozen=True)
class Record:
    """A finished trial: its factors, the value of its score, its folder, and all that ``result.json`` holds."""

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
    def chosen(self) -> Mapping[str, Any] | None:
        """Which seed of its group was chosen, by which ``metric``, ``of`` how many; ``None`` where every one counts."""
        found: Mapping[str, Any] | None = self.held.get("chosen")
        return found

    @property
    def best(self) -> Mapping[str, Any] | None:
        """The best setting of the evaluation: ``value``, ``setting`` and ``of`` how many; ``None`` without settings."""
        found: Mapping[str, Any] | None = (self.held["score"] or {}).get("best")
        return found

    @property
    def under(self) -> dict[str, float]:
        """Setting of the evaluation to the metric that is the score, where it was measured."""
        name = (self.held["score"] or {}).get("name")
        held = self.held.get("settings") or {}
        return {setting: measured[name] for setting, measured in held.items() if name in measured}

    @property
    def task(self) -> tuple[str | None, str | None]:
        """Space and data: what variants are compared on."""
        return self.space, self.data

    @property
    def group(self) -> str:
        """The trial without its seed."""
        return str(Path(self.folder).parent.relative_to("trials").as_posix())


def best_setting(records: Iterable[Record]) -> dict[str, Any] | None:
    """The best of all settings under which what some trials found was trained, of how many; ``None`` without any."""
    found = [(record.best, bool(record.held["score"]["higher_is_better"])) for record in records if record.best]
    if not found:
        return None
    best = max((one for one, _ in found), key=lambda one: one["value"] * (1 if found[0][1] else -1))
    return {**best, "of": sum(one["of"] for one, _ in found)}


def higher_is_better(metric: str) -> bool:
    """Whether more of a metric is better, by its name: not for losses, errors, regret, ranks, costs and gaps."""
    return not metric.startswith(GAPS) and not metric.rpartition("/")[2].lower().endswith(LOWER)


def write_plan(
    root: Path, name: str, trials: Iterable[Trial], published: Mapping[str, Mapping[str, Any]] | None = None
) -> None:
    """Write ``study.json``: the trials of a study, finished or not, and published numbers by variant."""
    listed = [
        {**trial.factors, "folder": trial.folder, "fingerprint": trial.fingerprint,
            **({"choose": trial.choose} if trial.choose else {})}
        for trial in trials
    ]  # fmt: skip
    write_json(root / "study.json", {"schema": SCHEMA, "name": name, "trials": listed, "published": published or {}})


def read_plan(root: Path) -> dict[str, Any]:
    """What :func:`write_plan` wrote; refused where it is no study of this schema."""
    held = read_json(root / "study.json")
    if not isinstance(held, dict) or held.get("schema") != SCHEMA or not isinstance(held.get("trials"), list):
        raise ValueError(f"Expected {root / 'study.json'} to be a study of schema {SCHEMA}, but got another file.")
    return held


def read_results(root: Path) -> list[Record]:
    """The finished trials of a study, in the order of its plan."""
    found = []
    for trial in read_plan(root)["trials"]:
        path = root / trial["folder"] / "result.json"
        if path.is_file():
            held = read_json(path)
            if not isinstance(held, dict) or held.get("schema") != SCHEMA or not isinstance(held.get("trial"), dict):
                raise ValueError(f"Expected {path} to be a result of schema {SCHEMA}, but got another file.")
            place, score = held["trial"], held["score"]
            found.append(Record(**place, score=score and score["value"], folder=trial["folder"], held=held))
    return found


def read_failures(root: Path) -> dict[str, str]:
    """The trials of a study that failed last time: folder to the reason."""
    folders = [trial["folder"] for trial in read_plan(root)["trials"]]
    paths = {folder: root / folder / "failure.json" for folder in folders}
    return {folder: str(read_json(path)["error"]) for folder, path in paths.items() if path.is_file()}


def rows_of(records: Iterable[Record]) -> list[dict[str, Any]]:
    """A row for each finished trial, with everything that is a number or a text."""
    return [_row(record) for record in records]


def write_csv(root: Path, records: Iterable[Record] | None = None) -> Path:
    """Write ``results.csv``, a row for each finished trial, and return its path."""
    write_text(root / "results.csv", csv_text(rows_of(read_results(root) if records is None else records)))
    return root / "results.csv"


def _row(record: Record) -> dict[str, Any]:
    held, verdict = record.held, record.held["verdict"] or {}
    return {
        "variant": record.variant, "space": record.space, "data": record.data, **record.levels, "seed": record.seed,
        "baseline": record.baseline, "score": record.score, "metric": (held["score"] or {}).get("name"),
        **held["metrics"]["test"], **held["metrics"].get("truth", {}), "parameters": held["parameters"],
        **_under_settings(record), **({"chosen": record.chosen["chosen"]} if record.chosen else {}),
        "verdict": verdict.get("state"), "since": verdict.get("since"),
        **{f"seconds/{name}": value for name, value in held["seconds"].items()},
        "processor_seconds": held["processor_seconds"], "device": held["device"], "attempts": held["attempts"],
        "folder": record.folder,
        **{f"search/{name}": value for name, value in held["metrics"]["search"].items()},
    }  # fmt: skip


def _under_settings(record: Record) -> dict[str, Any]:
    """The score under each setting of the evaluation, the best of them, and of how many; nothing without settings."""
    if record.best is None:
        return {}
    return {
        "best": record.best["value"], "best_setting": record.best["setting"], "settings": record.best["of"],
        **{f"score, {setting}": value for setting, value in record.under.items()},
    }  # fmt: skip
