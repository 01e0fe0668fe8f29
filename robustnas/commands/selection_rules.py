"""The rules that ``robustnas select --compare`` shows side by side; none of them trains."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Lines

from robustnas.analysis.history import part
from robustnas.cli.configuration import instance_of
from robustnas.diagnostics import TrueAccuracy
from robustnas.runs.record import SCHEMA, read_json, write_json
from robustnas.spaces import Genotype, SearchSpace
from robustnas.strategies import BestOfSampled, LargestDrop, Selection, Strongest
from robustnas.strategies.selection import Selected
from robustnas.training.description import plain
from robustnas.training.ended_search import Ended

NAMES = {  # in the table, by name of the folder
    "strongest": "Strongest",
    "largest_drop": "LargestDrop, one shot",
    "sampled_by_alpha": "BestOfSampled, by α",
    "sampled_uniformly": "BestOfSampled, uniform",
}


def rules_of(options: list[str]) -> dict[str, Selection]:
    """The rules by folder; the options are those of BestOfSampled, and LargestDrop follows those that it has too."""
    given: BestOfSampled = instance_of(BestOfSampled, "selection", ["--selection=BestOfSampled", *options])
    drop = LargestDrop(given.criterion, finetune=0, batch_statistics=given.batch_statistics)
    rules = (Strongest(), drop, replace(given, source="alpha"), replace(given, source="uniform"))
    return dict(zip(NAMES, rules, strict=True))


def truth_of(table: str | None, accuracy: str | None, run: Path, space: SearchSpace) -> TrueAccuracy | None:
    """The given table of true accuracies, or else the one that the record of a run names, if it can be read."""
    if table is not None:
        return _truth(table, accuracy, space)
    if accuracy is not None:
        raise ValueError(f"Expected `--accuracy` to be given with `--table`, but got {accuracy!r} alone.")
    if not (run / "truth.json").is_file():
        return None
    known = read_json(run / "truth.json")
    try:
        return _truth(str(part(known, "table")), str(part(known, "column")), space)
    except ValueError as error:
        print(f"No true accuracies are shown, since the table of the run cannot be read: {error}")
        return None


def _truth(table: str, accuracy: str | None, space: SearchSpace) -> TrueAccuracy:
    known = TrueAccuracy(table, accuracy)
    known.compare_within(space)
    return known


def compare(
    search: Ended,
    rules: dict[str, Selection],
    truth: TrueAccuracy | None,
    folder: Path,
    write: Callable[[Path, Selected], None],
) -> None:
    """Select by each rule, measure what it finds on the same batches, and write and print all of it."""
    entries = []
    for name, selection in rules.items():
        began = time.perf_counter()
        found = selection.select(search)
        seconds = time.perf_counter() - began
        write(folder / name, found)
        entry = {"rule": NAMES[name], "folder": name, "selection": plain(selection)}
        entry |= {"genotype": str(found.genotype), **_measured(search, found.genotype), "seconds": seconds}
        entries.append({**entry, "truth": truth and truth.record(found.genotype), "says": found.says})
    write_json(folder / "comparison.json", {"schema": SCHEMA, "epoch": search.epoch, "rules": entries})
    console = Console()
    console.print(_table(entries, ".4f" if search.search.task == "regression" else ".2%"))
    for line in [*_lines(entries), f"Comparison: {folder / 'comparison.json'}"]:
        console.print(line, soft_wrap=True, markup=False, highlight=False)


def _measured(search: Ended, genotype: Genotype) -> dict[str, float | None]:
    """Accuracy and loss of the supernet at a genotype, by batches that are the same for all rules."""
    with search.scores(True, search.seed("compared"), "measuring the genotype", 1) as scores:
        return scores.of(genotype).to_json()


def _table(entries: list[dict[str, Any]], form: str) -> Lines:
    shown = Lines(title="Selection rules without training", title_justify="left")
    shown.add_column("rule", no_wrap=True)
    known = [one["truth"]["of"] for one in entries if one["truth"] and "of" in one["truth"]]
    true = ("true accuracy", f"rank of {known[0]:,}") if known else ()
    for column in ("supernet accuracy", "supernet loss", "seconds", *true):
        shown.add_column(column, justify="right")
    for one in entries:
        figures = [_figure(one["accuracy"], form), _figure(one["loss"], ".4f"), f"{one['seconds']:.1f}"]
        if known:
            figures += [_figure(one["truth"].get("accuracy"), ".2f"), _figure(one["truth"].get("rank"), ",")]
        shown.add_row(one["rule"], *figures)
    return shown


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _lines(entries: list[dict[str, Any]]) -> Iterator[str]:
    yield "Supernet accuracy and loss are those of the genotype alone, on the samples of the role selection."
    for one in entries:
        yield f"{one['rule']}: {one['genotype']}" + (f" ({one['says']})" if one["says"] else "")
