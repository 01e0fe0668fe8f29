"""Parts that a data set comes in: training, validation and test, by the usual names of their folders and files."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch

from robustnas.data.images import Images

Part = Literal["train", "val", "test"]
SPELLINGS: dict[str, Part] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def part_of(name: str) -> Part | None:
    """The part that a name stands for.

    Args:
        name: Name of a folder or split, in any case, singular or plural.

    Returns:
        The part, or ``None`` where it is no usual name of one.
    """
    return SPELLINGS.get(name.lower()) or SPELLINGS.get(name.lower().removesuffix("s"))


def with_validation(train: Images, val: Images | None) -> Images:
    """A training part together with the validation part of its data set, which then is the role selection.

    Args:
        train: The training part.
        val: The validation part, where there is one.

    Returns:
        The images of both.

    Raises:
        ValueError: If the parts do not fit together.
    """
    if val is None:
        return train
    check_alike(train, val, "validation")
    reading = {**train.reading, **({"validation": dict(val.reading)} if val.reading else {})}
    pixels, targets = torch.cat([train.pixels, val.pixels]), torch.cat([train.targets, val.targets])
    return replace(train, pixels=pixels, targets=targets, reading=reading, validation=len(val))


def check_alike(train: Images, other: Images, part: Literal["validation", "test"]) -> None:
    """Refuse a part that does not fit the training part.

    Args:
        train: The training part.
        other: The other part.
        part: What it is called.

    Raises:
        ValueError: If it has another task, other classes or images of another shape.
    """
    for name in ("task", "classes", "shape"):
        ours, theirs = getattr(train, name), getattr(other, name)
        if ours != theirs:
            raise ValueError(
                f"Expected the {part} part to have the {name} of the training part, {ours}, but got {theirs}."
            )
