"""Options of ``fit``, ``validate`` and ``test``: what comes from the data and the seed, and help in plain text."""

from __future__ import annotations

import argparse
import re

from jsonargparse import DefaultHelpFormatter

from robustnas.data import ImageData
from robustnas.data.images import Task

OF_LIGHTNING = {  # help of its own options that behave differently here
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


def num_classes(data: ImageData) -> int:
    """The option ``num_classes`` of a model for the data."""
    return data.num_classes


def image_channels(data: ImageData) -> int:
    """The option ``image_channels`` of a model for the data."""
    return data.image_shape[0]


def task(data: ImageData) -> Task:
    """The option ``task`` of a model for the data."""
    return data.task


def seed(seed_everything: bool | int) -> int:
    """The option ``seed`` of a model and of its data."""
    if isinstance(seed_everything, bool) or not 0 <= seed_everything < 2**32:
        raise ValueError(f"Expected `seed_everything` to be a number from 0 to {2**32 - 1}, but got {seed_everything}.")
    return seed_everything


# Options of a model that come from its data; help shows these functions by their names.
LINKS = {read.__name__: read for read in (num_classes, image_channels, task)}
