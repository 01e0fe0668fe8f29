"""How noisy a series of curvatures is, and how often noise alone would stop a search."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

DRAWS = 4000
DOUBTFUL = 0.05  # chance from which on a decision may be noise


def scatter(values: Sequence[float]) -> float:
    r"""Return the relative standard deviation :math:`\sigma` of one measurement around a curve that changes slowly.

    From the differences :math:`d_i` of the logarithms of :math:`m + 1` neighbours, whose variance is
    :math:`2 \sigma^2` whatever the steady growth:

    .. math:: \sigma^2 = \sum_i (d_i - \bar d)^2 \,/\, 2 (m - 1/m).

    A jump of the curve counts as noise: the estimate is then too high, not too low. It is ``nan`` with fewer than four
    values, or where one is not positive.
    """
    if len(values) < 4 or min(values) <= 0:
        return math.nan
    steps = np.diff(np.log(np.asarray(values, dtype=float)))
    count = len(steps)
    return float(math.sqrt(((steps - steps.mean()) ** 2).sum() / (2 * (count - 1 / count))))


def flat_growth(sigma: float, count: int, window: int, lag: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Growth of averages on flat curves with independent normal noise: the same draws each time."""
    first = (window + 1) // 2
    noise = np.random.default_rng(0).standard_normal((DRAWS, count))
    sums = np.cumsum(np.pad(np.maximum(1 + sigma * noise, 0.0), ((0, 0), (1, 0))), axis=1)
    ends = np.arange(first, count + 1)
    begins = np.maximum(ends - window, 0)
    averages = (sums[:, ends] - sums[:, begins]) / (ends - begins)
    growth = np.zeros((DRAWS, count))
    if averages.shape[1] > lag:
        earlier = averages[:, :-lag]
        growth[:, first - 1 + lag :] = np.divide(
            averages[:, lag:], earlier, out=np.zeros_like(earlier), where=earlier > 0
        )
    return growth
