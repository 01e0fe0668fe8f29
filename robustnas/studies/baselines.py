"""What every variant is measured against: architectures that no gradient found."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robustnas.data.batch import derived_seed
from robustnas.spaces import CellSpace, Genotype, find_space
from robustnas.strategies import Strongest


class Baseline(ABC):
    """An answer to which network is trained where nothing is learned about architectures."""

    @abstractmethod
    def find(self, search: Mapping[str, Any], seed: int, folder: Path) -> Genotype | dict[str, Any]:
        """Find an architecture.

        Args:
            search: Configuration of a search in the same space on the same data: ``model``, ``data``, ``trainer``.
            seed: Seed of everything.
            folder: Where to leave what comes up, such as ``metrics.csv``; what lies there is of an earlier attempt.

        Returns:
            A genotype of the space, or a network as the argument ``architecture`` of an evaluation.
        """


@dataclass(frozen=True)
class RandomGenotype(Baseline):
    """One architecture of the space, each edge's operation drawn uniformly.

    Where a node keeps some of its edges, these are drawn uniformly too. Its mean over seeds is what relative
    improvement over random is relative to (arXiv:1912.12522).
    """

    def find(self, search: Mapping[str, Any], seed: int, folder: Path) -> Genotype:
        space = find_space(search["model"]["init_args"]["space"])
        generator = torch.Generator().manual_seed(derived_seed(seed, "random genotype"))
        strengths = {kind: _one_an_edge(cell, generator) for kind, cell in space.cells.items()}
        return Strongest().genotype(space, strengths)


def _one_an_edge(cell: CellSpace, generator: torch.Generator) -> Tensor:
    """Strengths ``[edges, operations]`` that are positive for one operation of each edge."""
    strengths = torch.zeros(cell.shape)
    for row, edge in enumerate(cell.edges):
        columns = [k for k, name in enumerate(edge.operations) if name not in cell.never_selected]
        column = columns[int(torch.randint(len(columns), (), generator=generator))]
        strengths[row, column] = 1 + torch.rand((), generator=generator)
    return strengths


BASELINES: dict[str, Baseline] = {"RandomGenotype": RandomGenotype()}
