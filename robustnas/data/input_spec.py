"""What a network was trained on: how an image becomes its input, and what its outputs mean."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, get_args

from robustnas.data.decoding import Decoding
from robustnas.data.images import Task


@dataclass(frozen=True)
class InputSpec:
    """The inputs and outputs of a trained network; checkpoints of an evaluation hold it as plain values.

    Args:
        shape: Channels, height and width of the images.
        mean: Mean of each channel divided by 255.
        std: Standard deviation of each channel, likewise.
        classes: Names of the outputs.
        task: What is predicted.
        decoding: How image files were decoded; ``None`` where the data are no files, and nothing is converted.

    Raises:
        ValueError: If the values do not fit each other.
    """

    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]
    task: Task
    decoding: Decoding | None = None

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or not all(type(size) is int and size > 0 for size in self.shape):
            raise ValueError(f"Expected `shape` to be channels, height and width, but got {self.shape!r}.")
        for name in ("mean", "std"):
            values = getattr(self, name)
            numbers = all(isinstance(value, (int, float)) and math.isfinite(value) for value in values)
            if len(values) != self.shape[0] or not numbers or (name == "std" and min(values) <= 0):
                raise ValueError(f"Expected `{name}` to be a number for each channel, but got {values!r}.")
        if not self.classes or not all(isinstance(name, str) for name in self.classes):
            raise ValueError(f"Expected `classes` to name the outputs, but got {self.classes!r}.")
        if self.task not in get_args(Task):
            raise ValueError(f"Expected `task` to be one of {list(get_args(Task))}, but got {self.task!r}.")

    def plain(self) -> dict[str, Any]:
        """As JSON values; :meth:`of` reads them."""
        told = {"task": self.task, "decoding": None if self.decoding is None else asdict(self.decoding)}
        return {**{name: list(getattr(self, name)) for name in ("shape", "mean", "std", "classes")}, **told}

    @classmethod
    def of(cls, plain: Mapping[str, Any], source: str) -> InputSpec:
        """Read what :meth:`plain` gave; a ``ValueError`` names the ``source`` of what does not fit."""
        try:
            decoding = plain["decoding"]
            parts = {name: tuple(plain[name]) for name in ("shape", "mean", "std", "classes")}
            return cls(**parts, task=plain["task"], decoding=None if decoding is None else Decoding(**decoding))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"Expected {source} to describe the inputs of a network, but: {reason}") from error
