"""How far the estimates of ``--dry-run`` are off: predicted against measured time and peak memory.

Each configuration is predicted and run, one after the other, each in a process of its own, in several rounds. Time is
from the reading of the options to the end of training or, for evaluations, of the test. By `--clock processor` it is
processor time, on one thread, for predictions and runs alike: on a busy machine, wall time measures the other work too.
Memory is the peak of the resident set, on a GPU that of its allocator.

Example:
    python benchmarks/plans.py --clock processor --rounds 2 --json benchmarks/results/plans_cpu.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from measure import provenance, write
from PIL import Image

from robustnas.cli import lightning_cli
from robustnas.cli.configuration import configuration, train_and_test
from robustnas.planning.probe import Memory, probe, scratch
from robustnas.spaces import find_space, random_genotype

QUIET = ["--trainer.enable_progress_bar=false"]
CLUTTERED = ['--data={"class_path": "ClutteredDigits", "init_args": {"drawings": 2}}']


def found(space: str, folder: Path, **size: Any) -> list[str]:
    """Options of an evaluation of a random genotype, the same each time."""
    file = folder.parent / f"{space}.json"
    file.write_text(random_genotype(find_space(space), Random(0)).to_json(), encoding="utf-8")
    sized = [f"--model.architecture.{name}={value}" for name, value in size.items()]
    return [f"--model.architecture.genotype={file}", f"--model.architecture.space={space}", *sized]


def cases(images: Path) -> dict[str, list[str]]:
    """The configurations, by name: searches and evaluations in three spaces, of three image sizes."""
    folder = [f'--data={{"class_path": "ImageFolder", "init_args": {{"root": "{images}", "image_size": 32}}}}']
    return {
        "search, NAS-Bench-201, 8 channels, 1 cell, batch 32, 8 pixels": [
            "-c", "digits_darts", "--model.space=NASBench201", "--model.layers=null", "--model.cells=1",
            "--data.batch_size=32", "--trainer.max_epochs=6",
        ],
        "search, DARTS, 4 channels, 3 layers, batch 64, 8 pixels": [
            "-c", "digits_darts", "--model.channels=4", "--trainer.max_epochs=3",
        ],
        "evaluation, NAS-Bench-201, 16 channels, 3 cells, batch 64, 8 pixels": [
            "-c", "evaluate_nasbench201", *found("NASBench201", images, channels=16, cells=3), "--data.batch_size=64",
            "--trainer.max_epochs=6",
        ],
        "evaluation, DARTS, 16 channels, 5 layers, batch 32, 12 pixels": [
            "-c", "evaluate_darts", *found("DARTS", images, channels=16, layers=5), *CLUTTERED, "--data.batch_size=32",
            "--trainer.max_epochs=1",
        ],
        "evaluation, MobileSmall, 8 channels, batch 16, own images of 32 pixels": [
            "-c", "evaluate_mobile", *found("MobileSmall", images, channels=8), *folder, "--data.batch_size=16",
            "--trainer.max_epochs=2",
        ],
    }  # fmt: skip


def write_images(root: Path, count: int = 600) -> Path:
    """Noise in four folders, from fixed numbers."""
    numbers = np.random.default_rng(0)
    for index in range(count):
        folder = root / f"class{index % 4}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(numbers.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / f"{index}.png")
    return root


def predicted(words: list[str]) -> dict[str, float]:
    """What the first steps say of the whole run."""
    begin = time.perf_counter()
    with scratch() as folder:
        stage = probe(configuration(words), folder / "run")
    return {"seconds": stage.seconds(), **memory(), "probing": time.perf_counter() - begin}


def measured(words: list[str]) -> dict[str, float]:
    """What the whole run takes."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        given = [*words, f"--run-dir={folder}/run"]
        if "digits_darts" in words:
            lightning_cli.main(["fit", *given])
        else:
            train_and_test("", given)
    return {"seconds": time.perf_counter() - begin, **memory()}


def memory() -> dict[str, float]:
    """Most bytes that were held."""
    held = Memory.now()
    return {"memory": held.gpu or held.resident}


def main() -> None:
    """Predict and run each configuration, in turn, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2, help="times that each is predicted and run")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=("wall", "processor"), default="wall")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--only", default="", help="run the cases whose names hold a text; others in the file stay")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--images", type=Path, help=argparse.SUPPRESS)  # of a process that the benchmark starts
    parser.add_argument("--do", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.do:
        function, name = options.do
        if options.clock == "processor":
            time.perf_counter = time.process_time  # of probes and diagnostics too
        accelerator = f"--trainer.accelerator={'gpu' if options.device == 'cuda' else 'cpu'}"
        words = [*cases(options.images)[name], *QUIET, accelerator]
        print(json.dumps({"predicted": predicted, "measured": measured}[function](words)))
        return
    with tempfile.TemporaryDirectory() as folder:
        images = write_images(Path(folder) / "images")
        rows = json.loads(options.json.read_text())["cases"] if options.only and options.json.exists() else []
        for name in [name for name in cases(images) if options.only in name]:
            rows = [*(row for row in rows if row["case"] != name), compared(options, images, name)]
            held = {**provenance(options, "do", "images", "only"), "machine": "two cores of a server", "cases": rows}
            write(held, options.json)
    print(f"time off by at most {max(row['time_off'] for row in rows):.0%}, ", end="")
    print(f"memory by {max(row['memory_off'] for row in rows):.0%}")


def compared(options: argparse.Namespace, images: Path, name: str) -> dict[str, Any]:
    """One configuration in all rounds: figures, and ratios predicted over measured, of the medians."""
    rounds = []
    for _ in range(options.rounds):
        pair = {}
        for function in ("predicted", "measured"):
            command = [sys.executable, __file__, f"--threads={options.threads}", f"--device={options.device}"]
            command += [f"--clock={options.clock}", "--images", str(images), "--do", function, name]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(done.stderr[-3000:])
            pair[function] = json.loads(done.stdout.splitlines()[-1])
        rounds.append(pair)
    ratios = {
        figure: statistics.median(one["predicted"][figure] / one["measured"][figure] for one in rounds)
        for figure in ("seconds", "memory")
    }
    first = rounds[0]
    print(f"{name}: {first['predicted']['seconds']:.0f} s predicted, {first['measured']['seconds']:.0f} s measured; ",
        *(f"{figure} {ratio:.2f}" for figure, ratio in ratios.items()), flush=True)  # fmt: skip
    off = {"time_off": abs(ratios["seconds"] - 1), "memory_off": abs(ratios["memory"] - 1)}
    return {"case": name, "rounds": rounds, "ratios": ratios, **off}


if __name__ == "__main__":
    main()
