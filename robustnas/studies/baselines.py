"""What every variant is measured against: architectures that no gradient found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robustnas.cli import lightning_cli
from robustnas.data.batch import derived_seed
from robustnas.runs.record import Run
from robustnas.spaces import CellSpace, Genotype, find_space
from robustnas.strategies import Strongest
from robustnas.studies.baseline import Baseline
from robustnas.studies.grid import Cell
from robustnas.studies.matched_resnet import resnet_of_like_size
from robustnas.studies.sampled import RandomSearch, RegularisedEvolution, SuccessiveHalving
from robustnas.studies.study import as_word
from robustnas.studies.words import QUIET, in_folder

SHARED = (  # what random search with weight sharing takes over from the first variant
    "space", "channels", "layers", "cells", "stem", "lr", "lr_min", "momentum", "nesterov", "weight_decay", "clip",
    "channels_last", "checkpointing",
)  # fmt: skip


@dataclass(frozen=True)
class RandomGenotype(Baseline):
    """One architecture of the space, each edge's operation drawn uniformly.

    Where a node keeps some of its edges, these are drawn uniformly too. Its mean over seeds is what relative
    improvement over random is relative to (arXiv:1912.12522).
    """

    def find(self, cell: Cell, search: Mapping[str, Any], folder: Path) -> Genotype:
        space = find_space(search["model"]["init_args"]["space"])
        generator = torch.Generator().manual_seed(derived_seed(cell.seed, "random genotype"))
        strengths = {name: _one_an_edge(kind, generator) for name, kind in space.cells.items()}
        return Strongest().genotype(space, strengths)


@dataclass(frozen=True)
class RandomSharing(Baseline):
    """Random search with weight sharing (arXiv:1902.07638), as a search of its own.

    It takes network, data, trainer and step sizes of the weights of the first variant. The supernet is normalised by
    the batch, since running statistics would be those of all paths together.

    Args:
        epochs: Epochs of the supernet; by default those of the longest search.
        samples: How many architectures are compared at the end.
    """

    epochs: int | None = None
    samples: int = 100

    def for_cell(self, cell: Cell, epochs: int | None) -> RandomSharing:
        return replace(self, epochs=self.epochs or epochs)

    def search_words(self, search: Mapping[str, Any]) -> list[str]:
        own = {name: search["model"]["init_args"][name] for name in SHARED if name in search["model"]["init_args"]}
        selection = {"class_path": "robustnas.strategies.BestOfSampled", "init_args": {"samples": self.samples}}
        model = {**own, "batch_statistics": True, "selection": selection}
        trainer = {**search["trainer"], **({"max_epochs": self.epochs} if self.epochs else {})}
        sections = {"trainer": trainer, "diagnostics": search.get("diagnostics") or {}}
        return [
            as_word("model", {"class_path": "robustnas.variants.RandomSharing", "init_args": model}),
            as_word("data", search["data"]),
            *(
                as_word(f"{name}.{key}", value)
                for name, section in sections.items()
                for key, value in section.items()
                if value is not None
            ),
        ]

    def find(self, cell: Cell, search: Mapping[str, Any], folder: Path) -> Genotype:
        words = self.search_words(search)
        lightning_cli.main(["fit", QUIET, *words, f"--seed_everything={cell.seed}", *in_folder(folder)])
        return Run(folder).genotype()


@dataclass(frozen=True)
class ResNet(Baseline):
    """A plain residual network, about as large as the median of random networks of the space.

    Args:
        channels: Its width instead.
        blocks: Residual blocks of a stage.
    """

    channels: int | None = None
    blocks: int = 3

    def for_cell(self, cell: Cell, epochs: int | None) -> ResNet:
        if cell.evaluation is None:
            raise ValueError("Expected `evaluation`, whose recipe ResNet is trained with, but got none.")
        return self

    def find(self, cell: Cell, search: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        channels = self.channels or resnet_of_like_size(cell, search, folder, self.blocks)
        return {"class_path": "robustnas.training.ResNet", "init_args": {"channels": channels, "blocks": self.blocks}}


KINDS: dict[str, type[Baseline]] = {
    kind.__name__: kind
    for kind in (RandomGenotype, RandomSharing, RandomSearch, RegularisedEvolution, SuccessiveHalving, ResNet)
}


def baseline_of(cell: Cell) -> Baseline:
    """The baseline of a cell.

    Args:
        cell: The cell.

    Returns:
        The baseline, with its arguments.

    Raises:
        ValueError: If there is none of that name, or an argument is unknown or out of range.
    """
    if cell.variant not in KINDS:
        raise ValueError(f"Expected `baselines` to be among {', '.join(KINDS)}, but got {cell.variant!r}.")
    known = [each.name for each in fields(KINDS[cell.variant])]
    if unknown := [name for name in cell.arguments if name not in known]:
        wanted = f"only {', '.join(known)}" if known else "no arguments"
        raise ValueError(f"Expected {cell.variant} to have {wanted}, but got `{unknown[0]}`.")
    return KINDS[cell.variant](**cell.arguments)


def _one_an_edge(kind: CellSpace, generator: torch.Generator) -> Tensor:
    """Strengths ``[edges, operations]`` that are positive for one operation of each edge."""
    strengths = torch.zeros(kind.shape)
    for row, edge in enumerate(kind.edges):
        columns = list(kind.selectable(edge))
        column = columns[int(torch.randint(len(columns), (), generator=generator))]
        strengths[row, column] = 1 + torch.rand((), generator=generator)
    return strengths
