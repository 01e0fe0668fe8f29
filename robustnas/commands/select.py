"""``robustnas select``: derive the genotype of a search by another selection rule than its own, or by several."""

from __future__ import annotations

import json
from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import Any

from robustnas.cli import lightning_cli
from robustnas.cli.configuration import data_of, instance_of
from robustnas.cli.ended_search import epochs_of, open_ended
from robustnas.cli.errors import Parser
from robustnas.commands.selection_rules import compare, rules_of, truth_of
from robustnas.plotting.cells import save_drawing
from robustnas.runs.record import Run, write_text
from robustnas.runtime.launch import resume_command
from robustnas.spaces import Genotype, SearchSpace
from robustnas.strategies import Selection
from robustnas.strategies.selection import Selected
from robustnas.training import SearchModule, load
from robustnas.training.description import plain
from robustnas.training.hooks.one_shot_selection import write_record
from robustnas.training.hooks.perturbation_selection import PerturbationSelection


def parser() -> Parser:
    """The options of ``robustnas select``."""
    parser = Parser(
        prog="robustnas select",
        description="Derive the genotype of a finished or running search by another selection rule. Rules that "
        "evaluate the supernet, like BestOfSampled, do so on the data of the run, without training. Rules that "
        "continue training, like LargestDrop, do so in a folder of their own; after an interruption, the same command "
        "resumes.",
        epilog="Options of the rule follow its name, such as --selection.finetune 0; further options are those of "
        "`robustnas fit`, such as --trainer.accelerator cpu. The search is not changed; its callbacks are not used.",
    )
    parser.add_path("checkpoint", metavar="CKPT", help="checkpoint of a search, or the folder of its run")
    parser.add_argument("--selection", help="selection rule, by name or import path (default: Strongest)")
    parser.add_argument(
        "--compare",
        action="store_true",
        help="compare Strongest, LargestDrop in one shot, and BestOfSampled by α and uniform, all without training",
    )
    parser.add_argument("--table", help="table of true accuracies for --compare (default: the one the run looked up)")
    parser.add_argument("--accuracy", metavar="COLUMN", help="its column (default: the only one, or cifar10_test_200)")
    parser.add_path(
        "-o",
        "--run-dir",
        metavar="OUT",
        help="output folder (default: a folder of the run with the name of the rule, or `compared`)",
    )
    return parser


def main(arguments: list[str]) -> None:
    """Select from a checkpoint."""
    options, rest = parser().parse_known_args(arguments[1:])
    own, rest = _parted(rest)
    source = Path(options.checkpoint)
    source = Run(source).checkpoint if source.is_dir() else source
    if options.compare and options.selection:
        raise ValueError(f"Expected `--selection` or `--compare`, but got both, with {options.selection}.")
    if options.compare:
        _compare(source, options, own, rest)
        return
    if options.table or options.accuracy:
        raise ValueError("Expected `--compare` with `--table` and `--accuracy`, but got none.")
    selection: Selection = instance_of(
        Selection, "selection", [f"--selection={options.selection or 'Strongest'}", *own]
    )
    module = load(source, SearchModule)
    folder = _folder(options.run_dir, source, type(selection).__name__.lower())
    if selection.epochs(module.space):
        genotype = _train_on(source, folder, module, selection, rest, resume_command(arguments))
    else:
        genotype = _select(source, folder, module, selection, rest)
    print(genotype)
    print(f"Run: {folder}")


def _compare(source: Path, options: Namespace, own: list[str], rest: list[str]) -> None:
    rules, module = rules_of(own), load(source, SearchModule)
    folder = _folder(options.run_dir, source, "compared")
    truth = truth_of(options.table, options.accuracy, source.parent, module.space)
    _check_undecided(source, module)
    compare(open_ended(source, rest), rules, truth, folder, partial(_write, source, module.space))


def _folder(given: str | None, source: Path, name: str) -> Path:
    folder = Path(given) if given else source.parent / name
    if folder.resolve() == source.parent.resolve():
        raise ValueError(f"Expected `--run-dir` to be another folder than that of the search, but got {folder}.")
    return folder


def _parted(words: list[str]) -> tuple[list[str], list[str]]:
    own, others = list[str](), list[str]()
    into = others
    for word in words:
        if word.startswith("-") and not word.lstrip("-")[:1].isdigit():
            into = own if word.startswith("--selection.") else others
        into.append(word)
    return own, others


def _select(source: Path, folder: Path, module: SearchModule, selection: Selection, rest: list[str]) -> Genotype:
    """The genotype by a rule that needs no training, written into a folder."""
    _check_empty(folder)
    if selection.evaluates:
        _check_undecided(source, module)
        found = selection.select(open_ended(source, rest))
    elif rest:
        name = type(selection).__name__
        raise ValueError(
            f"Expected no options of `robustnas fit`, since {name} does not train, but got {' '.join(rest)}."
        )
    else:
        found = selection.by_weights(module.space, module.final_architecture_weights())
    _write(source, module.space, folder, found)
    if found.says:
        print(found.says)
    return found.genotype


def _write(source: Path, space: SearchSpace, folder: Path, found: Selected) -> None:
    """Write a genotype, what it rests on, and the configuration of the search, for ``robustnas evaluate``."""
    _check_empty(folder)
    Run(folder).write_genotype(found.genotype)
    write_record(folder, found)
    if (configuration := source.parent / "config.yaml").is_file():
        write_text(folder / "config.yaml", configuration.read_text(encoding="utf-8"))
    for name in ("genotype.svg", "genotype.png"):
        save_drawing(found.genotype, folder / name, space)


def _check_empty(folder: Path) -> None:
    if (folder / "last.ckpt").exists() or (folder / "manifest.json").exists():
        raise ValueError(f"Expected `--run-dir` to be a folder without a run, but {folder} holds one.")


def _check_undecided(source: Path, module: SearchModule) -> None:
    """Refuse a checkpoint in which a selection has begun to decide: what it has dropped was trained no more."""
    begun = module.hooks.get("perturbation_selection")
    if isinstance(begun, PerturbationSelection) and begun.began is not None:
        raise ValueError(
            f"Expected the checkpoint to be from before the selection began, but {source} holds "
            f"{len(begun.entries)} decisions; use a checkpoint of epoch {begun.began - 1} or earlier."
        )


def _train_on(
    source: Path, folder: Path, module: SearchModule, selection: Selection, rest: list[str], again: str
) -> Genotype:
    """The genotype by a rule that trains, in a run of its own."""
    _check_undecided(source, module)
    data_of(source.parent)  # refuses a folder without a configuration
    epochs, description = epochs_of(source), plain(selection)
    started = Run(folder).checkpoint
    if started.is_file():
        _check_same(started, description, epochs)
    words = ["-c", str(source.parent / "config.yaml"), "--model.init_args.selection", json.dumps(description)]
    words += ["--run-dir", str(folder), "--ckpt_path", str(started if started.is_file() else source)]
    # Callbacks of the search may write into its folder, or stop it early.
    words += ["--trainer.callbacks=null", "--trainer.max_epochs", str(epochs), *rest]
    found: SearchModule = lightning_cli.main(["fit", *words], again=again).model
    return found.genotype()


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
