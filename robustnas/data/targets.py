"""Columns of a table to the targets of a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, NamedTuple

import torch
from torch import Tensor

from robustnas.data.images import Task


class Targets(NamedTuple):
    """``values`` in the form :class:`~robustnas.data.images.Images` takes, and the ``names`` of the outputs."""

    values: Tensor
    names: tuple[str, ...]


def encode_targets(
    columns: Mapping[str, Sequence[Any]], task: Task, source: str, names: tuple[str, ...] | None = None
) -> Targets:
    """Read the targets of a task from the columns that hold them.

    Args:
        columns: Values by name of the column. Classification takes one column of class indices or class names; the
            other tasks one column for each output, or one column of lists.
        task: The task.
        source: Where the columns come from, for messages.
        names: Names of the classes where they are known. Otherwise text gives its distinct values, in the order of the
            numbers if all are whole numbers, or of the alphabet; class indices give their decimal form.

    Returns:
        Targets and names. Multilabel and regression targets are ``[samples, outputs]``, also for one output.

    Raises:
        ValueError: If there are no rows, or a value is missing or has a type the task cannot use.
    """
    if not all(columns.values()):
        raise ValueError(f"Expected {source} to hold at least one row, but got none.")
    if task == "classification":
        if len(columns) != 1:
            raise ValueError(f"Expected one target column for classification, but got {list(columns)}.")
        ((name, values),) = columns.items()
        return _classes(list(values), f"column {name!r} of {source}", names)
    return _numbers(columns, source)


def _classes(values: list[Any], where: str, names: tuple[str, ...] | None) -> Targets:
    for row, value in enumerate(values):
        if not isinstance(value, (Integral, str)):
            raise ValueError(f"Expected {where} to hold class indices or names, but got {value!r} in row {row}.")
    if any(isinstance(value, str) for value in values):
        texts = [str(value) for value in values]
        known = names or _sorted_names(set(texts))
        place = {name: i for i, name in enumerate(known)}
        for row, text in enumerate(texts):
            if text not in place:
                raise ValueError(f"Expected {where} to hold classes of {list(known)}, but got {text!r} in row {row}.")
        return Targets(torch.tensor([place[text] for text in texts], dtype=torch.int64), known)
    indices = torch.tensor([int(value) for value in values], dtype=torch.int64)
    if names is None:
        names = tuple(str(i) for i in range(int(indices.max()) + 1)) if len(indices) else ()
    return Targets(indices, names)


def _numbers(columns: Mapping[str, Sequence[Any]], source: str) -> Targets:
    outputs: list[Tensor] = []
    names: list[str] = []
    for name, values in columns.items():
        where = f"column {name!r} of {source}"
        expected = f"{where} to hold numbers"
        numbers = [_as_floats(value, f"{expected}, but got {value!r} in row {row}") for row, value in enumerate(values)]
        if len({len(row) if isinstance(row, list) else -1 for row in numbers}) > 1:
            raise ValueError(f"Expected {where} to hold as many numbers in each row, but got lists of several lengths.")
        column = torch.tensor(numbers, dtype=torch.float32)
        outputs.append(column.reshape(len(values), -1))
        width = outputs[-1].shape[1]
        names += [name] if column.ndim == 1 else [f"{name}_{i}" for i in range(width)]
    return Targets(torch.cat(outputs, 1), tuple(names))


def _as_floats(value: Any, expectation: str) -> float | list[float]:
    try:
        return [float(part) for part in value] if isinstance(value, (list, tuple)) else float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"Expected {expectation}.") from error


def _sorted_names(names: set[str]) -> tuple[str, ...]:
    if all(name.isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))
