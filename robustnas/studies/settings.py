"""Settings of an evaluation: under each of them the network that a trial found is trained."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from robustnas.studies.trial import Options, in_folder

Size = Literal["recipe", "search"]
Levels = dict[str, dict[str, Options]]  # factor to level to options

SETTINGS = 1000  # of an evaluation
NETWORK = ("model", "architecture")
SIZES = ("channels", "layers", "cells", "stem")  # what a network takes over from the search that found it
OWN = ("genotype", "space", "inherit_from")


@dataclass(frozen=True)
class Settings:
    """Every combination of the levels of some factors, by name such as ``lr=0.1, decay=1e-4``."""

    options: Mapping[str, Options]

    @classmethod
    def of(cls, factors: Levels, size: Size) -> Settings:
        """The settings of an evaluation, checked but for what its options mean."""
        for factor, levels in factors.items():
            for level, given in levels.items():
                _check(f"evaluation.settings.{factor}.{level}", given, size)
        count = math.prod(map(len, factors.values()))
        if count > SETTINGS:
            raise ValueError(f"Expected `evaluation.settings` to combine to at most {SETTINGS}, but got {count:,}.")
        found: dict[str, Options] = {}
        for chosen in itertools.product(*(levels.items() for levels in factors.values())):
            options: Options = {}
            for _, given in chosen:
                if both := sorted(set(given) & set(options)):
                    raise ValueError(
                        f"Expected each option to be set by one factor of `evaluation.settings`, but two set {both[0]}."
                    )
                options |= given
            pairs = zip(factors, chosen, strict=True)
            found[", ".join(f"{factor}={level}" for factor, (level, _) in pairs)] = options
        _check_folders(found)
        return cls(found if factors else {})


def checked_size(given: Any) -> Size:
    """The key ``size`` of an evaluation."""
    if given not in get_args(Size):
        raise ValueError(f"Expected `evaluation.size` to be one of {', '.join(get_args(Size))}, but got {given!r}.")
    size: Size = given
    return size


def _check(where: str, options: Options, size: Size) -> None:
    """Refuse options that are not of the training: the network is the one that was found."""
    if not options:
        raise ValueError(f"Expected `{where}` to set an option, but got none.")
    for name, value in options.items():
        parts = tuple(part for part in name.split(".") if part != "init_args")
        own = {*OWN, *(SIZES if size == "search" else ())}
        if parts[:2] == NETWORK and (len(parts) == 2 or parts[2] in own | {"class_path"}):
            raise ValueError(
                f"Expected `{where}` to leave out `{name}`, since the study sets the network that is trained, "
                f"but got {value!r}."
            )


def check_size(options: Options) -> None:
    """Refuse options of an evaluation that set what ``size: search`` sets."""
    for name, value in options.items():
        parts = tuple(part for part in name.split(".") if part != "init_args")
        if parts[:2] == NETWORK and len(parts) == 3 and parts[2] in SIZES:
            raise ValueError(
                f"Expected `evaluation.options` to leave out `{name}`, since `size: search` takes it from the search, "
                f"but got {value!r}."
            )


def size_of(search: Mapping[str, Any]) -> Options:
    """Arguments of the network for the size that a search has, by its configuration."""
    given = search["model"]["init_args"]
    return {name: given[name] for name in SIZES if given.get(name) is not None}


def _check_folders(settings: Mapping[str, Options]) -> None:
    seen: dict[str, str] = {}
    for name in settings:
        folder = in_folder(name)
        if (other := seen.setdefault(folder.casefold(), name)) != name:
            raise ValueError(
                f"Expected each of `evaluation.settings` to have a folder of its own, but {other!r} and {name!r} "
                f"would share {folder}; name them more differently."
            )
