"""``robustnas select``: derive the genotype of a search by another selection rule than its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from robustnas.analysis.history import part
from robustnas.cli import lightning_cli
from robustnas.cli.configuration import data_of, instance_of
from robustnas.cli.errors import Parser
from robustnas.plotting.cells import save_drawing
from robustnas.runs.record import Run, write_text
from robustnas.runtime.launch import resume_command
from robustnas.runtime.safe_files import load_checkpoint
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
        epilog="Options of the rule follow its name, such as --selection.finetune 1; further options are those of "
        "`robustnas fit`, such as --trainer.accelerator cpu. The search is not changed; its callbacks are not used.",
    )
    parser.add_path("checkpoint", metavar="CKPT", help="checkpoint of a search, or the folder of its run")
    parser.add_argument(
        "--selection", default="Strongest", help="selection rule, by name or import path (default: Strongest)"
    )
    parser.add_path(
        "-o", "--run-dir", metavar="OUT", help="output folder (default: a folder of the run with the name of the rule)"
    )
    return parser


def main(arguments: list[str]) -> None:
    """Select from a checkpoint."""
    options, rest = parser().parse_known_args(arguments[1:])
    own, rest = _parted(rest)
    selection: Selection = instance_of(Selection, "selection", [f"--selection={options.selection}", *own])
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
    own, others = list[str](), list[str]()
    into = others
    for word in words:
        if word.startswith("-") and not word.lstrip("-")[:1].isdigit():
            into = own if word.startswith("--selection.") else others
        into.append(word)
    return own, others


def _read(source: Path, folder: Path, module: SearchModule, selection: Selection) -> Genotype:
    """The genotype by a rule that needs no training, written into a folder."""
    if selection.evaluates:
        name = type(selection).__name__
        raise ValueError(
            f"Expected `--selection` to be a rule that reads α or continues training, but {name} evaluates "
            f"architectures at the end of a search: use `robustnas fit ... --model.selection {name}`."
        )
    genotype = selection.genotype(module.space, module.final_architecture_weights())
    if (folder / "last.ckpt").exists() or (folder / "manifest.json").exists():
        raise ValueError(f"Expected `--run-dir` to be a folder without a run, but {folder} holds one.")
    Run(folder).write_genotype(genotype)
    if (configuration := source.parent / "config.yaml").is_file():
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
    data_of(source.parent)  # refuses a folder without a configuration
    epochs, description = _searched(source), plain(selection)
    started = Run(folder).checkpoint
    if started.is_file():
        _check_same(started, description, epochs)
    words = ["-c", str(source.parent / "config.yaml"), "--model.init_args.selection", json.dumps(description)]
    words += ["--run-dir", str(folder), "--ckpt_path", str(started if started.is_file() else source)]
    # Callbacks of the search may write into its folder, or stop it early.
    words += ["--trainer.callbacks=null", "--trainer.max_epochs", str(epochs), *rest]
    found: SearchModule = lightning_cli.main(["fit", *words], again=again).model
    return found.genotype()


def _searched(source: Path) -> int:
    """The number of epochs of the search in a checkpoint, the current one included."""
    ready = part(load_checkpoint(source), "loops", "fit_loop", "epoch_progress", "current", "ready")
    if not isinstance(ready, int):
        raise ValueError(
            f"Expected {source} to be a checkpoint of a training run, but it holds no progress of the epochs."
        )
    return ready


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
