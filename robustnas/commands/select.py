"""``robustnas select``: read a search by another rule of selection than its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonargparse

from robustnas.cli import lightning_cli
from robustnas.cli.errors import Parser, explain, path_option
from robustnas.cli.evaluation import data_of
from robustnas.plotting.cells import save_drawing
from robustnas.runs.record import Run, write_text
from robustnas.runtime.launch import resume_command
from robustnas.runtime.safe_files import load_checkpoint
from robustnas.runtime.trust import only_trusted
from robustnas.spaces import Genotype
from robustnas.strategies import BestOfSampled, Selection
from robustnas.training import SearchModule, load
from robustnas.training.description import plain
from robustnas.training.hooks.perturbation_selection import PerturbationSelection


def parser() -> Parser:
    """The options of ``robustnas select``."""
    parser = Parser(
        prog="robustnas select",
        description="Read a finished or running search by a rule of selection. Rules that train on, like LargestDrop, "
        "do so in a folder of their own; the same command goes on where they were interrupted.",
        epilog="Options of the rule follow its name, such as --selection.every 1; any option of `robustnas fit` may "
        "follow, such as --trainer.accelerator cpu. The search is left as it is, and its callbacks take no part.",
    )
    parser.add_argument(
        "checkpoint", metavar="CKPT", type=path_option("CKPT"), help="checkpoint of a search, or the folder of its run"
    )
    parser.add_argument("--selection", default="Strongest", help="name or import path (default: Strongest)")
    parser.add_argument(
        "-o",
        "--run-dir",
        metavar="OUT",
        type=path_option("--run-dir"),
        help="folder of the result (default: in the run, named after it)",
    )
    return parser


def main(arguments: list[str]) -> None:
    """Select from a checkpoint.

    Args:
        arguments: ``select`` and its options.

    Raises:
        ValueError: If the checkpoint is none of a search, its run has no configuration, an option is wrong, or the
            folder holds something else.
    """
    options, rest = parser().parse_known_args(arguments[1:])
    own, rest = _parted(rest)
    selection = _selection(options.selection, own)
    source = Path(options.checkpoint)
    source = Run(source).checkpoint if source.is_dir() else source
    module = load(source, SearchModule)
    folder = Path(options.run_dir) if options.run_dir else source.parent / type(selection).__name__.lower()
    if folder.resolve() == source.parent.resolve():
        raise ValueError(f"Expected `--run-dir` to be another folder than that of the search, but got {folder}.")
    if selection.epochs(module.space):
        genotype = _train_on(source, folder, module, selection, rest, resume_command(arguments))
    else:
        if rest:
            raise ValueError(
                f"Expected no options of `robustnas fit`, since {type(selection).__name__} does not train, "
                f"but got {' '.join(rest)}."
            )
        genotype = _read(source, folder, module, selection)
    print(genotype)
    print(f"Run: {folder}")


def _parted(words: list[str]) -> tuple[list[str], list[str]]:
    """Options of the selection, and the others."""
    own: list[str] = []
    others: list[str] = []
    into = others
    for word in words:
        if word.startswith("-") and not word.lstrip("-")[:1].isdigit():
            into = own if word.startswith("--selection.") else others
        into.append(word)
    return own, others


def _selection(name: str, words: list[str]) -> Selection:
    parser = jsonargparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    parser.add_subclass_arguments(Selection, "selection")
    try:
        with only_trusted():
            options = parser.parse_args([f"--selection={name}", *words])
            selection: Selection = parser.instantiate_classes(options).selection
    except (jsonargparse.ArgumentError, ValueError) as error:
        raise ValueError(explain(str(error))) from error
    return selection


def _read(source: Path, folder: Path, module: SearchModule, selection: Selection) -> Genotype:
    """What a selection that needs no training finds, written into a folder."""
    if isinstance(selection, BestOfSampled):
        raise ValueError(
            "Expected `--selection` to be one that reads α or trains on, but BestOfSampled measures architectures when "
            "a search ends: give it to the search, as `robustnas fit ... --model.selection BestOfSampled`."
        )
    genotype = selection.genotype(module.space, module.final_architecture_weights())
    configuration = source.parent / "config.yaml"
    if (folder / "last.ckpt").exists() or (folder / "manifest.json").exists():
        raise ValueError(f"Expected `--run-dir` to be a folder without a run, but {folder} holds one.")
    run = Run(folder)
    run.write_genotype(genotype)
    if configuration.is_file():
        write_text(folder / "config.yaml", configuration.read_text(encoding="utf-8"))  # for `robustnas evaluate`
    for name in ("genotype.svg", "genotype.png"):
        save_drawing(genotype, folder / name, module.space)
    return genotype


def _train_on(
    source: Path, folder: Path, module: SearchModule, selection: Selection, rest: list[str], again: str
) -> Genotype:
    """What a selection finds that trains on, in a run of its own."""
    begun = module.hooks.get("perturbation_selection")
    if isinstance(begun, PerturbationSelection) and begun.began is not None:
        raise ValueError(
            f"Expected the checkpoint to be of a search that has not begun to select, but {source} holds "
            f"{len(begun.entries)} decisions; a checkpoint of epoch {begun.began - 1} would do."
        )
    data_of(source.parent)
    epochs, description = _searched(source), plain(selection)
    started = Run(folder).checkpoint
    if started.is_file():
        _check_same(started, description, epochs)
    words = ["-c", str(source.parent / "config.yaml"), "--model.init_args.selection", json.dumps(description)]
    words += ["--run-dir", str(folder), "--ckpt_path", str(started if started.is_file() else source)]
    # Callbacks of the search may write into its folder, or stop it early.
    words += ["--trainer.callbacks=null", "--trainer.max_epochs", str(epochs), *rest]
    run = lightning_cli.main(["fit", *words], again=again)
    found: SearchModule = run.model
    return found.genotype()


def _searched(source: Path) -> int:
    """Epochs of the search that a checkpoint holds, with the one that it stands in."""
    try:
        progress = load_checkpoint(source)["loops"]["fit_loop"]["epoch_progress"]
        return int(progress["current"]["ready"])
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"Expected {source} to be a checkpoint to go on from, but got one without its progress."
        ) from error


def _check_same(started: Path, description: dict[str, Any], epochs: int) -> None:
    """Refuse to go on with another selection than was begun."""
    held = load(started, SearchModule)
    hook = held.hooks.get("perturbation_selection")
    begun = hook.began if isinstance(hook, PerturbationSelection) else None
    if held.description["init_args"]["selection"] != description or begun not in (None, epochs):
        raise ValueError(
            f"Expected `--run-dir` to be a new folder, but {started.parent} holds a selection with other options, "
            f"or from another epoch than {epochs}."
        )
