r"""The rule that curvature in α has risen (arXiv:1909.09656), for the search that stops by it and for the verdict.

Averages of up to a window of measurements are compared, from half a window on; each belongs to its window's centre.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

WINDOW, LAG, RATIO, START = 5, 4, 1.3, 10  # of the published trainer
SPACING = 2  # epochs between two of its measurements
FEW = 10  # measurements below which a whole window and lag leave hardly any to be judged
NEGLIGIBLE = 1e-3  # an average that is nothing to rise from: the weight decay of α, the floor of the published trainer


class Rise(NamedTuple):
    """Ratio of an average to an earlier one, and the measurement at the latter's centre, to which a search returns."""

    ratio: float
    centre: int


def window_and_lag(spacing: float, count: float) -> tuple[int, int]:
    """Return window and lag in measurements, ``spacing`` epochs apart and ``count`` in all, for a verdict.

    They cover no more epochs than in the published trainer, and are shorter where there are few measurements.
    """
    share = min(1.0, SPACING / spacing, count / FEW)
    return max(1, round(WINDOW * share)), max(1, round(LAG * share))


def averages(values: Sequence[float], window: int) -> list[float]:
    """Average at each measurement, from the one that fills half a window on."""
    return [fmean(values[max(0, end - window) : end]) for end in range((window + 1) // 2, len(values) + 1)]


def judged(epochs: Sequence[int], window: int, lag: int, start: int) -> dict[int, int]:
    """Positions of the measurements that the rule judges, each with that at the centre of its earlier window."""
    centres = {i: i - lag - window // 2 for i in range((window + 1) // 2 - 1 + lag, len(epochs))}
    return {i: centre for i, centre in centres.items() if centre >= 0 and epochs[centre] >= start}


def rises(
    epochs: Sequence[int], values: Sequence[float], upper: Sequence[float], window: int, lag: int, start: int
) -> dict[int, Rise]:
    """Growth of the average at each judged position; earlier averages are of ``upper``, negligible ones left out."""
    now, earlier, first = averages(values, window), averages(upper, window), (window + 1) // 2 - 1
    pairs = {i: (earlier[i - first - lag], centre) for i, centre in judged(epochs, window, lag, start).items()}
    return {i: Rise(now[i - first] / base, centre) for i, (base, centre) in pairs.items() if base > NEGLIGIBLE}
