"""What every statistic asks of its numbers: enough of them, finite, and nothing left out in silence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def numbers(values: Iterable[float], name: str = "scores", least: int = 2) -> Array:
    """The values as an array, once they are known to be fit for a statistic.

    A run without a score is an answer that is missing, not one to be dropped here: ``nan`` is refused, and whoever
    calls leaves such a run out and counts it.

    Args:
        values: The values.
        name: Argument they came in by, for the error.
        least: How many there must be.

    Returns:
        The values, ``[n]``, in float64.

    Raises:
        ValueError: If they are too few, not finite or not numbers.
    """
    try:
        found = np.asarray(list(values), dtype=np.float64)
    except (TypeError, ValueError):
        found = np.empty((0, 0))
    if found.ndim != 1:
        raise ValueError(f"Expected `{name}` to be a list of numbers, but got {values!r}.")
    if len(found) < least:
        raise ValueError(f"Expected `{name}` to hold at least {least} numbers, but got {len(found)}.")
    if not np.isfinite(found).all():
        place = int(np.flatnonzero(~np.isfinite(found))[0])
        raise ValueError(
            f"Expected `{name}` to be finite numbers, but got {found[place]} at place {place + 1} of {len(found)}; "
            "leave out runs without a score and count them as missing."
        )
    return found


def same_length(**lists: Array) -> int:
    """The common length of lists that belong together.

    Args:
        **lists: The lists, by the name of their argument.

    Returns:
        Their length.

    Raises:
        ValueError: If they differ in it.
    """
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) > 1:
        said = " and ".join(f"{length} in `{name}`" for name, length in lengths.items())
        raise ValueError(f"Expected lists of one length, but got {said}.")
    return next(iter(lengths.values()))


def table(scores: Mapping[str, Iterable[float]], least: int = 2, tasks: int = 2) -> tuple[tuple[str, ...], Array]:
    """Scores of several methods on the same tasks as one array.

    Args:
        scores: Method to its scores, one for each task, all in one order.
        least: How many methods there must be.
        tasks: How many tasks there must be.

    Returns:
        The names of the methods, and their scores, ``[tasks, methods]``.

    Raises:
        ValueError: If there are too few, or a method lacks a task.
    """
    if len(scores) < least:
        raise ValueError(f"Expected `scores` to hold at least {least} methods, but got {len(scores)}.")
    columns = {name: numbers(values, f"scores[{name!r}]", tasks) for name, values in scores.items()}
    if len({len(column) for column in columns.values()}) > 1:
        said = ", ".join(f"{name}: {len(column)}" for name, column in columns.items())
        raise ValueError(f"Expected every method to have a score on every task, but got the numbers of scores {said}.")
    return tuple(columns), np.stack(list(columns.values()), axis=1)


def no_spread(values: Array) -> bool:
    """Whether values are one number but for rounding."""
    return bool(np.ptp(values) <= 1e-9 * np.abs(values).max(initial=0.0))


def check_share(value: float, name: str) -> float:
    """A probability strictly between 0 and 1, such as a level.

    Args:
        value: The number.
        name: Argument it came in by.

    Returns:
        The number.

    Raises:
        ValueError: If it is none.
    """
    if not 0 < value < 1:
        raise ValueError(f"Expected `{name}` to be between 0 and 1, but got {value}.")
    return value


def seeded(seed: int = 0) -> Any:
    """Keyword arguments that make a random procedure of scipy the same every time."""
    return {"random_state": np.random.default_rng(seed)}
