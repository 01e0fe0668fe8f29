"""Help of ``fit``, ``validate`` and ``test`` in plain text, with what robustnas adds to Lightning's options."""

from __future__ import annotations

import argparse
import re

from jsonargparse import ArgumentParser, DefaultHelpFormatter

OF_LIGHTNING = {
    "ckpt_path": "Checkpoint to resume from. `last`: the last one in --run-dir. `auto`: the last one in --run-dir, "
    "or a new run if there is none yet, so that the same command starts and resumes it. Default: start a new run.",
    "seed_everything": "Seed of all random numbers, from 0 to 4294967295.",
    "weights_only": "Leave it unset: a checkpoint is always read without executing anything it holds.",
}


class PlainHelp(DefaultHelpFormatter):
    """A help formatter that removes reStructuredText markup."""

    def _get_help_string(self, action: argparse.Action) -> str:
        return plain(super()._get_help_string(action))


def plain(text: str) -> str:
    """Remove reStructuredText markup; a link keeps its address in brackets."""
    text = re.sub(r"`([^`<]+?)\s*<([^`>]+)>`_", r"\1 (\2)", text)
    text = re.sub(r":[a-z:]+:`~?([^`]*)`", r"\1", text)
    return text.replace("``", "")


def describe(parser: ArgumentParser) -> None:
    """Replace the help of Lightning's own options that behave differently here."""
    for action in parser._actions:
        if action.dest in OF_LIGHTNING:
            action.help = OF_LIGHTNING[action.dest]
