"""What every baseline of a study is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from robustnas.spaces import Genotype
from robustnas.studies.grid import Cell


@dataclass(frozen=True)
class Baseline(ABC):
    """An answer to which network is trained where no gradient decides about architectures."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not (value is None and each.default is None) and (type(value) is not int or value < 1):
                raise ValueError(
                    f"Expected `{each.name}` of {type(self).__name__} to be a whole number from 1, but got {value!r}."
                )

    def for_cell(self, cell: Cell, epochs: int | None) -> Baseline:
        """What it is in a cell, with the budget that the searches have.

        Args:
            cell: The cell.
            epochs: Epochs of the longest search of a variant on the same task; ``None`` where none has an end.

        Returns:
            The baseline, with what the study leaves open filled in.

        Raises:
            ValueError: If it makes no sense in the study.
        """
        if cell.evaluation is None and cell.table is None:
            raise ValueError(f"Expected `evaluation` or `table` for {type(self).__name__}, but got neither.")
        return self

    def search_words(self, search: Mapping[str, Any]) -> list[str] | None:
        """Options of the search that it is, or ``None`` where it is none."""
        return None

    @property
    def trained(self) -> int:
        """Epochs for which it trains networks, at most."""
        return 0

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
