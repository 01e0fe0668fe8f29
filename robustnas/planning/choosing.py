"""Choose the largest size that gets enough epochs within a budget, by measuring sizes from small to large."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from robustnas.planning.durations import counted, duration
from robustnas.planning.probe import Memory, Stage
from robustnas.planning.rules import MARGIN, Size

MUCH = 0.25  # share of the time from which on it is said what diagnostics take


@dataclass(frozen=True)
class Epochs:
    """Epochs that a run may have: below ``fewest`` none is planned, ``enough`` let a larger size be tried."""

    fewest: int
    enough: int
    most: int


@dataclass(frozen=True)
class Measured:
    """A size, what was measured of it, and the epochs that fit."""

    size: Size | None
    stage: Stage
    memory: Memory
    epochs: int


def choose(
    sizes: Sequence[Size | None],
    measure: Callable[[Size | None], tuple[Stage, Memory]],
    budget: float | None,
    epochs: Epochs,
    elapsed: Callable[[], float],
) -> Measured:
    """Choose a size and its epochs.

    Args:
        sizes: Sizes from small to large, or ``None`` alone for that of the configuration.
        measure: Takes the first steps of one.
        budget: Seconds, those of measuring included; ``None`` takes the most epochs however long they are.
        epochs: What is allowed and wanted.
        elapsed: Seconds since the command began.

    Returns:
        The largest size that gets enough epochs and fits into the memory of the GPU; the smallest where none does.

    Raises:
        ValueError: If the smallest size does not get the fewest epochs, or does not fit into that memory.
    """
    best: Measured | None = None
    enough, fitting = min(epochs.enough, epochs.most), math.inf
    for size in sizes:
        if best is not None and fitting < enough * _deeper(best.size, size):
            break
        try:
            stage, memory = measure(size)
        except torch.OutOfMemoryError as error:
            if best is not None:
                break
            raise ValueError(
                "Expected the smallest network here to fit into the memory of the GPU, but it does not: give a smaller "
                "`--data.batch_size` or `--data.image_size`."
            ) from error
        fits = math.inf if budget is None else stage.epochs_within(MARGIN * budget - elapsed())
        if best is not None and fits < enough:
            break
        fitting = fits
        best = Measured(size, stage, memory, int(min(epochs.most, fitting)))
    if best is None:
        raise ValueError("Expected `sizes` to hold one, but got none.")
    fewest = min(epochs.fewest, epochs.most)
    if budget is not None and best.epochs < fewest:
        needed, taken = (elapsed() + best.stage.seconds(fewest)) / MARGIN, best.stage.required(fewest)
        unit = 1 if needed < 100 else 60  # rounded up, so that it is enough
        raise ValueError(
            f"Expected `--budget` to allow {counted(fewest, 'epoch')} of the smallest network here, about "
            f"{duration(unit * math.ceil(needed / unit))}{watched(taken, needed)}, but got "
            f"{duration(budget)}; fewer images, a smaller `image_size` or a GPU take less."
        )
    return best


def watched(taken: float, whole: float) -> str:
    """What to say of the time that diagnostics take, where it is much."""
    if taken <= MUCH * whole:
        return ""
    return f", {taken / whole:.0%} of it for diagnostics (none with `--diagnostics.measures=[]`)"


def _deeper(size: Size | None, other: Size | None) -> float:
    """How many times as many cells another size has: a step takes longer by that factor at least."""
    if size is None or other is None:
        return 1.0
    return (other.depth or 1) / (size.depth or 1)
