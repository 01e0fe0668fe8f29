r"""DARTS, then BOHB: is a tuned evaluation better than an untuned one, and better than random search?

A cell is found by DARTS. Its training is tuned on validation data, by TPE with Hyperband, and by random search without
early stopping that trains for as many epochs; both confirm their best trials with fresh seeds beside the untuned one.
What each chose, and the untuned configuration, are then trained with other seeds on all images of the training part and
tested once. A seed is the initial weights and the order of images; the arms share seeds, so differences are paired::

    python benchmarks/tuning_study.py --folder runs/tuning-study --out benchmarks/results/tuning.md

The same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import math
import platform
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean

import yaml

from robustnas.__main__ import main as command
from robustnas.analysis.metrics import TEST_TOP1, VAL_TOP1
from robustnas.runs.record import read_json
from robustnas.runtime.csv_files import read_csv
from robustnas.runtime.safe_yaml import read_yaml
from robustnas.statistics.intervals import mean_interval
from robustnas.statistics.pairs import compare

FILE = Path(__file__).with_suffix(".yaml")
SEARCH = [
    "fit", "-c", "digits_darts_second_order", "--model.gradient=FirstOrder", "--model.arch_lr=3e-3", "--model.cells=1",
    "--model.channels=4", "--data=ClutteredDigits", "--data.fractions=[0.4, 0.3, 0.3]",
    "--data.batch_size=64", "--trainer.max_epochs=15", "--trainer.logger=false", "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false", "--diagnostics.measures=[]", "--ckpt_path=auto",
]  # fmt: skip
ARMS = {"tuned by TPE and Hyperband": "bohb", "tuned by random search": "random", "untuned": "untuned"}
FIRST_SEED = 1000  # no seed of a search or a tuning


def tune(folder: Path, name: str, trials: int, workers: int, changed: dict[str, object]) -> tuple[int, float]:
    """Tune, and return the epochs that all trials trained for, and the best mean of the confirmation."""
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump({**read_yaml(FILE), "name": name, **changed}, sort_keys=False), encoding="utf-8")
    words = ["tune", str(file), str(folder / "search"), "--folder", str(folder / name), "--trials", str(trials)]
    if command([*words, "--workers", str(workers)]):
        raise SystemExit(f"{name} failed")
    rows = read_csv(folder / name / "trials.csv").records()
    means: dict[str, list[float]] = {}
    for row in read_csv(folder / name / "confirmation.csv").records():
        means.setdefault(row["trial"], []).append(float(row[VAL_TOP1.name] or "nan"))
    best = max(mean for mean in map(fmean, means.values()) if not math.isnan(mean))
    return sum(int(row["epochs"]) for row in rows), best


def untuned(folder: Path) -> None:
    """Write the configuration that is not tuned."""
    from robustnas.tuning.file import read_tuning
    from robustnas.tuning.plan import planned

    tuning = read_tuning(str(FILE))
    plan = planned(replace(tuning, run=str(folder / "search")))
    (folder / "untuned").mkdir(exist_ok=True)
    text = yaml.safe_dump(plan.sections({}, chosen=True), sort_keys=False)
    (folder / "untuned" / "best.yaml").write_text(text, encoding="utf-8")


def test(job: tuple[str, str, int]) -> float:
    """Train the best configuration of an arm with a seed, and return the accuracy on the test set."""
    folder, arm, seed = job
    run = Path(folder, arm, "tests", f"seed-{seed}")
    if not (run / "test.json").is_file():
        from robustnas.cli.configuration import run_of, train_and_test

        sections = {k: v for k, v in read_yaml(Path(folder, arm, "best.yaml")).items() if k != "seed_everything"}
        train_and_test(arm, run_of(sections, run, seed))
    return float(read_json(run / "test.json")[TEST_TOP1.name])


def report(found: dict[str, Sequence[float]], epochs: dict[str, int], best: dict[str, float], folder: Path) -> str:
    """The results as Markdown."""
    lines = [
        f"| configuration | {TEST_TOP1.name}, %: mean and 95 % interval | n | best on validation, % | epochs |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    named = {arm: said for said, arm in ARMS.items() if arm in found}
    for arm, said in named.items():
        scores = found[arm]
        interval = mean_interval(scores)
        half = (interval.high - interval.low) / 2
        shown = f"{100 * best[arm]:.2f}" if arm in best else ""
        mean = 100 * math.fsum(scores) / len(scores)
        lines.append(f"| {said} | {mean:.2f} ± {100 * half:.2f} | {len(scores)} | {shown} | {epochs.get(arm, 0)} |")
    lines += ["", "| difference | mean | 95 % interval | pairs | won | p (sign-flip) |",
        "| --- | ---: | ---: | ---: | ---: | ---: |"]  # fmt: skip
    for one, other in (("bohb", "untuned"), ("random", "untuned"), ("bohb", "random")):
        if not {one, other} <= set(named):
            continue
        pair = compare(found[one], found[other])
        low, high = 100 * pair.interval.low, 100 * pair.interval.high
        said = f"{named[one]} minus {named[other]}"
        figures = f"{100 * pair.difference:+.2f} | {low:+.2f} to {high:+.2f} | {pair.n} | {pair.wins}"
        lines.append(f"| {said} | {figures} | {pair.permutation:.3f} |")
    lines += ["", "| hyperparameter | " + " | ".join(named.values()) + " |", "| --- |" + " ---: |" * len(named)]
    for name in read_yaml(FILE)["space"]:
        values = [_at(read_yaml(folder / arm / "best.yaml"), name) for arm in named]
        lines.append(f"| `{name}` | " + " | ".join(f"{value:.4g}" for value in values) + " |")
    return "\n".join(lines)


def _at(sections: dict[str, object], name: str) -> float:
    for part in name.split("."):
        sections = sections[part]  # type: ignore[assignment]
    return float(sections)  # type: ignore[arg-type]


def main() -> None:
    """Search, tune, train, test, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/tuning-study"))
    parser.add_argument("--trials", type=int, default=27)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--drawings", type=int, default=3, help="images of each original that is trained on")
    parser.add_argument("--without-random", action="store_true", help="leave out the tuning by random search")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    start, folder = time.time(), options.folder
    if not (folder / "search" / "genotype.json").is_file():
        command([*SEARCH, f"--data.drawings={options.drawings}", f"--run-dir={folder / 'search'}"])
    epochs, best = {}, {}
    epochs["bohb"], best["bohb"] = tune(folder, "bohb", options.trials, options.workers, {})
    arms = [arm for arm in ARMS.values() if arm != "random" or not options.without_random]
    if "random" in arms:
        whole = int(read_yaml(FILE)["options"]["trainer.max_epochs"])
        count = max(1, epochs["bohb"] // whole)
        alone = {"sampler": "random", "pruner": "none"}
        epochs["random"], best["random"] = tune(folder, "random", count, options.workers, alone)
    untuned(folder)
    seeds = range(FIRST_SEED, FIRST_SEED + options.seeds)
    jobs = [(str(folder), arm, seed) for seed in seeds for arm in arms]
    with ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
        scores = dict(zip(jobs, pool.map(test, jobs), strict=True))
    found = {arm: [scores[str(folder), arm, seed] for seed in seeds] for arm in arms}
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "pytorch-lightning", "optuna"))
    text = report(found, epochs, best, folder)
    text += f"\n\nPython {platform.python_version()}, {versions}; {(time.time() - start) / 60:.0f} minutes.\n"
    print(text)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
