r"""Which methods keep a good cell where plain DARTS loses it, on `ClutteredDigits` with the truth known.

    python benchmarks/collapse_study.py run --out runs --seeds 0-9
    python benchmarks/collapse_study.py run --out runs --methods DARTS GumbelOneHot
    python benchmarks/collapse_study.py table --out runs

The configuration is `configs/collapse.yaml`, with the options of a method added. Searches are those of `robustnas fit`,
seed by seed over all methods, in folders `METHOD/seed-N` with everything that a run keeps. It may be stopped at any
moment, and the same command goes on: a finished search is not repeated, an interrupted one resumes from its checkpoint.
Several processes may each make other seeds. The true accuracy of a genotype is that of the embedded table, or of one
that `--table` names, as for NAS-Bench-201 on small images of CIFAR-10:

    python benchmarks/collapse_study.py run --config benchmarks/collapse_cifar10.yaml --out runs/cifar10 --seeds 0-2 \
        --table data/nas_bench_201.csv.gz --methods DARTS RandomPerturbation

`RandomSearch` and `RegularisedEvolution` train nothing here: they look `--queries` cells up in the table, as many as
could be trained one by one in the time of a search, and keep the best by its true accuracy, which no real search knows.

A search has collapsed by the truth if its last genotype is below the median cell of the space and at least 3 points
below the best genotype of its own epochs. It lost its cell at the first epoch from which on that held until the end.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from robustnas import statistics
from robustnas.analysis import History, judge
from robustnas.cli.configuration import configuration, fit
from robustnas.spaces import Genotype, find_space
from robustnas.studies.searchers import RandomSearch, RegularisedEvolution
from robustnas.tabular import Table
from robustnas.tabular.embedded import NAME
from robustnas.tabular.reading import Column

BASELINES = ("DARTS", "RandomSharing")
SEARCHERS = {"RandomSearch": RandomSearch, "RegularisedEvolution": RegularisedEvolution}
LOST = 3.0  # points below the best epoch
METHODS: dict[str, tuple[str, ...]] = {
    "DARTS": (),
    "RandomPerturbation": ("--model.perturbation=RandomPerturbation",),
    "CurvatureRise": ("--model.stopping=CurvatureRise", "--model.stopping.start=10", "--model.stopping.interval=1"),
    "PartialChannels": ("--model.connection=PartialChannels", "--model.connection.k=2", "--model.edge_weights=true"),
    "LargestDrop": ("--model.selection=LargestDrop", "--model.selection.finetune=0"),
    "GumbelOneHot": ("--model.relaxation=GumbelOneHot",),
    "Sparsemax": ("--model.relaxation=Sparsemax",),
    "RandomSharing": ("--model=RandomSharing",),
    "BinaryGates": ("--model.relaxation=BinaryGates",),
    "AdversarialPerturbation": ("--model.perturbation=AdversarialPerturbation",),
    "Unrolled": ("--model.gradient=Unrolled",),
    "SNAS": ("--model=SNAS",),
    "DrNAS": ("--model=DrNAS",),
    "GAEA": ("--model=GAEA", "--model.arch_lr=0.1"),
    "FairDARTS": ("--model=FairDARTS", "--model.selection=Strongest"),
    "DARTSMinus": ("--model=DARTSMinus",),
    "BetaDARTS": ("--model=BetaDARTS",),
    "OLES": ("--model=OLES",),
    "LambdaDARTS": ("--model=LambdaDARTS",),
    "DA2S": ("--model=DA2S",),
    "Entmax": ("--model.relaxation=Entmax",),
    "Annealed": ("--model.relaxation=Annealed",),
    "drop_path": ("--model.drop_path=0.3",),
    "late_start": ("--model.arch_start=15",),
    "low_temperature": ("--model.relaxation=GumbelOneHot", "--model.relaxation.tau_start=1"),
    "perturbed_partial": (
        "--model.perturbation=RandomPerturbation", "--model.connection=PartialChannels", "--model.connection.k=2",
        "--model.edge_weights=true",
    ),
    "perturbed_sampled": (
        "--model.perturbation=RandomPerturbation", "--model.selection=BestOfSampled", "--model.selection.source=alpha",
    ),
}  # fmt: skip


@cache
def known(space: str, table: str) -> Table:
    """A table of the architectures of a space."""
    return Table.read_cached(table).within(find_space(space))


def truth(genotypes: Iterable[Genotype], table: str) -> list[float]:
    """The true accuracy of each genotype, in percent."""
    tables = ((genotype, known(genotype.space, table)) for genotype in genotypes)
    return [found.accuracy(genotype, found.usual_column) for genotype, found in tables]


def accuracies_of(space: str, table: str) -> Column:
    """The true accuracies of all cells of a space, in percent."""
    found = known(space, table)
    return found.column(found.usual_column)


def cells_of(space: str, best: float, table: str) -> str:
    """What random cells of a space reach, and how many would count as collapsed after a best epoch of ``best``."""
    accuracies = accuracies_of(space, table)
    bad = np.mean((accuracies < np.median(accuracies)) & (accuracies <= best - LOST))
    return (
        f"mean {accuracies.mean():.2f}, median {np.median(accuracies):.2f}, best {accuracies.max():.2f} in {space}; "
        f"{bad:.0%} of them would count as collapsed"
    )


def looked_up(space: str, table: str, seeds: Iterable[int], queries: int) -> dict[str, dict[int, float]]:
    """The true accuracy of what each searcher finds with so many queries of the table, by seed."""
    evaluate = known(space, table).evaluator(known(space, table).usual_column)

    def found(kind: type[RandomSearch | RegularisedEvolution], seed: int) -> float:
        trace = kind(evaluations=queries).run(find_space(space), Random(seed), evaluate)
        return truth([trace.incumbent.genotype], table)[0]

    return {name: {seed: found(kind, seed) for seed in seeds} for name, kind in SEARCHERS.items()}


@dataclass(frozen=True)
class Search:
    """What a finished search found, by the truth and by its verdict."""

    space: str
    final: float  #: true accuracy of its result
    epochs: dict[int, float]  #: true accuracy of the genotype of each epoch
    skips: int  #: skip connections of its result
    state: str  #: of the verdict
    rise: int | None  #: first epoch at which the curvature had risen
    lost: int | None  #: epoch at which the good cell was lost

    @property
    def best(self) -> float:
        """True accuracy of the best genotype of an epoch."""
        return max(self.epochs.values())

    @classmethod
    def read(cls, folder: Path, table: str = NAME) -> Search:
        """Read the folder of a run, with the true accuracies of a table."""
        history = History.of_run(folder)
        if history.final is None or not history.genotypes:
            raise ValueError(f"Expected {folder} to hold a finished search with its genotypes, but it does not.")
        epochs = dict(zip(history.genotypes, truth(history.genotypes.values(), table), strict=True))
        (final,) = truth([history.final], table)
        verdict = judge(history)
        rises = [sign.since for sign in verdict.evidence if sign.threshold.name == "curvature_rise"]
        skips = sum(choice.operation == "skip_connect" for choice in history.final.cells["cell"])
        lost = lost_at({**epochs, max(epochs): final}, float(np.median(accuracies_of(history.final.space, table))))
        return cls(history.final.space, final, epochs, skips, verdict.state, rises[0] if rises else None, lost)


def lost_at(accuracies: Mapping[int, float], median: float) -> int | None:
    """The first epoch from which on a search was collapsed by the truth, or ``None`` if it is not at the end."""
    best, since = -np.inf, None
    for epoch, accuracy in sorted(accuracies.items()):
        best = max(best, accuracy)
        collapsed = accuracy < median and accuracy <= best - LOST
        since = (epoch if since is None else since) if collapsed else None
    return since


def folder_of(out: Path, method: str, seed: int) -> Path:
    """The folder of a search."""
    return out / method / f"seed-{seed}"


def run(options: argparse.Namespace) -> None:
    """Make the searches that are missing, seed by seed."""
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    for seed in seeds_of(options.seeds):
        for method in options.methods:
            folder = folder_of(options.out, method, seed)
            if not (folder / "genotype.json").exists():
                given = configuration(["-c", options.config, *METHODS[method], *options.set])
                fit(given, folder, seed)
            found = Search.read(folder, options.table)
            print(f"{method} seed {seed}: {found.final:.2f}, best {found.best:.2f}, {found.state}", flush=True)


def table(options: argparse.Namespace) -> None:
    """Print what the finished searches show."""
    found = {
        method: {
            seed: Search.read(folder, options.table)
            for seed in seeds_of(options.seeds)
            if ((folder := folder_of(options.out, method, seed)) / "genotype.json").exists()
        }
        for method in options.methods
    }
    every = [search for searches in found.values() for search in searches.values()]
    best = float(np.median([search.best for search in every]))
    spaces = sorted({search.space for search in every})
    cells = "; ".join(cells_of(space, best, options.table) for space in spaces)
    print(f"True accuracy in percent, mean and 95 % interval (t). Random cells: {cells}\n")
    print("| method | n | end | best epoch | collapsed | skips | verdicts | rise before loss |")
    print("|---|---|---|---|---|---|---|---|")
    for method, searches in found.items():
        if searches:
            print(row(method, list(searches.values())))
    finals = {method: {seed: search.final for seed, search in searches.items()} for method, searches in found.items()}
    if len(spaces) == 1 and options.queries:
        finals |= looked_up(spaces[0], options.table, seeds_of(options.seeds), options.queries)
    for name in (name for name in SEARCHERS if name in finals):
        print(
            f"| {name}, {options.queries} cells | {len(finals[name])} | {_mean(list(finals[name].values()))} |"
            + " |" * 5
        )
    print(f"\n{agreement(every)}\n")
    for baseline in BASELINES:
        print("\n".join([*differences(finals, baseline), ""]))


def row(method: str, searches: Sequence[Search]) -> str:
    """A line of the table."""
    states = [search.state for search in searches]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    both = [search.lost - search.rise for search in searches if search.lost is not None and search.rise is not None]
    lost = sum(search.lost is not None for search in searches)
    lead = f"{sum(by > 0 for by in both)} of {lost}" if lost else "-"
    ends, bests = ([getattr(search, name) for search in searches] for name in ("final", "best"))
    skips = np.mean([search.skips for search in searches])
    return f"| {method} | {len(searches)} | {_mean(ends)} | {_mean(bests)} | {lost} | {skips:.1f} | {counts} | {lead} |"


def agreement(searches: Sequence[Search]) -> str:
    """How often the verdict "collapsed" is right by the truth."""
    judged = [(search.state == "collapsed", search.lost is not None) for search in searches]
    return (
        f"Verdict of {len(judged)} searches: {judged.count((True, True))} collapses seen, "
        f"{judged.count((False, True))} missed, {judged.count((True, False))} false alarms, "
        f"{judged.count((False, False))} rightly without."
    )


def differences(finals: Mapping[str, Mapping[int, float]], baseline: str) -> list[str]:
    """Paired differences of each method to another, over the seeds that both have; p-values are not corrected."""
    lines = []
    for method, scores in finals.items():
        if method == baseline or len(set(scores) & set(finals.get(baseline, {}))) < 2:
            continue
        pairs = statistics.match(scores, finals[baseline])
        result = statistics.compare(pairs.first, pairs.second)
        lines.append(
            f"{method} - {baseline}: {result.difference:+.2f}, {result.interval:.2f}, n = {result.n}, permutation test "
            f"p = {result.permutation:.3f} (at least {result.smallest_p:.3f})"
        )
    return lines


def _mean(values: Sequence[float]) -> str:
    found = statistics.summarise(values)
    return f"{found.mean:.1f}" + (f" [{found.interval.low:.1f}, {found.interval.high:.1f}]" if found.interval else "")


def seeds_of(text: str) -> range:
    """Seeds such as ``0-9`` or ``3``."""
    first, dash, last = text.partition("-")
    ends = (first, last if dash else first)
    if not all(end.isdecimal() for end in ends) or int(ends[0]) > int(ends[1]):
        raise ValueError(f"Expected `--seeds` to be a seed or a range such as 0-9, but got {text!r}.")
    return range(int(ends[0]), int(ends[1]) + 1)


def main(arguments: list[str] | None = None) -> None:
    """Make searches, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    for name, command in {"run": run, "table": table}.items():
        action = actions.add_parser(name, help=command.__doc__)
        action.add_argument("--out", type=Path, required=True, help="folder of the searches")
        action.add_argument("--seeds", default="0-9", help="seeds, such as 0-9 or 3")
        action.add_argument("--table", default=NAME, help="true accuracies: `digits`, or the file of a table")
        action.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="METHOD")
        action.set_defaults(act=command)
    actions.choices["table"].add_argument(
        "--queries", type=int, default=0, help="cells that random search and evolution look up; default: neither"
    )
    actions.choices["run"].add_argument("--config", default="collapse", help="configuration of plain DARTS")
    actions.choices["run"].add_argument(
        "--set", action="append", default=[], metavar="OPTION", help="one more option of `fit`, such as --set=--X=Y"
    )
    options = parser.parse_args(arguments)
    options.act(options)


if __name__ == "__main__":
    main()
