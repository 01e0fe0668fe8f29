"""What a constant answer reaches, and up to where an accuracy is no better than that."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

DEVIATIONS = 3.0  # of the mean over the samples: a constant answer is further above its accuracy once in 740 times
NEAR = 1 / 9  # of the way to all answers right: with ten classes of one size that is twice chance


def margin(constant: float) -> float:
    """As much as a constant answer reaches, at most a ninth of what it gets wrong: what is nearer is no better."""
    return min(constant, NEAR * (1 - constant))


def near(constant: float, samples: int | None = None) -> float:
    r"""The largest accuracy near that of a constant answer, :math:`c + \max(m, 3 \sqrt{c (1 - c) / n})`.

    Args:
        constant: Accuracy :math:`c` of the constant answer; :math:`m` is its :func:`margin`.
        samples: Number :math:`n` of samples that accuracies are measured on; ``None``: not known, and without effect.

    Returns:
        The accuracy.
    """
    error = DEVIATIONS * math.sqrt(constant * (1 - constant) / samples) if samples else 0.0
    return constant + max(margin(constant), error)


def constant_answer(counts: object) -> tuple[float, int] | None:
    """Accuracy of the largest class as the answer to all samples, and their number, from the samples of each class."""
    if not isinstance(counts, Mapping) or len(counts) < 2:
        return None
    sizes: list[Any] = list(counts.values())
    if not all(type(size) is int and size >= 0 for size in sizes) or max(sizes) == sum(sizes):  # of one class alone
        return None
    return max(sizes) / sum(sizes), sum(sizes)
