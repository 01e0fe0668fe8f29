"""The table of known accuracies in which a study looks up what its trials found."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustnas.runtime.paths import expand
from robustnas.spaces import Genotype, SearchSpace, find_space
from robustnas.tabular import Table
from robustnas.tabular.embedded import COLUMN
from robustnas.tabular.embedded import NAME as EMBEDDED

SCHEMA = 1


@dataclass(frozen=True)
class StudyTable:
    """A table of known accuracies."""

    file: str
    accuracy: str = "cifar10_test_200"  # column of true accuracies; nothing searches or selects by it
    validation: str | None = None  # column that searchers query; by default see :attr:`queried`

    @classmethod
    def of(cls, given: Any, folder: Path) -> StudyTable | None:
        """The table that a study file names, not yet read; a file is looked for in the study's folder first."""
        if given is None:
            return None
        given = {"file": given} if isinstance(given, str) else given
        names = ("file", "accuracy", "validation")
        right = isinstance(given, dict) and "file" in given and not set(given) - set(names)
        if not right or not all(isinstance(value, str) for value in given.values()):
            raise ValueError(f"Expected `table` to have a `file`, `accuracy` and `validation`, but got {given!r}.")
        if given["file"] == EMBEDDED:
            return cls(**{"accuracy": COLUMN, **given})
        file = expand(given["file"], "table.file")
        for path in (folder / file, file):
            if path.is_file():
                return cls(**{**given, "file": str(path)})
        raise ValueError(
            f"Expected `table.file` to be {EMBEDDED!r}, or a CSV or Parquet file beside the study or in the working "
            f"directory, but there is no {given['file']}."
        )

    @property
    def queried(self) -> str | None:
        """The column that baselines query, or ``None`` where neither the study nor a name says which."""
        named = re.fullmatch(r"(.+)_test_\d+", self.accuracy)
        return self.validation or (f"{named[1]}_valid_12" if named else None)

    @property
    def epochs(self) -> int | None:
        """Epochs of the trainings behind the queried column, by its name."""
        named = re.fullmatch(r".+_(\d+)", self.queried or "")
        return int(named[1]) if named else None

    def read(self, space: SearchSpace) -> Table:
        """The architectures of a space; refused where the table has none, or no column ``accuracy``."""
        table = Table.read_cached(self.file).within(space)
        table.column(self.accuracy)
        return table

    def truth(self, genotype: Genotype) -> dict[str, Any]:
        """Accuracy, regret and rank of an architecture by the table, as ``truth.json`` of a search holds them."""
        table, column = self.read(find_space(genotype.space)), self.accuracy
        rank = table.rank(genotype, column)
        return {
            "schema": SCHEMA, "table": self.file, "column": column, "genotype": str(genotype),
            "accuracy": table.accuracy(genotype, column), "regret": table.regret(genotype, column), "rank": rank.place,
            "of": rank.of, "best": table.best(column).accuracy, "mean": table.mean(column),
        }  # fmt: skip
