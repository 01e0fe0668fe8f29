"""Choosing among the seeds of a group: of searches that differ only in their seeds the best by validation is kept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robustnas.analysis.metrics import VAL_LOSS
from robustnas.analysis.registry import METRICS
from robustnas.runs.record import read_json
from robustnas.runtime.csv_files import read_csv
from robustnas.studies.results import PROGRESS, higher_is_better
from robustnas.studies.trial import Trial

ROLE = VAL_LOSS.name.partition("/")[0] + "/"  # of metrics of the supernet that may choose; the test set never does


def metric_of(given: Any, seeds: Sequence[int]) -> str | None:
    """The metric that chooses among seeds, by the key ``choose`` of a study; ``None`` without it."""
    if given is None:
        return None
    held = {"metric": given} if isinstance(given, str) else given
    if not isinstance(held, dict) or "metric" not in held or set(held) - {"metric", "among"}:
        raise ValueError(f"Expected `choose` to have a `metric`, and `among: seeds`, but got {given!r}.")
    if held.get("among", "seeds") != "seeds":
        raise ValueError(f"Expected `choose.among` to be seeds, but got {held['among']!r}.")
    known = [name for name in METRICS if name.startswith(ROLE)]
    metric = held["metric"]
    if metric not in known:
        raise ValueError(f"Expected `choose.metric` to be one of {', '.join(known)}, but got {metric!r}.")
    if len(seeds) < 2:
        raise ValueError(f"Expected `seeds` to have two or more to choose among, but got {list(seeds)}.")
    return str(metric)


def searched(root: Path, trial: Trial) -> bool:
    """Whether the search of a trial has ended."""
    path = root / trial.folder / PROGRESS
    held = read_json(path) if path.is_file() else {}
    return held.get("fingerprint") == trial.fingerprint and "search" in held.get("stages", {})


def choices(root: Path, group: Sequence[Trial]) -> dict[str, dict[str, Any]]:
    """Return the key of each trial of a group to what was chosen, and whether it is that one; of equals the first.

    Raises:
        ValueError: If a search did not measure the metric.
    """
    metric = str(group[0].choose)
    values = {trial.key: _last(root / trial.folder / "search" / "metrics.csv", metric) for trial in group}
    sign = 1 if higher_is_better(metric) else -1
    best = max(group, key=lambda trial: (math.isfinite(one := values[trial.key]), sign * one))
    if not math.isfinite(values[best.key]):
        raise ValueError(f"Expected `{metric}` of a search of {best.group} to be finite, but got none that is.")
    return {
        trial.key: {
            "metric": metric, "value": values[trial.key] if math.isfinite(values[trial.key]) else None,
            "chosen": trial is best, "seed": best.seed, "of": len(group),
        }
        for trial in group
    }  # fmt: skip


def _last(path: Path, metric: str) -> float:
    """The last value that a search recorded of a metric."""
    rows: Sequence[Mapping[str, str]] = read_csv(path).records() if path.is_file() else []
    values = [row[metric] for row in rows if row.get(metric)]
    if not values:
        raise ValueError(f"Expected `choose.metric` to be measured by every search, but {path} has no {metric}.")
    return float(values[-1])
