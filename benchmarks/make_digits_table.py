"""Train every distinct cell of NAS-Bench-201 alone on `ClutteredDigits`: the embedded table of accuracies.

    python benchmarks/make_digits_table.py train --out parts              # one process; stop and repeat at any moment
    python benchmarks/make_digits_table.py train --out parts --workers 8
    python benchmarks/make_digits_table.py train --out parts --part 1/3   # a third of the runs, on one of 3 machines
    python benchmarks/make_digits_table.py train --out parts --workers 3 --device cuda --together 440
    python benchmarks/make_digits_table.py status --out parts
    python benchmarks/make_digits_table.py assemble --out parts --to robustnas/tabular/tables

Cells come in random order, so what is finished is a random sample at any moment. Runs of the seeds 1 to 3 for the first
100 cells are spread among those of seed 0. 64 cells are trained side by side; a GPU is busy with several hundred. Each
run adds one line to the file of its part; a run with a line is not repeated. `digits_report.py` prints what the table
shows.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, TextIO

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from digits_recipe import Recipe, Task
from distinct_cells import representatives

from robustnas.data import ClutteredDigits
from robustnas.runs.record import read_json, write_json
from robustnas.spaces import NASBench201, decode

ORDER_SEED = 201
SIDE_BY_SIDE = 64  # cells that are trained together
REPEATED, SEEDS = 100, 4  # cells that are trained with more seeds, and the number of seeds of these


class Run(NamedTuple):
    """A training run: the number of the cell, and the seed."""

    cell: int
    seed: int


@cache
def all_representatives() -> tuple[int, ...]:
    """:func:`distinct_cells.representatives`, computed once."""
    return tuple(representatives())


def all_runs() -> list[Run]:
    """Every run in the order in which they are made; repeated runs come in groups of one seed."""
    cells = sorted(set(all_representatives()))
    Random(ORDER_SEED).shuffle(cells)
    runs = [Run(cell, 0) for cell in cells]
    repeated = [Run(cell, seed) for seed in range(1, SEEDS) for cell in cells[:REPEATED]]
    groups = [repeated[start : start + SIDE_BY_SIDE] for start in range(0, len(repeated), SIDE_BY_SIDE)]
    apart = len(runs) // len(groups)
    ordered: list[Run] = []
    for place, group in enumerate(groups):
        ordered += [*runs[place * apart : (place + 1) * apart], *group]
    return ordered + runs[len(groups) * apart :]


def read_parts(folder: Path) -> dict[Run, Mapping[str, Any]]:
    """The finished runs of all part files; a line that a kill cut off is skipped."""
    found: dict[Run, Mapping[str, Any]] = {}
    for path in sorted(folder.glob("part-*.jsonl")):
        for line in path.read_text().splitlines():
            try:
                entry = json.loads(line)
                found.setdefault(Run(entry["cell"], entry["seed"]), entry)
            except (ValueError, KeyError, TypeError):
                continue
    return found


@contextmanager
def open_part(path: Path) -> Iterator[TextIO]:
    """A part file to append to, for one process at a time."""
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SystemExit(f"Expected no other process to write {path}, but one does.") from error
        file.seek(max(0, file.tell() - 1))
        if file.read() not in {"", "\n"}:  # a cut line
            file.write("\n")
        yield file


def append(file: TextIO, entries: Sequence[Mapping[str, Any]]) -> None:
    """Add lines and force them to disk."""
    file.write("".join(json.dumps(entry) + "\n" for entry in entries))
    file.flush()
    os.fsync(file.fileno())


def describe_task(data: ClutteredDigits, recipe: Recipe) -> dict[str, Any]:
    """What the runs of a folder have in common."""
    train, test = data.load()
    task = {
        "source": data.source,
        "train_sha256": train.content_hash(),
        "test_sha256": test.content_hash(),
        "train_images": len(train),
        "test_images": len(test),
        "train_originals": len(train.reading["originals"]),
        "test_originals": len(test.reading["originals"]),
    }
    return {"task": task, "recipe": recipe.describe()}


def check_folder(folder: Path, wanted: dict[str, Any]) -> None:
    """Write what the runs have in common, or refuse a folder of other runs."""
    path = folder / "task.json"
    if not path.exists():
        write_json(path, wanted)
    held = read_json(path)
    if held != json.loads(json.dumps(wanted)):
        raise SystemExit(f"Expected {path} to be of this task and recipe, but it differs; use another folder.")


def pending(runs: Sequence[Run], done: Mapping[Run, Any], size: int) -> list[Run]:
    """The next runs, of one seed, to make side by side."""
    left = [run for run in runs if run not in done]
    return [run for run in left[: SEEDS * size] if run.seed == left[0].seed][:size]


def train_part(
    folder: Path,
    runs: Sequence[Run],
    part: str,
    recipe: Recipe,
    data: ClutteredDigits,
    device: str = "cpu",
    together: int = SIDE_BY_SIDE,
) -> None:
    """Make those of the runs that are not made yet."""
    torch.set_num_threads(1)
    task, made_on = Task.load(data, device), f"{device}, torch {torch.__version__}"
    with open_part(folder / f"part-{part}.jsonl") as file:
        done = dict(read_parts(folder))
        while group := pending(runs, done, together):
            start = time.perf_counter()
            correct = recipe.train([decode(run.cell, NASBench201) for run in group], task, group[0].seed)
            seconds = round((time.perf_counter() - start) / len(group), 3)
            entries = [
                {"cell": run.cell, "seed": run.seed, "correct": found, "seconds": seconds, "made_on": made_on}
                for run, found in zip(group, correct, strict=True)
            ]
            append(file, entries)
            done.update(zip(group, entries, strict=True))


def train(options: argparse.Namespace) -> None:
    """Make the runs of one part, in one process or several."""
    recipe, data = Recipe(), ClutteredDigits()
    options.out.mkdir(parents=True, exist_ok=True)
    check_folder(options.out, describe_task(data, recipe))
    part, parts = (int(number) for number in options.part.split("/"))
    jobs = []
    for worker in range(options.workers):
        place, step = part + parts * worker, parts * options.workers
        jobs.append(
            (options.out, all_runs()[place::step], f"{place}-of-{step}", recipe, data, options.device, options.together)
        )
    if len(jobs) == 1:
        train_part(*jobs[0])
        return
    with multiprocessing.get_context("spawn").Pool(len(jobs)) as pool:
        pool.starmap(train_part, jobs, chunksize=1)


def status(options: argparse.Namespace) -> None:
    """Say how much is done."""
    done, runs = read_parts(options.out), all_runs()
    mean = float(np.mean([entry["seconds"] for entry in done.values()])) if done else float("nan")
    left = len(set(runs) - set(done))
    hours = left * mean / 3600
    print(f"{len(runs) - left:,} of {len(runs):,} runs, {mean:.2f} s each; {hours:.1f} h of processor time left")


def costs(done: Mapping[Run, Mapping[str, Any]]) -> Counter[str]:
    """Seconds of all runs by the device and version that made them; on a GPU several processes share it."""
    seconds: Counter[str] = Counter()
    for entry in done.values():
        seconds[entry["made_on"]] += entry["seconds"]
    return seconds


def assemble(options: argparse.Namespace) -> None:
    """Write the table of all cells and its manifest."""
    done, runs = read_parts(options.out), all_runs()
    if missing := [run for run in runs if run not in done]:
        raise SystemExit(f"Expected all {len(runs):,} runs, but {len(missing):,} are missing; run `train` again.")
    write_table(options.to, done, read_json(options.out / "task.json"))


def write_table(folder: Path, done: Mapping[Run, Mapping[str, Any]], about: Mapping[str, Any]) -> None:
    """Write `digits.parquet`, a row for each cell in the order of their numbers, and `digits.json`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    trained = all_representatives()
    images = about["task"]["test_images"]
    accuracies = np.array([100 * done[Run(cell, 0)]["correct"] / images for cell in trained], np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    numbers = np.arange(len(trained), dtype=np.int32)
    columns = {"number": numbers, "trained": np.array(trained, np.int32), "digits_test": accuracies}
    pq.write_table(pa.table(columns), folder / "digits.parquet", compression="zstd")
    repeated = sorted({run.cell for run in done if run.seed})
    correct = {str(cell): [done[Run(cell, seed)]["correct"] for seed in range(SEEDS)] for cell in repeated}
    manifest = {
        "schema": 1,
        **about,
        "space": NASBench201.name,
        "cells": len(trained),
        "distinct": len(set(trained)),
        "seed": 0,
        "repeats": {"seeds": SEEDS, "correct": correct},
        "seconds": {made_on: round(seconds) for made_on, seconds in sorted(costs(done).items())},
        "sha256": hashlib.sha256((folder / "digits.parquet").read_bytes()).hexdigest(),
    }
    write_json(folder / "digits.json", manifest)


def main(arguments: list[str] | None = None) -> None:
    """Train, say how much is done, or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    commands = {"train": train, "status": status, "assemble": assemble}
    for name, command in commands.items():
        action = actions.add_parser(name, help=command.__doc__)
        action.add_argument("--out", type=Path, required=True, help="folder of the part files")
    actions.choices["train"].add_argument("--workers", type=int, default=1, help="processes, one thread each")
    actions.choices["train"].add_argument("--device", default="cpu", help="cpu or cuda")
    actions.choices["train"].add_argument(
        "--together", type=int, default=SIDE_BY_SIDE, metavar="N", help="cells that are trained side by side"
    )
    actions.choices["train"].add_argument(
        "--part", default="0/1", metavar="I/N", help="make the I-th of N parts of the runs"
    )
    actions.choices["assemble"].add_argument("--to", type=Path, required=True, help="folder of the table")
    options = parser.parse_args(arguments)
    commands[options.action](options)


if __name__ == "__main__":
    main()
