"""What every baseline of a study can say of itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from robustnas.spaces import Genotype
from robustnas.studies.trial import Trial


@dataclass(frozen=True)
class Baseline(ABC):
    """A way to find a network that a gradient search has to beat; its fields are whole numbers from 1."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not (value is None and each.default is None) and (type(value) is not int or value < 1):
                raise ValueError(
                    f"Expected `{each.name}` of {type(self).__name__} to be a whole number from 1, but got {value!r}."
                )

    def planned(self, trial: Trial, epochs: int | None) -> Baseline:
        """Return the baseline with what the study leaves open filled in, so that it costs what the searches cost.

        ``epochs`` are those of the longest search of a variant on the same task; ``None`` where none has an end.

        Raises:
            ValueError: If it makes no sense in the study.
        """
        if trial.evaluation is None and trial.table is None:
            raise ValueError(f"Expected `evaluation` or `table` for {type(self).__name__}, but got neither.")
        return self

    def search(self, variant: Mapping[str, Any]) -> dict[str, Any] | None:
        """Its configuration, made of that of the first variant, if it is a search by ``robustnas fit``."""
        return None

    @property
    def trained(self) -> int:
        """Epochs for which it trains networks, at most."""
        return 0

    @abstractmethod
    def find(self, trial: Trial, folder: Path) -> Genotype | dict[str, Any]:
        """Return a genotype of the space, or a network as the argument ``architecture`` of an evaluation.

        Files such as ``trace.json`` are left in ``folder``; what lies there is of an earlier attempt.
        """
