"""Options of a model that come from its data and from the seed; help shows these functions by their names."""

from __future__ import annotations

from robustnas.data import ImageData
from robustnas.data.images import Task


def num_classes(data: ImageData) -> int:
    """The option ``num_classes`` of a model for the data."""
    return data.num_classes


def image_channels(data: ImageData) -> int:
    """The option ``image_channels`` of a model for the data."""
    return data.image_shape[0]


def task(data: ImageData) -> Task:
    """The option ``task`` of a model for the data."""
    return data.task


def seed(seed_everything: bool | int) -> int:
    """The option ``seed`` of a model and of its data."""
    if isinstance(seed_everything, bool) or not 0 <= seed_everything < 2**32:
        raise ValueError(f"Expected `seed_everything` to be a number from 0 to {2**32 - 1}, but got {seed_everything}.")
    return seed_everything


LINKS = {read.__name__: read for read in (num_classes, image_channels, task)}
