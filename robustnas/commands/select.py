"""``robustnas select``: derive the genotype of a search by another selection rule than its own."""

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
from robustnas.strategies import Selection
from robustnas.training import SearchModule, load
from robustnas.training.description import plain
from robustnas.training.hooks.perturbation_selection import PerturbationSelection


def parser() -> Parser:
    """The options of ``robustnas select``."""
    parser = Parser(
        prog="robustnas select",
        description="Derive the genotype of a finished or running search by another selection rule. Rules that "
        "continue training, like LargestDrop, do so in a folder of their own; after an interruption, the same command "
        "resumes.",
        epilog="Options of the rule follow its name, such as --selection.interval 1; further options are those of "
        "`robustnas fit`, such as --trainer.accelerator cpu. The search is not changed; its callbacks are not used.",
    )
    parser.add_argument(
        "checkpoint", metavar="CKPT", type=path_option("CKPT"), help="checkpoint of a search, or the folder of its run"
    )
    parser.add_argument(
        "--selection", default="Strongest", help="selection rule, by name or import path (default: Strongest)"
    )
    parser.add_argument(
        "-o",
        "--run-dir",
        metavar="OUT",
        type=path_option("--run-dir"),
        help="output folder (default: a folder of the run with the name of the rule)",
    )
    return parser


def main(arguments: list[str]) -> None:
    """Select from a checkpoint."""
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
    """The options of the selection rule, and the others."""
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
    """The genotype by a rule that needs no training, written into a folder."""
    if selection.evaluates:
        name = type(selection).__name__
        raise ValueError(
            f"Expected `--selection` to be a rule that reads α or continues training, but {name} evaluates "
            f"architectures at the end of a search: use `robustnas fit ... --model.selection {name}`."
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
    """The genotype by a rule that trains, in a run of its own."""
    begun = module.hooks.get("perturbation_selection")
    if isinstance(begun, PerturbationSelection) and begun.began is not None:
        raise ValueError(
            f"Expected the checkpoint to be from before the selection began, but {source} holds "
            f"{len(begun.entries)} decisions; use a checkpoint of epoch {begun.began - 1} or earlier."
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
    """The number of epochs of the search in a checkpoint, the current one included."""
    try:
        progress = load_checkpoint(source)["loops"]["fit_loop"]["epoch_progress"]
        return int(progress["current"]["ready"])
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"Expected {source} to be a checkpoint of a training run, but it holds no progress of the epochs."
        ) from error


def _check_same(started: Path, description: dict[str, Any], epochs: int) -> None:
    """Refuse to resume with another selection rule than the run began with."""
    held = load(started, SearchModule)
    hook = held.hooks.get("perturbation_selection")
    begun = hook.began if isinstance(hook, PerturbationSelection) else None
    if held.description["init_args"]["selection"] != description or begun not in (None, epochs):
        raise ValueError(
            f"Expected `--run-dir` to be a new folder, but {started.parent} holds a selection with other options, "
            f"or from another epoch than {epochs}."
        )
