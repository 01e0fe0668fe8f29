"""How long a study will take and how much memory, from the first steps of each of its configurations."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustnas.studies.engine import Engine, Job
from robustnas.studies.trial import EVALUATION, Trial

PROBE = "robustnas.studies.probing:probe_trial"


@dataclass(frozen=True)
class Estimate:
    """What a study will take, by the first steps of its configurations (:mod:`robustnas.planning.probe`)."""

    seconds: Mapping[str, float]  # of each trial by key, alone on its worker; nan where the probe failed
    memory: tuple[int, int]  # most bytes that a worker held, and that it held on a GPU
    failed: Mapping[str, str]  # trials whose configuration could not run, with the reason
    slots: int

    def total(self, keys: Collection[str]) -> float:
        """Seconds of some of the trials, workers loaded evenly; trials whose probe failed count nothing."""
        known = [seconds for key, seconds in self.seconds.items() if key in keys and not math.isnan(seconds)]
        return sum(known) / max(1, min(self.slots, len(known)))


def estimate(trials: Sequence[Trial], engine: Engine, function: str = PROBE) -> Estimate:
    """Run the first steps of each configuration, once for all seeds, where the study would run."""
    first: dict[str, Trial] = {}
    for trial in trials:
        first.setdefault(trial.group, trial)
    with tempfile.TemporaryDirectory(prefix="robustnas-probe-") as folder:
        root = Path(folder)
        jobs = [
            Job(group, function, {"root": str(root / group), "trial": trial}, str(root / group / "log.txt"))
            for group, trial in first.items()
        ]
        ended = [event for event in engine.run(jobs) if event.kind in ("done", "failed")]
    probes = {event.key: event.value for event in ended if event.kind == "done"}
    seeds = Counter(trial.group for trial in trials)
    return Estimate(
        {
            trial.key: seconds_of(probes.get(trial.group), 1.0 if trial.choose is None else 1 / seeds[trial.group])
            for trial in trials
        },
        tuple(max((probe[name] for probe in probes.values()), default=0) for name in ("memory", "gpu_memory")),  # type: ignore[arg-type]
        {event.key: event.text for event in ended if event.kind == "failed"},
        engine.slots,
    )


def seconds_of(probe: Mapping[str, Any] | None, evaluated: float = 1.0) -> float:
    """Return the seconds of a trial by what was measured of its stages; ``nan`` without a probe.

    ``evaluated`` is the share of its group that is trained from scratch.
    """
    if probe is None:
        return math.nan
    return math.fsum(
        (evaluated if name.startswith(EVALUATION) else 1.0) * times * stage.seconds()
        for name, (stage, times) in probe["stages"].items()
    )
