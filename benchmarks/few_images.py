r"""Which batch and step size suit a few hundred images, when every run may take the same time?

A cell drawn at random is trained on a few hundred images and tested on others: with each batch, and with the step
size of the recipe or one in proportion to the batch. A setting gets as many epochs as fit into the time, by its first
steps, so small batches get fewer. Seeds are shared: that of a run draws the cell, the initial weights, and the order::

    python benchmarks/few_images.py --seconds 60 --seeds 3 --out benchmarks/results/few_images.md

Images are the digits of scikit-learn, and circles, squares and triangles of random colours on random colours.
The same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from random import Random
from statistics import fmean

import torch
from measure import processor
from PIL import Image, ImageDraw

from robustnas.analysis.metrics import TEST_TOP1
from robustnas.cli.configuration import configuration, train_and_test
from robustnas.planning.probe import probe, scratch
from robustnas.runs.record import read_json
from robustnas.spaces import find_space, random_genotype
from robustnas.statistics.intervals import mean_interval

SHAPES = ("circle", "square", "triangle")
PER_CLASS = {"train": 160, "test": 200}
BATCHES = (8, 16, 32, 64)
RECIPE = {"lr": 0.025, "batch": 96}
DATA = {
    "digits of 8 pixels": "Digits",
    "shapes of 32 pixels": "shapes",
}


def draw_shapes(folder: Path) -> None:
    """Draw the images of each class and part."""
    numbers = Random(0)
    for part, count in PER_CLASS.items():
        for kind in SHAPES:
            (folder / part / kind).mkdir(parents=True, exist_ok=True)
            for index in range(count):
                _shape(kind, numbers).save(folder / part / kind / f"{index:03}.png")


def _shape(kind: str, numbers: Random) -> Image.Image:
    ground, colour = (tuple(numbers.randrange(256) for _ in range(3)) for _ in range(2))
    image = Image.new("RGB", (32, 32), ground)
    pen, radius = ImageDraw.Draw(image), numbers.randint(5, 11)
    x, y = (numbers.randint(radius, 31 - radius) for _ in range(2))
    box = (x - radius, y - radius, x + radius, y + radius)
    if kind == "circle":
        pen.ellipse(box, fill=colour)
    elif kind == "square":
        pen.rectangle(box, fill=colour)
    else:
        pen.polygon([(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)], fill=colour)
    return image


def options_of(folder: Path, data: str, batch: int, scaled: bool, seed: int, extra: list[str]) -> list[str]:
    """The options of a run, but for its epochs."""
    kind = DATA[data]
    genotype = folder / f"genotype-{seed}.json"
    genotype.write_text(random_genotype(find_space("DARTS"), Random(seed)).to_json(), encoding="utf-8")
    held = {"class_path": "Digits", "init_args": {"test_fraction": 0.7}}
    if kind != "Digits":
        held = {"class_path": "ImageFolder", "init_args": {"root": str(folder / kind), "image_size": 32}}
    lr = RECIPE["lr"] * batch / RECIPE["batch"] if scaled else RECIPE["lr"]
    return [
        "-c", "evaluate_darts", f"--model.architecture.genotype={genotype}", "--model.architecture.space=DARTS",
        "--model.architecture.channels=8", "--model.architecture.layers=5", f"--data={json.dumps(held)}",
        f"--data.batch_size={batch}", f"--model.lr={lr}", "--trainer.logger=false",
        "--trainer.enable_progress_bar=false", f"--seed_everything={seed}", "--trainer.accelerator=cpu", *extra,
    ]  # fmt: skip


def run(job: tuple[Path, str, int, bool, int, int, list[str]]) -> float:
    """Train and test, and return the accuracy; that of an earlier call if it ended."""
    folder, data, batch, scaled, seed, epochs, extra = job
    at = folder / "runs" / DATA[data] / f"{batch}-{'scaled' if scaled else 'recipe'}-{seed}"
    if not (at / "test.json").is_file():
        words = options_of(folder, data, batch, scaled, seed, extra)
        train_and_test("", [*words, f"--trainer.max_epochs={epochs}", f"--run-dir={at}"])
    return float(read_json(at / "test.json")[TEST_TOP1.name])


def epochs_of(folder: Path, seconds: float, extra: list[str]) -> dict[str, dict[int, int]]:
    """Epochs by data and batch that fit into the time."""
    kept = folder / "epochs.json"
    if not kept.is_file():
        found: dict[str, dict[int, int]] = {}
        for data in DATA:
            for batch in BATCHES:
                with scratch() as at:
                    stage = probe(configuration(options_of(folder, data, batch, False, 0, extra)), at / "run")
                found.setdefault(data, {})[batch] = max(1, stage.epochs_within(seconds))
        kept.write_text(json.dumps(found), encoding="utf-8")
    return {data: {int(batch): epochs for batch, epochs in row.items()} for data, row in read_json(kept).items()}


def main() -> None:
    """Measure, train, test, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/few-images"))
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("extra", nargs="*", help="options of the runs, after --")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if not (options.folder / "shapes").is_dir():
        draw_shapes(options.folder / "shapes")
    epochs = epochs_of(options.folder, options.seconds, options.extra)
    settings = [(data, batch, scaled) for data in DATA for scaled in (False, True) for batch in BATCHES]
    jobs = [
        (options.folder, data, batch, scaled, seed, epochs[data][batch], options.extra)
        for seed in range(options.seeds)
        for data, batch, scaled in settings
    ]
    with ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
        scores = list(pool.map(run, jobs))
    lines = ["| images | batch | step size | epochs | test accuracy, %, and 95 % interval |", "|---|---:|---|---:|---|"]
    for index, (data, batch, scaled) in enumerate(settings):
        mine = [100 * score for score in scores[index :: len(settings)]]
        interval = mean_interval(mine)
        lr = f"{RECIPE['lr'] * batch / RECIPE['batch']:.3g}" if scaled else f"{RECIPE['lr']}"
        shown = f"{fmean(mine):.1f} [{interval.low:.1f}, {interval.high:.1f}]"
        lines.append(f"| {data} | {batch} | {lr} | {epochs[data][batch]} | {shown} |")
    text = "\n".join(lines) + "\n"
    print(text)
    if options.out:
        where = f"Python {sys.version.split()[0]}, torch {torch.__version__}, {processor()}."
        options.out.write_text(f"{text}\n{where}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
