"""The options of the runs of a cell, and what they mean."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robustnas.cli import lightning_cli
from robustnas.cli.evaluation import recipe_of
from robustnas.studies.grid import Cell

QUIET = "--trainer.enable_progress_bar=false"  # first, so that the options of a study come over it
ARCHITECTURE = "model.init_args.architecture"


class _Parsed(lightning_cli.RobustCLI):
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
    found: Any = lightning_cli.main(["fit", *words], run=_Parsed).config.fit
    whole = found.as_dict()
    for name in ("config", "run_dir", "ckpt_path", "seed_everything"):
        whole.pop(name, None)
    for name in ("model", "data"):
        (whole[name].get("init_args") or {}).pop("seed", None)
    plain: dict[str, Any] = json.loads(json.dumps(whole, default=str))
    return plain


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
    if any(
        word.startswith(f"--{ARCHITECTURE}=") for word in network
    ):  # of another kind: options of its size are not its
        options = [word for word in options if not word.startswith(f"--{ARCHITECTURE}.")]
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
    return [f"--{ARCHITECTURE}.init_args.genotype={source}", f"--{ARCHITECTURE}.init_args.space={space}"]


def in_folder(folder: Path) -> list[str]:
    """Options that run in a folder, going on where an earlier attempt stopped.

    Args:
        folder: The folder.

    Returns:
        The options.
    """
    return ["--run-dir", str(folder), "--ckpt_path", "auto"]
