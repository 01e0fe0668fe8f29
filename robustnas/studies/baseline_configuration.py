"""What the variants of a study are measured against: its ``baselines`` and its ``table``."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from robustnas.runtime.paths import expand

Arguments = dict[str, Any]

TRAINED = ("RandomGenotype", "RandomSharing", "ResNet")  # the default where what is found is trained
LOOKED_UP = ("RandomGenotype", "RandomSharing", "RandomSearch", "RegularisedEvolution")  # where it is looked up


@dataclass(frozen=True)
class Tabular:
    """A table of known accuracies that a study looks results up in.

    Args:
        file: The table, see :class:`~robustnas.tabular.Table`.
        accuracy: Its column of what is true of an architecture. Nothing selects by it.
        validation: Its column that random search and evolution ask; by default the one of the same data on the
            validation set after 12 epochs, where ``accuracy`` is called like ``cifar10_test_200``.
    """

    file: str
    accuracy: str = "cifar10_test_200"
    validation: str | None = None

    @classmethod
    def of(cls, given: Any, folder: Path) -> Tabular | None:
        """What a study file says of its table.

        Args:
            given: The file name, or ``file``, ``accuracy`` and ``validation``; ``None`` for no table.
            folder: Folder of the study, beside which the table is looked for first.

        Returns:
            The table, not yet read.

        Raises:
            ValueError: If it is something else, or there is no such file.
        """
        if given is None:
            return None
        given = {"file": given} if isinstance(given, str) else given
        names = ("file", "accuracy", "validation")
        right = isinstance(given, dict) and "file" in given and not set(given) - set(names)
        if not right or not all(isinstance(value, str) for value in given.values()):
            raise ValueError(f"Expected `table` to have a `file`, `accuracy` and `validation`, but got {given!r}.")
        file = expand(given["file"], "table.file")
        for path in (folder / file, file):
            if path.is_file():
                return cls(**{**given, "file": str(path)})
        raise ValueError(
            f"Expected `table.file` to be a CSV or Parquet file beside the study or in the working directory, but "
            f"there is no {given['file']}."
        )

    @property
    def asked(self) -> str | None:
        """The column that baselines ask, or ``None`` where neither the study nor a name says which."""
        named = re.fullmatch(r"(.+)_test_\d+", self.accuracy)
        return self.validation or (f"{named[1]}_valid_12" if named else None)

    @property
    def epochs(self) -> int | None:
        """How many epochs of training stand behind an answer, by the name of the column."""
        named = re.fullmatch(r".+_(\d+)", self.asked or "")
        return int(named[1]) if named else None

    @property
    def held(self) -> dict[str, Any]:
        """Its fields, as JSON can hold them."""
        return asdict(self)


def baselines_of(held: Mapping[str, Any], taken: Collection[str], table: Tabular | None) -> dict[str, Arguments]:
    """The baselines of a study with their arguments.

    Args:
        held: What the study file holds: ``baselines`` is a list of names, or of names with arguments, or a mapping of
            names to arguments; without it there are cheap ones that make sense in the study, ``[]`` is none.
        taken: Names of the variants, which no default baseline takes.
        table: The table of the study.

    Returns:
        Name to arguments.

    Raises:
        ValueError: If it is something else, or names one twice.
    """
    if "baselines" not in held:
        trains = held.get("evaluation", {}) is not None
        names = TRAINED if trains else ("RandomSharing",)
        if table is not None:
            looked_up = LOOKED_UP if table.asked else LOOKED_UP[:2]
            names = tuple(dict.fromkeys([*looked_up, *TRAINED])) if trains else looked_up
        return {name: {} for name in names if name.casefold() not in {other.casefold() for other in taken}}
    given = held["baselines"]
    listed = list(given.items()) if isinstance(given, dict) else [_named(each) for each in _listed(given)]
    found: dict[str, Arguments] = {}
    for name, arguments in listed:
        if not isinstance(name, str) or not isinstance(arguments, dict | None):
            _refuse(given)
        if name in found:
            raise ValueError(f"Expected `baselines` to differ from each other, but got {name} twice.")
        found[name] = {str(key): value for key, value in (arguments or {}).items()}
    return found


def _listed(given: Any) -> list[Any]:
    return [] if given is None else given if isinstance(given, list) else _refuse(given)


def _named(each: Any) -> tuple[Any, Any]:
    """An entry of a list: a name, or one with its arguments."""
    if isinstance(each, dict) and len(each) == 1:
        return next(iter(each.items()))
    return each, None


def _refuse(given: Any) -> NoReturn:
    raise ValueError(f"Expected `baselines` to be a list of names, or names with their arguments, but got {given!r}.")
