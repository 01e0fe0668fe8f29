"""Baselines that need no evaluations: a random architecture, weight sharing, a residual network."""

from __future__ import annotations

import importlib
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from robustnas.runs.record import Run
from robustnas.spaces import CellSpace, Genotype, find_space, random_genotype
from robustnas.studies.searchers.baseline import Baseline
from robustnas.studies.trial import Trial, training_of

if TYPE_CHECKING:
    import torch

SHARED = (  # what random search with weight sharing takes over from the first variant
    "space", "channels", "layers", "cells", "stem", "lr", "lr_min", "momentum", "nesterov", "weight_decay", "clip",
    "channels_last", "checkpointing",
)  # fmt: skip
DRAWN = 15  # random networks, to whose median size the residual network is matched


@dataclass(frozen=True)
class RandomGenotype(Baseline):
    """One architecture of the space, each edge's operation drawn uniformly.

    Where a node keeps some of its edges, these are drawn uniformly too. Its mean over seeds is what relative
    improvement over random is relative to (arXiv:1912.12522).
    """

    def find(self, trial: Trial, folder: Path) -> Genotype:
        return random_architecture(trial.search_space, trial.seed)


@dataclass(frozen=True)
class RandomSharing(Baseline):
    """Random search with weight sharing (arXiv:1902.07638), as a search of its own.

    It takes network, data, trainer and step sizes of the weights of the first variant. The supernet is normalised by
    the batch, since running statistics would be those of all paths together.
    """

    epochs: int | None = None  #: epochs of the supernet; by default those of the longest search
    samples: int = 100  #: how many architectures are compared at the end

    def planned(self, trial: Trial, epochs: int | None) -> RandomSharing:
        return replace(self, epochs=self.epochs or epochs)

    def search(self, variant: Mapping[str, Any]) -> dict[str, Any]:
        given = variant["model"]["init_args"]
        selection = {"class_path": "robustnas.strategies.BestOfSampled", "init_args": {"samples": self.samples}}
        shared = {name: given[name] for name in SHARED if name in given}
        model = {**shared, "batch_statistics": True, "selection": selection}
        trainer = {**variant["trainer"], **({"max_epochs": self.epochs} if self.epochs else {})}
        sharing = {"class_path": "robustnas.variants.RandomSharing", "init_args": model}
        return {**variant, "trainer": trainer, "model": sharing}

    def find(self, trial: Trial, folder: Path) -> Genotype:
        from robustnas.cli.configuration import fit

        fit(trial.search, folder, trial.seed)
        return Run(folder).genotype()


@dataclass(frozen=True)
class ResNet(Baseline):
    """A residual network with about as many weights as the median of random networks of the space."""

    channels: int | None = None  #: its width; by default matched to that size
    blocks: int = 3  #: residual blocks of a stage

    def planned(self, trial: Trial, epochs: int | None) -> ResNet:
        if trial.evaluation is None:
            raise ValueError("Expected `evaluation`, whose recipe ResNet is trained with, but got none.")
        return self

    def find(self, trial: Trial, folder: Path) -> dict[str, Any]:
        channels = self.channels or _matched_width(trial, self.blocks)
        return {"class_path": "robustnas.training.ResNet", "init_args": {"channels": channels, "blocks": self.blocks}}


def random_architecture(name: str, seed: int) -> Genotype:
    """The architecture that :class:`RandomGenotype` draws in a space, by name or import path, with a seed."""
    import torch

    from robustnas.data.batch import derived_seed
    from robustnas.strategies import Strongest

    space = find_space(name)
    generator = torch.Generator().manual_seed(derived_seed(seed, "random genotype"))
    return Strongest().genotype(space, {kind: _one_an_edge(cell, generator) for kind, cell in space.cells.items()})


def _one_an_edge(kind: CellSpace, generator: torch.Generator) -> torch.Tensor:
    """Architecture weights ``[edges, operations]`` that are positive for one operation of each edge."""
    import torch

    weights = torch.zeros(kind.shape)
    for row, edge in enumerate(kind.edges):
        columns = list(kind.selectable(edge))
        column = columns[int(torch.randint(len(columns), (), generator=generator))]
        weights[row, column] = 1 + torch.rand((), generator=generator)
    return weights


def _matched_width(trial: Trial, blocks: int) -> int:
    """The width of a residual network that is as large as the median of random networks, the same for all seeds."""
    import torch

    from robustnas.cli.lightning_cli import main
    from robustnas.networks.resnet import channels_for

    assert trial.evaluation is not None
    space, generator = find_space(trial.search_space), Random(0)
    section = trial.evaluation["model"]["init_args"]["architecture"]
    module, _, name = section["class_path"].rpartition(".")
    architecture = getattr(importlib.import_module(module), name)(**section["init_args"])
    network = {"class_path": "robustnas.training.ResNet", "init_args": {}}
    data: Any = main(training_of(trial.evaluation, network), stop_after="instantiation").datamodule
    classes, channels = data.num_classes, data.image_shape[0]
    sizes = []
    with torch.device("meta"):
        for genotype in [random_genotype(space, generator) for _ in range(DRAWN)]:
            drawn = replace(architecture, genotype=str(genotype), auxiliary=False).build(classes, channels)
            sizes.append(sum(parameter.numel() for parameter in drawn.parameters()))
    return channels_for(int(statistics.median(sizes)), blocks, classes, channels)
