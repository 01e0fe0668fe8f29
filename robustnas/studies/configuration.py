"""The configuration of every cell, checked before anything runs, and what tells it from another."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from robustnas.spaces import find_space
from robustnas.studies.baselines import BASELINES
from robustnas.studies.grid import Cell
from robustnas.studies.words import configuration, evaluation_words, found_words


def configured(cells: Sequence[Cell]) -> list[Cell]:
    """Check the configuration of every cell, and fill in its fingerprint.

    Args:
        cells: The cells; those that differ only in the seed are looked at once.

    Returns:
        The same cells, each with a fingerprint.

    Raises:
        ValueError: If an option or a baseline is unknown, or a variant is no search.
    """
    known: dict[tuple[str, ...], dict[str, Any]] = {}
    found = []
    for cell in cells:
        try:
            found.append(replace(cell, fingerprint=_fingerprint(cell, known)))
        except ValueError as error:
            if not str(error).startswith("Expected "):
                raise
            raise ValueError(f"{str(error).rstrip('.')} (in {cell.group}).") from error
    return found


def _fingerprint(cell: Cell, known: dict[tuple[str, ...], dict[str, Any]]) -> str:
    if cell.baseline and cell.variant not in BASELINES:
        raise ValueError(f"Expected `baselines` to be among {', '.join(BASELINES)}, but got {cell.variant!r}.")

    def looked_up(words: Sequence[str]) -> dict[str, Any]:
        return known.setdefault(key, configuration(words)) if (key := tuple(words)) not in known else known[key]

    search = looked_up(cell.search)
    space = search["model"].get("init_args", {}).get("space")
    if space is None:
        raise ValueError(f"Expected a variant to be a search, but got {search['model']['class_path']}.")
    find_space(space)
    evaluation = None
    if cell.evaluation is not None:
        words = evaluation_words(cell, search["model"], search["data"], found_words("genotype", space))
        evaluation = looked_up(words)
    elif (cell.score or "").startswith("test/"):
        raise ValueError(f"Expected `evaluation`, since `score` is {cell.score}, but got none.")
    everything = {
        "search": {name: search[name] for name in ("model", "data")} if cell.baseline else search,
        "evaluation": evaluation,
        "seed": cell.seed,
        "baseline": f"{cell.variant}: {BASELINES[cell.variant]}" if cell.baseline else None,
    }
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()[:16]
