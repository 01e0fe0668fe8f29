"""How often the verdict's alarms are right on recorded runs, and how early they come.

    python benchmarks/calibrate_verdict.py robustdarts_runs_s1_cifar10.json.gz --cells nas_bench_201.csv.gz

The runs are the RobustDARTS authors' own searches (automl/RobustDARTS, experiments/search_logs), or others in their
form: the space, and by epoch curvature, genotypes and accuracies. A genotype is the text of the original DARTS code or
of NAS-Bench-201. The published rates are those of S1. A run counts as taken over where more than half of its final
normal cell is skip connections. An alarm is raised if the verdict gives the sign after any epoch, while the run is
under way or at its end; its lead is the number of epochs from then to the one since which skip connections have the
majority. The rates are printed as the table of ``robustnas/analysis/calibration.py`` has them.

With ``--cells``, what the signs of a degenerate genotype say of every cell of NAS-Bench-201: how many they name, how
many of those are less accurate on CIFAR-10 than the mean and the median cell, how many reach 90 %, and the best one.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from robustnas.analysis import History, Verdict, judge
from robustnas.analysis.calibration import Rate
from robustnas.analysis.measures import DEGENERACY, by_chance, degeneracy, measures
from robustnas.analysis.metrics import CURVATURE, SKIP_SHARE, TRAIN_TOP1, VAL_TOP1
from robustnas.analysis.registry import thresholds
from robustnas.runtime.csv_files import read_csv
from robustnas.spaces import Genotype, NASBench201, SearchSpace
from robustnas.spaces.find import KNOWN

SPACES = {name.lower(): space for name, space in KNOWN.items()}  # the authors write s1
CLASSES = {"cifar10": 10, "cifar100": 100, "svhn": 10, "imagenet16-120": 120}
STATES = ("at risk", "collapsed")  # that these runs can be in: α was not recorded, and every supernet learnt


@dataclass(frozen=True)
class Recorded:
    """A recorded run: its name, its settings, its history, and since when skips rule it, if they do at the end."""

    name: str
    weight_decay: float
    drop_path: float
    history: History
    taken_over: int | None


def recorded(path: Path) -> list[Recorded]:
    """Read the runs."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [_run(run) for run in json.load(file)["runs"]]


def _run(run: dict[str, Any]) -> Recorded:
    space = _space(run["space"])
    genotypes = {epoch: _genotype(text, space) for epoch, text in enumerate(run["genotype_per_epoch"])}
    series = {
        CURVATURE.name: dict(zip(run["epochs"], run["dominant_eigenvalue"], strict=True)),
        VAL_TOP1.name: {at: value / 100 for at, value in enumerate(run["valid_acc_per_epoch"])},
        TRAIN_TOP1.name: {at: value / 100 for at, value in enumerate(run["train_acc_per_epoch"])},
    }
    decay, drop_path = run["weight_decay"], run["drop_path_prob"]
    name = f"weight decay {decay:g}, drop path {drop_path:g}, seed {run['seed']}"
    last = len(genotypes) - 1
    classes = CLASSES.get(run["dataset"].lower())
    history = History(space, {}, genotypes, series, len(genotypes), genotypes[last], classes=classes, name=name)
    skips = measures(history)[SKIP_SHARE.name]
    since = next((at for at in skips if all(skips[later] > 0.5 for later in range(at, len(skips)))), None)
    return Recorded(name, decay, drop_path, history, since)


def _space(name: str) -> SearchSpace:
    if name.lower() not in SPACES:
        raise ValueError(f"Expected `space` of a recorded run to be one of {list(KNOWN)}, but got {name!r}.")
    return SPACES[name.lower()]


def _genotype(text: str, space: SearchSpace) -> Genotype:
    if text.startswith("|"):
        return Genotype.from_nasbench201(text, space.name)
    cells = [re.findall(r"\('(\w+)', (\d+)\)", part) for part in re.split(r"\w+_concat=", text)[:2]]
    normal, reduce = ([(operation, int(source)) for operation, source in cell] for cell in cells)
    return Genotype.from_quark0(normal, reduce, space.name)


def verdicts(run: Recorded) -> Iterator[tuple[int, Verdict]]:
    """The verdict after each epoch but the last, and at the end."""
    for epoch in run.history.epochs[:-1]:
        yield epoch, judge(run.history.until(epoch))
    yield run.history.epochs[-1], judge(run.history)


def alarms(run: Recorded) -> dict[str, int]:
    """Name of a sign, or of a state, to the epoch it was first given after."""
    first: dict[str, int] = {}
    for epoch, verdict in verdicts(run):
        names = [evidence.threshold.name for evidence in verdict.evidence]
        states = STATES[: STATES.index(verdict.state) + 1] if verdict.state in STATES else ()
        for name in (*names, *states):
            first.setdefault(name, epoch)
    return first


def rates(runs: list[Recorded], raised: list[dict[str, int]]) -> dict[str, Rate]:
    """Hits, false alarms and lead of every sign and state that can be seen in these runs."""
    table = {}
    for name in (*(row.name for row in thresholds()), *STATES):
        leads = [
            run.taken_over - at[name]
            for run, at in zip(runs, raised, strict=True)
            if run.taken_over is not None and name in at
        ]
        false = sum(name in at for run, at in zip(runs, raised, strict=True) if run.taken_over is None)
        dominated = sum(run.taken_over is not None for run in runs)
        if leads or false:
            lead = float(median(leads)) if leads else None
            table[name] = Rate(len(leads), dominated, false, len(runs) - dominated, lead)
    return table


def cells(path: Path) -> dict[str, tuple[int, float, float, float, float]]:
    """Sign of a degenerate genotype to the cells it names.

    Their number, the shares of them below the mean and the median accuracy and from 90 % on, and the best accuracy.
    """
    rows = [(row["arch"], float(row["cifar10_test_200"])) for row in read_csv(path).records()]
    accuracies = [accuracy for _, accuracy in rows]
    lines = fmean(accuracies), median(accuracies)
    history = History(NASBench201, {}, {0: Genotype.from_nasbench201(rows[0][0])})
    chance = by_chance(history)
    values = [degeneracy(history, Genotype.from_nasbench201(arch)) for arch, _ in rows]
    table = {"every cell": _standing(accuracies, *lines)}
    for row in thresholds():
        if row.series in DEGENERACY and row.weight in ("decides", "notes"):
            bound = row.bound(chance.get(row.series, 0.0))
            named = (row.passes(cell[row.series], bound) for cell in values)
            table[row.name] = _standing([a for a, held in zip(accuracies, named, strict=True) if held], *lines)
    return table


def _standing(accuracies: list[float], mean: float, middle: float) -> tuple[int, float, float, float, float]:
    below = (fmean(value < line for value in accuracies) for line in (mean, middle))
    return len(accuracies), *below, fmean(value >= 90 for value in accuracies), max(accuracies)


def main() -> None:
    """Print the rates and, run by run, when the verdict changed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="the recorded runs")
    parser.add_argument("--cells", type=Path, help="accuracies of the cells of NAS-Bench-201")
    options = parser.parse_args()
    runs = recorded(options.runs)
    raised = [alarms(run) for run in runs]
    print("RATES: dict[str, Rate] = {")
    for name, rate in rates(runs, raised).items():
        lead = rate.lead if rate.lead is None else f"{rate.lead:g}"
        print(f'    "{name}": Rate({rate.hits}, {rate.dominated}, {rate.false}, {rate.others}, {lead}),')
    print("}\n\nrun | skips rule since | at risk first | collapsed first | at the end")
    for run, at in zip(runs, raised, strict=True):
        states = [at.get(state) for state in STATES]
        print(f"{run.name:<42} {run.taken_over!s:>4} {states[0]!s:>4} {states[1]!s:>4}  {judge(run.history).line}")
    if options.cells:
        print("\nNAS-Bench-201 | cells | below the mean | below the median | from 90 % on | best")
        for name, (count, mean, middle, good, best) in cells(options.cells).items():
            print(f"{name:<26} {count:>6} {mean:>6.0%} {middle:>6.0%} {good:>6.1%} {best:>6.2f}")


if __name__ == "__main__":
    main()
