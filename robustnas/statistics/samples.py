"""Checks of the arguments of all statistics: enough numbers, finite, none missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def numbers(values: Iterable[float], name: str = "scores", minimum: int = 2) -> Array:
    """The values as an array ``[n]``; refused if too few, or not finite: a missing score is not dropped silently."""
    try:
        found = np.asarray(list(values), dtype=np.float64)
    except (TypeError, ValueError):
        found = np.empty((0, 0))
    if found.ndim != 1:
        raise ValueError(f"Expected `{name}` to be a list of numbers, but got {values!r}.")
    if len(found) < minimum:
        raise ValueError(f"Expected `{name}` to hold at least {minimum} numbers, but got {len(found)}.")
    if not np.isfinite(found).all():
        place = int(np.flatnonzero(~np.isfinite(found))[0])
        raise ValueError(
            f"Expected `{name}` to be finite numbers, but got {found[place]} at place {place + 1} of {len(found)}; "
            "leave out runs without a score and count them as missing."
        )
    return found


def same_length(**lists: Array) -> int:
    """The common length of lists, which are named in the error if they differ."""
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) > 1:
        said = " and ".join(f"{length} in `{name}`" for name, length in lengths.items())
        raise ValueError(f"Expected lists of the same length, but got {said}.")
    return next(iter(lengths.values()))


def table(scores: Mapping[str, Iterable[float]], tasks: int = 2) -> tuple[tuple[str, ...], Array]:
    """Scores of several methods on the same tasks: the names, and an array ``[tasks, methods]``."""
    if len(scores) < 2:
        raise ValueError(f"Expected `scores` to hold at least 2 methods, but got {len(scores)}.")
    columns = {name: numbers(values, f"scores[{name!r}]", tasks) for name, values in scores.items()}
    if len({len(column) for column in columns.values()}) > 1:
        said = ", ".join(f"{name}: {len(column)}" for name, column in columns.items())
        raise ValueError(f"Expected every method to have a score on every task, but got the numbers of scores {said}.")
    return tuple(columns), np.stack(list(columns.values()), axis=1)


def no_spread(values: Array) -> bool:
    """Whether all values are equal up to rounding."""
    return bool(np.ptp(values) <= 1e-9 * np.abs(values).max(initial=0.0))


def check_share(value: float, name: str) -> float:
    """Refuse a number that is not strictly between 0 and 1, such as a level."""
    if not 0 < value < 1:
        raise ValueError(f"Expected `{name}` to be between 0 and 1, but got {value}.")
    return value


def seeded(seed: int = 0) -> Any:
    """Keyword arguments that make a random procedure of scipy deterministic."""
    return {"random_state": np.random.default_rng(seed)}
