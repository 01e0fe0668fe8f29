"""What the table of the digits shows: spreads, seeds, agreement with NAS-Bench-201, cost; also of an unfinished table.

    python benchmarks/digits_report.py parts --published nas_bench_201.csv.gz --retrain 10

A cell counts as often as there are cells with its function: figures over all cells are those of the 15,625.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from digits_recipe import Recipe, Task
from make_digits_table import Run, all_representatives, read_parts

from robustnas.data import ClutteredDigits
from robustnas.runs.record import read_json
from robustnas.spaces import Genotype, NASBench201, decode, encode
from robustnas.tabular import Table

Array = npt.NDArray[np.float64]
CHANCE = 15.0  # percent; no cell below it learns anything of ten classes
ALONE = "|none~0|+|none~0|none~1|+|{0}~0|none~1|none~2|"
ON_ALL = "|{0}~0|+|{0}~0|{0}~1|+|{0}~0|{0}~1|{0}~2|"
NAMED = {
    "no path": ALONE.format("none"),
    "one skip": ALONE.format("skip_connect"),
    "all skips": ON_ALL.format("skip_connect"),
    "all poolings": ON_ALL.format("avg_pool_3x3"),
    "all 1x1": ON_ALL.format("nor_conv_1x1"),
    "all 3x3": ON_ALL.format("nor_conv_3x3"),
    "best on CIFAR-10": "|{0}~0|+|{0}~0|{0}~1|+|skip_connect~0|{0}~1|nor_conv_1x1~2|".format("nor_conv_3x3"),
}


class Results(NamedTuple):
    """Accuracies in percent of seed 0 by representative, and those of several seeds, ``[cells, seeds]``."""

    accuracy: Mapping[int, float]
    repeated: Array
    seconds: float

    @classmethod
    def read(cls, folder: Path) -> Results:
        """The finished runs of a folder of part files."""
        done = read_parts(folder)
        percent = 100 / read_json(folder / "task.json")["task"]["test_images"]
        first = {run.cell: percent * entry["correct"] for run, entry in done.items() if run.seed == 0}
        seeds = [sorted(run.seed for run in done if run.cell == cell) for cell in first]
        common = [(cell, found) for cell, found in zip(first, seeds, strict=True) if len(found) > 1]
        fewest = min((len(found) for _, found in common), default=0)
        rows = [[percent * done[Run(cell, seed)]["correct"] for seed in found[:fewest]] for cell, found in common]
        return cls(first, np.array(rows, float).reshape(len(rows), fewest), sum(e["seconds"] for e in done.values()))


def spread_of_seeds(repeated: Array) -> tuple[float, float, float]:
    """Pooled standard deviation of the seeds of a cell, and its 95 % interval."""
    variance, freedom = float(repeated.var(axis=1, ddof=1).mean()), repeated.shape[0] * (repeated.shape[1] - 1)
    low, high = (variance * freedom / stats.chi2.ppf(q, freedom) for q in (0.975, 0.025))
    return variance**0.5, float(low) ** 0.5, float(high) ** 0.5


def bootstrap(statistic: Callable[[Array, Array], float], x: Array, y: Array, resamples: int = 200) -> str:
    """A statistic of pairs with its 95 % bootstrap interval."""
    generator = np.random.default_rng(0)
    draws = [generator.integers(len(x), size=len(x)) for _ in range(resamples)]
    low, high = np.quantile([statistic(x[rows], y[rows]) for rows in draws], (0.025, 0.975))
    return f"{statistic(x, y):.3f} [{low:.3f}, {high:.3f}]"


def spreads(results: Results) -> list[str]:
    """Standard deviations between cells and between seeds, and their ratio."""
    known = np.array([results.accuracy[cell] for cell in all_representatives() if cell in results.accuracy])
    lines = [f"cells: {len(known):,} of 15,625, with {len(results.accuracy):,} of 4,954 functions"]
    learning = results.repeated[results.repeated.mean(axis=1) > CHANCE] if results.repeated.size else results.repeated
    for name, values, repeated in (
        ("all cells", known, results.repeated),
        ("cells that learn", known[known > CHANCE], learning),
    ):
        text = f"{name}: n {len(values):,}, mean {values.mean():.2f}, median {np.median(values):.2f}, "
        text += f"best {values.max():.2f}, spread {values.std(ddof=1):.2f}"
        if len(repeated) > 1:
            seeds, low, high = spread_of_seeds(repeated)
            between = max(0.0, values.var(ddof=1) - seeds**2) ** 0.5  # without the part that is chance
            text += f", without chance {between:.2f}; seeds {seeds:.2f} [{low:.2f}, {high:.2f}] "
            text += f"({len(repeated)} cells x {repeated.shape[1]} seeds), "
            text += f"ratio {between / seeds:.1f} [{between / high:.1f}, {between / low:.1f}]"
        lines.append(text)
    return lines


def agreement(results: Results, published: Path, column: str) -> list[str]:
    """Rank correlations with a published table over functions, whose published accuracy is a mean over their cells."""
    table = Table.read(published)
    values = table.column(column).astype(float)
    sums, counts = Counter[int](), Counter[int]()
    for number, value in zip(table.numbers.tolist(), values.tolist(), strict=True):
        cell = all_representatives()[number]
        sums[cell] += value
        counts[cell] += 1
    cells = [cell for cell in results.accuracy if counts[cell]]
    ours, theirs = np.array([results.accuracy[cell] for cell in cells]), np.array([sums[c] / counts[c] for c in cells])
    lines = []
    best = theirs >= np.quantile(theirs, 0.5)
    for name, chosen in (("all", np.full(len(ours), True)), ("upper half of the published", best)):
        x, y = ours[chosen], theirs[chosen]
        spearman = bootstrap(lambda a, b: float(stats.spearmanr(a, b)[0]), x, y)
        kendall = bootstrap(lambda a, b: float(stats.kendalltau(a, b)[0]), x, y)
        lines.append(f"{column}, {name}: n {len(x):,}, Spearman {spearman}, Kendall {kendall}")
    return lines


def named(results: Results) -> list[str]:
    """Accuracies of cells that everybody asks for."""
    lines = []
    for name, text in NAMED.items():
        cell = all_representatives()[encode(Genotype.from_nasbench201(text), NASBench201)]
        found = results.accuracy.get(cell)
        lines.append(f"{name}: " + ("not trained yet" if found is None else f"{found:.2f}"))
    return lines


def retrained(results: Results, count: int) -> list[str]:
    """Train some cells again, with seed 0, one at a time, and with a seed that the table has not seen."""
    cells = Random(1).sample(sorted(results.accuracy), count)
    task, recipe = Task.load(ClutteredDigits()), Recipe()
    percent = 100 / len(task.test_labels)
    lines, gaps = [], []
    for cell in cells:
        held = results.accuracy[cell]
        same, other = (percent * recipe.train([decode(cell, NASBench201)], task, seed)[0] for seed in (0, 1000))
        gaps.append((same - held, other - held))
        lines.append(f"  cell {cell}: table {held:.2f}, again {same:.2f}, another seed {other:.2f}")
    same_gap, other_gap = np.sqrt(np.square(np.array(gaps)).mean(axis=0))
    seeds = spread_of_seeds(results.repeated)[0] if len(results.repeated) > 1 else float("nan")
    verdict = f"root mean square difference {same_gap:.2f} again and {other_gap:.2f} with another seed"
    return [f"trained again: {verdict}; expected of another seed {2**0.5 * seeds:.2f}", *lines]


def main(arguments: list[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", type=Path, help="folder of the part files")
    parser.add_argument("--published", type=Path, help="table of NAS-Bench-201")
    parser.add_argument("--column", default="cifar10_test_200", help="its column")
    parser.add_argument("--retrain", type=int, default=0, metavar="N", help="train N cells again")
    parser.add_argument("--table", type=Path, help="Parquet file, for its size")
    options: Any = parser.parse_args(arguments)
    results = Results.read(options.parts)
    lines = [*spreads(results), *named(results)]
    if options.published:
        lines += agreement(results, options.published, options.column)
    lines.append(f"processor time: {results.seconds / 3600:.2f} h")
    if options.table:
        lines.append(f"size: {options.table.stat().st_size:,} bytes")
    print("\n".join(lines), flush=True)
    if options.retrain:
        print("\n".join(retrained(results, options.retrain)))


if __name__ == "__main__":
    main()
