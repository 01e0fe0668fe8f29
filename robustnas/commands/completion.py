"""``robustnas completion``: a shell completion script for commands, options and files."""

from __future__ import annotations

import argparse
import importlib

import jsonargparse
import shtab

from robustnas.cli import lightning_cli
from robustnas.cli.errors import Parser
from robustnas.commands import COMMANDS

FILES = {"config", "run_dir", "ckpt_path", "genotype", "file"}  # options whose values may be files or folders


def parser() -> Parser:
    """The options of ``robustnas completion``."""
    parser = Parser(
        prog="robustnas completion",
        description="Print a shell completion script for commands, options and files.",
        epilog='Bash: add `eval "$(robustnas completion bash)"` to ~/.bashrc; zsh and tcsh likewise.',
    )
    parser.add_argument("shell", choices=shtab.SUPPORTED_SHELLS, help="the shell")
    return parser


def main(arguments: list[str]) -> None:
    """Print the completion script."""
    print(shtab.complete(all_commands(), parser().parse_args(arguments[1:]).shell))


def all_commands() -> argparse.ArgumentParser:
    """One parser of all commands with all their options."""
    actions = jsonargparse.capture_parser(lambda: lightning_cli.main([]))._actions
    lightning = next(action.choices for action in actions if isinstance(action, argparse._SubParsersAction))
    joined = argparse.ArgumentParser(prog="robustnas")
    commands = joined.add_subparsers()
    for name, (module, purpose) in COMMANDS.items():
        own = getattr(importlib.import_module(module), "parser", None)
        parents = [own()] if own else []
        if name == "fit" or not own:  # LightningCLI has a `predict` too, which is not ours
            parents.append(lightning[name])
        for action in [action for one in parents for action in one._actions]:
            if action.dest in FILES or getattr(action.type, "reads_paths", False):
                action.complete = shtab.FILE
        commands.add_parser(name, help=purpose, parents=parents, add_help=False)
    return joined
