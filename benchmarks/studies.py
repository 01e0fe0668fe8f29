"""What the runner of studies costs over running its trials by hand.

A trial is a search and an evaluation on handwritten digits. By hand they are two calls in this process; by the runner
the same trial goes to a pool of one worker, with a live table, results and progress files. Trials alternate between the
two, and must find the same. Two figures come of it:

- own: processor time of the runner outside those two calls, in the worker and in the process that waits for it, over
  that inside. It needs no comparison of runs, so other work on the machine hardly moves it.
- wall and processor: a trial by the runner over the same trial by hand, pair by pair.

What a worker costs once, its start, is apart.

Example:
    python benchmarks/studies.py --json benchmarks/results/studies_cpu.json
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from measure import provenance, write
from rich.console import Console

from robustnas.cli.configuration import fit, run_of, train_and_test
from robustnas.runs.record import Run
from robustnas.studies.configuration import configured
from robustnas.studies.engine import Event
from robustnas.studies.pool import Pool
from robustnas.studies.progress import Progress
from robustnas.studies.running import RUN_TRIAL, run_trials
from robustnas.studies.trial import Recipe, Trial, training_of

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


def trials(count: int, epochs: int) -> list[Trial]:
    """Trials of one variant that differ in their seeds."""
    search = Recipe((str(CONFIGS / "digits_gdas.yaml"),), {"trainer.max_epochs": epochs})
    small = {f"model.init_args.architecture.init_args.{name}": value for name, value in (("channels", 8), ("cells", 1))}
    evaluation = Recipe((str(CONFIGS / "evaluate_nasbench201.yaml"),), {**small, "trainer.max_epochs": epochs})
    return configured(
        [Trial("GDAS", None, None, {}, k, search_recipe=search, evaluation_recipe=evaluation) for k in range(count)]
    )


def by_hand(trial: Trial, folder: Path) -> dict[str, float]:
    """Two calls, as anyone would write them."""
    assert trial.evaluation is not None
    fit(trial.search, folder / "search", trial.seed)
    sections = training_of(trial.evaluation, str(folder / "search"))
    return train_and_test("", run_of(sections, folder / "evaluation", trial.seed)).metrics


def processor_seconds(pid: int) -> float:
    """Processor time of another process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Meter:
    """Alternates trials by hand with those of the runner, and notes what both cost."""

    def __init__(self, root: Path, todo: list[Trial]) -> None:
        self.root, self.todo = root, {trial.key: trial for trial in todo}
        self.progress = Progress(root, todo, 0, 1, Console(force_terminal=True, file=io.StringIO()))
        self.rows: list[dict[str, float]] = []
        self.shown: Any = None

    def __call__(self, event: Event) -> None:
        self.progress(event)
        if event.kind == "started":
            self.shown = self.progress.shown()
            self.shown.__enter__()
            self.since = time.perf_counter(), time.process_time(), self._worker()
            return
        assert event.kind == "done", event.text
        wall, waiting = time.perf_counter() - self.since[0], time.process_time() - self.since[1]
        processor = waiting + self._worker() - self.since[2]
        self.shown.__exit__(None, None, None)
        trial, folder = self.todo[event.key], self.root / "by-hand" / event.key
        before = time.perf_counter(), time.process_time()
        metrics = by_hand(trial, folder)
        hand = time.perf_counter() - before[0], time.process_time() - before[1]
        assert Run(self.root / trial.folder / "search").genotype() == Run(folder / "search").genotype()
        assert metrics == event.value["metrics"]["test"]
        whole = waiting + self._worker() - self.since[2]
        inside = event.value["processor_seconds"]
        self.rows.append(
            {
                "own": whole / inside - 1, "waiting": waiting, "inside": inside,
                "runner_wall": wall, "runner_processor": processor, "hand_wall": hand[0], "hand_processor": hand[1],
            }
        )  # fmt: skip
        print({name: round(value, 3) for name, value in self.rows[-1].items()}, flush=True)

    def _worker(self) -> float:
        (worker,) = multiprocessing.active_children()
        assert worker.pid is not None
        return processor_seconds(worker.pid)


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=6, help="trials that count; one before them warms up")
    parser.add_argument("--epochs", type=int, default=10, help="epochs of a search and of an evaluation")
    parser.add_argument("--json", type=Path, help="file for ratios and raw figures")
    parser.set_defaults(device="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        todo = trials(options.trials + 1, options.epochs)
        meter = Meter(Path(folder), todo)
        run_trials(Path(folder), todo, Pool(1), meter, RUN_TRIAL)
    first, *rows = meter.rows
    ratios = {"own": statistics.median(row["own"] for row in rows)}
    print(f"own: {ratios['own']:.2%} of the processor time of the runs")
    for kind in ("wall", "processor"):
        ratios[kind] = statistics.median(row[f"runner_{kind}"] / row[f"hand_{kind}"] for row in rows)
        total = sum(row[f"runner_{kind}"] for row in rows) / sum(row[f"hand_{kind}"] for row in rows)
        print(f"{kind}: runner / by hand {ratios[kind]:.4f} (median of pairs), {total:.4f} (sums)")
    start = first["runner_wall"] - statistics.median(row["runner_wall"] for row in rows)
    print(f"start of a worker, once: {start:.1f} s")
    write({**provenance(options), "ratios": ratios, "start_seconds": start, "rows": rows}, options.json)


if __name__ == "__main__":
    main()
