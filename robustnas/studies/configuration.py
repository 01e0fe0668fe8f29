"""The configuration of every cell, checked before anything runs, and what tells it from another."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from robustnas.spaces import find_space
from robustnas.studies.baselines import baseline_of
from robustnas.studies.grid import Cell
from robustnas.studies.trials import table_of
from robustnas.studies.words import configuration, evaluation_words, found_words

Known = dict[tuple[str, ...], dict[str, Any]]
UNSAID = 1000  # epochs of a trainer that is given none


def configured(cells: Sequence[Cell]) -> list[Cell]:
    """Check the configuration of every cell, and fill in its fingerprint and what the study leaves to its baseline.

    Args:
        cells: All cells of a study; those that differ only in the seed are looked at once.

    Returns:
        The same cells, each with a fingerprint.

    Raises:
        ValueError: If an option or a baseline is unknown, a variant is no search, or the table is of another space.
    """
    known: Known = {}
    longest: dict[tuple[str | None, str | None], list[int | None]] = {}
    found = {}
    for cell in sorted(cells, key=lambda cell: cell.baseline):  # searches first, whose cost baselines may have
        try:
            search = _search_of(cell, known)
            costs = longest.setdefault((cell.space, cell.data), [])
            if cell.baseline:
                cost = None if None in costs or not costs else max(each for each in costs if each is not None)
                cell = replace(cell, arguments=asdict(baseline_of(cell).for_cell(cell, cost)))
            else:
                costs.append(epochs_of(search))
            found[cell.key] = replace(cell, fingerprint=_fingerprint(cell, search, known))
        except ValueError as error:
            if not str(error).startswith("Expected "):
                raise
            raise ValueError(f"{str(error).rstrip('.')} (in {cell.group}).") from error
    return [found[cell.key] for cell in cells]


def epochs_of(search: Mapping[str, Any]) -> int | None:
    """How many epochs a search takes, its selection included.

    Args:
        search: Its configuration.

    Returns:
        The number; ``None`` if it has no end.
    """
    given = search["model"]["init_args"]
    epochs = search["trainer"].get("max_epochs")
    epochs = UNSAID if epochs is None else int(epochs)
    selection = given.get("selection") or {}
    room, _, name = str(selection.get("class_path", "")).rpartition(".")
    if room and epochs > 0:
        part = getattr(importlib.import_module(room), name)(**selection.get("init_args", {}))
        epochs += part.epochs(find_space(given["space"]))
    return epochs if epochs > 0 else None


def _looked_up(words: Sequence[str], known: Known) -> dict[str, Any]:
    if (key := tuple(words)) not in known:
        known[key] = configuration(words)
    return known[key]


def _search_of(cell: Cell, known: Known) -> dict[str, Any]:
    """The search of a cell, in a space that is known, and in that of the table."""
    search = _looked_up(cell.search, known)
    name = search["model"].get("init_args", {}).get("space")
    if name is None:
        raise ValueError(f"Expected a variant to be a search, but got {search['model']['class_path']}.")
    space = find_space(name)
    if cell.table is not None and (held := table_of(cell.table)[1]).space != space:
        raise ValueError(f"Expected {held.source} to hold architectures of {space.name}, but got {held.space.name}.")
    return search


def _fingerprint(cell: Cell, search: Mapping[str, Any], known: Known) -> str:
    evaluation = None
    if cell.evaluation is not None:
        words = found_words("genotype", search["model"]["init_args"]["space"])
        evaluation = _looked_up(evaluation_words(cell, search["model"], search["data"], words), known)
    elif (cell.score or "").startswith("test/"):
        raise ValueError(f"Expected `evaluation`, since `score` is {cell.score}, but got none.")
    baseline = baseline_of(cell) if cell.baseline else None
    if baseline is not None:
        own = baseline.search_words(search)
        search = _looked_up(own, known) if own else {name: search[name] for name in ("model", "data")}
    default_diagnostics = {
        "search": search,
        "evaluation": evaluation,
        "seed": cell.seed,
        "baseline": f"{cell.variant}: {baseline}" if baseline else None,
        "table": cell.table,
    }
    return hashlib.sha256(json.dumps(default_diagnostics, sort_keys=True).encode()).hexdigest()[:16]
