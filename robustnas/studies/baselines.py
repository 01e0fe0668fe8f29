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
from robustnas.studies.grid import Cell


class Baseline(ABC):
    """An answer to which network is trained where nothing is learned about architectures."""

    @abstractmethod
    def find(self, cell: Cell, search: Mapping[str, Any], folder: Path) -> Genotype | dict[str, Any]:
        """Find an architecture.

        Args:
            cell: The cell, with the seed of everything, and the evaluation that will follow.
            search: Configuration of a search in the same space on the same data: ``model``, ``data``, ``trainer``.
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

    def find(self, cell: Cell, search: Mapping[str, Any], folder: Path) -> Genotype:
        space = find_space(search["model"]["init_args"]["space"])
        generator = torch.Generator().manual_seed(derived_seed(cell.seed, "random genotype"))
        strengths = {name: _one_an_edge(kind, generator) for name, kind in space.cells.items()}
        return Strongest().genotype(space, strengths)


def _one_an_edge(kind: CellSpace, generator: torch.Generator) -> Tensor:
    """Strengths ``[edges, operations]`` that are positive for one operation of each edge."""
    strengths = torch.zeros(kind.shape)
    for row, edge in enumerate(kind.edges):
        columns = [k for k, name in enumerate(edge.operations) if name not in kind.never_selected]
        column = columns[int(torch.randint(len(columns), (), generator=generator))]
        strengths[row, column] = 1 + torch.rand((), generator=generator)
    return strengths


BASELINES: dict[str, Baseline] = {"RandomGenotype": RandomGenotype()}
