"""How long a study will take and how much memory, from three steps of each of its configurations."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from robustnas.studies.engine import Engine, Job
from robustnas.studies.grid import Cell

STEPS = 3
PROBE = "robustnas.studies.probing:probe_cell"


@dataclass(frozen=True)
class Estimate:
    """What a study will take.

    Args:
        seconds: Seconds of each cell by key, alone on its worker; ``nan`` where the probe failed.
        memory: Most bytes that a worker held, and that it held on a GPU.
        failed: Cells whose configuration could not run, with the reason.
        slots: How many cells run at a time.
    """

    seconds: Mapping[str, float]
    memory: tuple[int, int]
    failed: Mapping[str, str]
    slots: int

    def total(self, keys: Collection[str]) -> float:
        """Seconds of some of the cells, workers loaded evenly.

        Args:
            keys: The cells.

        Returns:
            The seconds; cells whose probe failed count nothing.
        """
        known = [seconds for key, seconds in self.seconds.items() if key in keys and not math.isnan(seconds)]
        return sum(known) / max(1, min(self.slots, len(known)))


def estimate(cells: Sequence[Cell], engine: Engine, function: str = PROBE) -> Estimate:
    """Run three steps of each configuration where the study would run.

    Steps are timed at the start of a search with α already moving; what a search does only later, or once an
    epoch (diagnostics, checkpoints, pictures), is not in it.

    Args:
        cells: The cells; those that differ only in the seed are probed once.
        engine: Where.
        function: What probes a cell, by import path.

    Returns:
        The estimate.
    """
    first: dict[str, Cell] = {}
    for cell in cells:
        first.setdefault(cell.group, cell)
    with tempfile.TemporaryDirectory(prefix="robustnas-probe-") as folder:
        root = Path(folder)
        jobs = [
            Job(group, function, {"root": str(root / group), "cell": asdict(cell)}, str(root / group / "log.txt"))
            for group, cell in first.items()
        ]
        ended = [event for event in engine.run(jobs) if event.kind in ("done", "failed")]
    probes = {event.key: event.value for event in ended if event.kind == "done"}
    return Estimate(
        {cell.key: seconds_of(probes.get(cell.group)) for cell in cells},
        tuple(max((probe[name] for probe in probes.values()), default=0) for name in ("memory", "gpu_memory")),  # type: ignore[arg-type]
        {event.key: event.text for event in ended if event.kind == "failed"},
        engine.slots,
    )


def seconds_of(probe: Mapping[str, Any] | None) -> float:
    """Seconds of a cell: start, and steps and validation batches times how many there are.

    Args:
        probe: What was measured, or ``None`` if it failed.

    Returns:
        The seconds, ``nan`` without a probe.
    """
    if probe is None:
        return math.nan
    return math.fsum(
        stage["start"] + stage["epochs"] * (stage["steps"] * stage["step"] + stage["val_steps"] * stage["val_step"])
        for stage in probe["stages"].values()
    )
