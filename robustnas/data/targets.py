"""Conversion of table columns to targets."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, NamedTuple

import torch
from torch import Tensor

from robustnas.data.images import Task
from robustnas.data.wording import listed
from robustnas.runtime.csv_files import number_hint

NO_NUMBER = ("nan", "na", "n/a", "none", "null", "<na>")


class Targets(NamedTuple):
    """``values`` as in :class:`~robustnas.data.images.Images`, and the ``names`` of the outputs."""

    values: Tensor
    names: tuple[str, ...]


def encode_targets(
    columns: Mapping[str, Sequence[Any]],
    task: Task,
    source: str,
    names: tuple[str, ...] | None = None,
    classes: tuple[str, ...] | None = None,
) -> Targets:
    """Convert table columns to targets: a column of classes, or a column of numbers or lists for each output."""
    if not all(columns.values()):
        raise ValueError(f"Expected {source} to hold at least one row, but got none.")
    if task == "classification":
        if len(columns) != 1:
            raise ValueError(f"Expected one target column for classification, but got {list(columns)}.")
        ((name, values),) = columns.items()
        return _classes(list(values), f"column {name!r} of {source}", names, classes)
    return _numbers(columns, source)


def _classes(values: list[Any], where: str, names: tuple[str, ...] | None, classes: tuple[str, ...] | None) -> Targets:
    gap = _word_for_gap(values)
    missing = [row for row, value in enumerate(values) if _is_missing(value) or (gap and value == gap)]
    if missing:
        raise ValueError(
            f"Expected {where} to hold a class in each row, but {len(missing)} of {len(values)} rows have none: "
            f"{listed(missing)}, counted from 0."
        )
    # Integers are indices of `names` or names themselves, as are the floats that pandas makes of a column with a gap.
    texts = [_class_text(value, row, where, names) for row, value in enumerate(values)]
    decimals = all(re.fullmatch(r"\d+\.0+", text) for text in texts)
    whole = [text.partition(".")[0] for text in texts] if decimals else texts
    known = classes or names or _sorted_names(set(whole))
    place = {name: i for i, name in enumerate(known)}
    found = [place.get(text, place.get(other, -1)) for text, other in zip(texts, whole, strict=True)]
    if -1 in found:
        row = found.index(-1)
        raise ValueError(f"Expected {where} to hold classes of {listed(known)}, but got {texts[row]!r} in row {row}.")
    return Targets(torch.tensor(found, dtype=torch.int64), known)


def _is_missing(value: Any) -> bool:
    blank = isinstance(value, str) and not value.strip()
    return value is None or blank or (isinstance(value, Real) and math.isnan(value))


def _word_for_gap(values: list[Any]) -> str | None:
    """The word, such as ``nan``, that stands for no label among texts which are numbers otherwise."""
    words = {value for value in values if isinstance(value, str) and not re.fullmatch(r"-?\d+(\.\d*)?", value)}
    word = words.pop() if len(words) == 1 else ""
    return word if word.strip().lower() in NO_NUMBER and any(value != word for value in values) else None


def _class_text(value: Any, row: int, where: str, names: tuple[str, ...] | None) -> str:
    if isinstance(value, str) and not (names is None and re.fullmatch(r"-\d+(\.0+)?", value)):
        return value
    value = float(value) if isinstance(value, str) else value
    whole = isinstance(value, Integral) or (isinstance(value, Real) and float(value).is_integer())
    if not whole:
        raise ValueError(f"Expected {where} to hold class indices or names, but got {value!r} in row {row}.")
    index = int(value)
    if index < 0:
        raise ValueError(
            f"Expected {where} to hold class indices from 0 on or names, but got {index} in row {row}, which usually "
            "marks a sample without label."
        )
    if names is None:
        return str(index)
    if index >= len(names):
        raise ValueError(
            f"Expected {where} to hold indices below {len(names)}, the number of its class names {listed(names)}, "
            f"but got {index} in row {row}."
        )
    return names[index]


def _numbers(columns: Mapping[str, Sequence[Any]], source: str) -> Targets:
    outputs: list[Tensor] = []
    names: list[str] = []
    for name, values in columns.items():
        where = f"column {name!r} of {source}"
        expected = f"{where} to hold numbers"
        numbers = [_as_floats(value, f"{expected}, but got {value!r}", row) for row, value in enumerate(values)]
        if len({len(row) if isinstance(row, list) else -1 for row in numbers}) > 1:
            raise ValueError(f"Expected {where} to hold as many numbers in each row, but got lists of several lengths.")
        column = torch.tensor(numbers, dtype=torch.float32)
        outputs.append(column.reshape(len(values), -1))
        width = outputs[-1].shape[1]
        names += [name] if column.ndim == 1 else [f"{name}_{i}" for i in range(width)]
    return Targets(torch.cat(outputs, 1), tuple(names))


def _as_floats(value: Any, expectation: str, row: int) -> float | list[float]:
    hint = ""
    try:
        if not isinstance(value, str):
            return [float(part) for part in value] if isinstance(value, (list, tuple)) else float(value)
        hint = number_hint(value)
        if "_" not in value:  # which Python passes over
            return float(value)
    except (TypeError, ValueError):
        pass
    raise ValueError(f"Expected {expectation}{hint} in row {row}.")


def _sorted_names(names: set[str]) -> tuple[str, ...]:
    if all(name.isdecimal() for name in names):
        digits = {name: name.lstrip("0") for name in names}  # compared as texts: Python reads no number of 4,301 digits
        return tuple(sorted(names, key=lambda name: (len(digits[name]), digits[name], name)))
    return tuple(sorted(names))
