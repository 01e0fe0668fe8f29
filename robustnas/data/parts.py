"""Training, validation and test part of a data set, by the usual names of their folders and files."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch

from robustnas.data.images import Images

Part = Literal["train", "val", "test"]
SPELLINGS: dict[str, Part] = {
    "train": "train", "training": "train", "test": "test", "testing": "test",
    "val": "val", "valid": "val", "validation": "val",
}  # fmt: skip


def part_of(name: str) -> Part | None:
    """The part with this usual name, in any case, singular or plural; ``None`` for other names."""
    return SPELLINGS.get(name.lower()) or SPELLINGS.get(name.lower().removesuffix("s"))


def with_validation(train: Images, val: Images | None) -> Images:
    """Append the validation part, if there is one, to the training part; it becomes the role selection."""
    if val is None:
        return train
    check_alike(train, val, "validation")
    reading = {**train.reading, **({"validation": dict(val.reading)} if val.reading else {})}
    pixels, targets = torch.cat([train.pixels, val.pixels]), torch.cat([train.targets, val.targets])
    return replace(train, pixels=pixels, targets=targets, reading=reading, validation=len(val))


def check_alike(train: Images, other: Images, part: Literal["validation", "test"]) -> None:
    """Refuse a part with another task, other classes or another image shape than the training part."""
    for name in ("task", "classes", "shape"):
        ours, theirs = getattr(train, name), getattr(other, name)
        if ours != theirs:
            raise ValueError(
                f"Expected the {part} part to have the {name} of the training part, {ours}, but got {theirs}."
            )
