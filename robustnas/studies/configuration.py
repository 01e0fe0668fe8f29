"""The whole configuration of a cell, checked before anything runs, and what tells it from another."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from robustnas import cli
from robustnas.evaluating import recipe_of
from robustnas.spaces import find_space
from robustnas.studies.baselines import BASELINES
from robustnas.studies.grid import Cell

ARCHITECTURE = "--model.init_args.architecture"


class _Parsed(cli.RobustCLI):
    """The command line understood, and nothing done."""

    def before_instantiate_classes(self) -> None: ...

    def instantiate_classes(self) -> None: ...

    def _set_seed(self) -> None: ...

    def _run_subcommand(self, subcommand: str) -> None: ...


def configuration(words: Sequence[str]) -> dict[str, Any]:
    """What options of ``robustnas fit`` mean, defaults included, and nothing of where a run lies.

    Args:
        words: The options.

    Returns:
        The sections by name, of what JSON can hold.

    Raises:
        ValueError: If an option is unknown or wrong, in one sentence.
    """
    found: Any = cli.main(["fit", *words], run=_Parsed).config.fit
    whole = found.as_dict()
    for name in ("config", "run", "ckpt_path", "seed_everything"):
        whole.pop(name, None)
    for name in ("model", "data"):
        (whole[name].get("init_args") or {}).pop("seed", None)
    plain: dict[str, Any] = json.loads(json.dumps(whole, default=str))
    return plain


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


def evaluation_words(
    cell: Cell, section: Mapping[str, Any], data: Mapping[str, Any], network: Sequence[str]
) -> list[str]:
    """Options of ``robustnas fit`` that train what a cell found.

    Args:
        cell: The cell, which has an evaluation.
        section: Section ``model`` of the search.
        data: Section ``data`` of the search.
        network: Options that say which network is trained.

    Returns:
        The options, without folder and seed.
    """
    assert cell.evaluation is not None
    files = [word for word in cell.evaluation if word.startswith("--config=")]
    options = [word for word in cell.evaluation if not word.startswith("--config=")]
    recipe = files or [f"--config={recipe_of(section['init_args']['space'])}"]
    return [*recipe, *network, f"--data={json.dumps(data)}", *options]


def found_words(source: str, space: str) -> list[str]:
    """Options that train the network of a genotype.

    Args:
        source: The genotype, or the folder of the run that found it.
        space: Its search space.

    Returns:
        The options.
    """
    return [f"{ARCHITECTURE}.init_args.genotype={source}", f"{ARCHITECTURE}.init_args.space={space}"]


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
