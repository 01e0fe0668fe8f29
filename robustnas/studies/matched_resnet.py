"""How wide a plain residual network is that is as large as those of a search space."""

from __future__ import annotations

import importlib
import statistics
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import torch

from robustnas.cli import lightning_cli
from robustnas.networks.resnet import channels_for
from robustnas.spaces import find_space, random_genotype
from robustnas.studies.grid import Cell
from robustnas.studies.study import as_word
from robustnas.studies.words import ARCHITECTURE, configuration, evaluation_words, found_words

DRAWN = 15


class _Made(lightning_cli.RobustCLI):
    """The data and the network of a run, and nothing done with them."""

    def _run_subcommand(self, subcommand: str) -> None: ...


def resnet_of_like_size(cell: Cell, search: Mapping[str, Any], folder: Path, blocks: int) -> int:
    """The width of a residual network with as many weights as the median of random networks of the space.

    The networks are those that the evaluation would train, without auxiliary head, drawn with one seed for all cells.

    Args:
        cell: The cell, with its evaluation.
        search: Configuration of a search in the same space on the same data.
        folder: Folder that is not touched.
        blocks: Residual blocks of a stage.

    Returns:
        Channels of the first stage.
    """
    model, data = search["model"], search["data"]
    space, generator = find_space(model["init_args"]["space"]), Random(0)
    drawn = [random_genotype(space, generator) for _ in range(DRAWN)]
    words = evaluation_words(cell, model, data, found_words("genotype", model["init_args"]["space"]))
    section = configuration(words)["model"]["init_args"]["architecture"]
    room, _, name = section["class_path"].rpartition(".")
    architecture = getattr(importlib.import_module(room), name)(**section["init_args"])
    plain = [as_word(ARCHITECTURE, {"class_path": "robustnas.training.ResNet"})]
    made: Any = lightning_cli.main(
        ["fit", *evaluation_words(cell, model, data, plain), "--run-dir", str(folder)], run=_Made
    )
    classes, channels = made.datamodule.num_classes, made.datamodule.image_shape[0]
    sizes = []
    with torch.device("meta"):
        for genotype in drawn:
            network = replace(architecture, genotype=str(genotype), auxiliary=False).build(classes, channels)
            sizes.append(sum(parameter.numel() for parameter in network.parameters()))
    return channels_for(int(statistics.median(sizes)), blocks, classes, channels)
