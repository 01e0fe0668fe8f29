"""Does an indicator predict an outcome: rank correlation, area under the ROC curve, lead time of an alarm."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from robustnas.statistics.intervals import Interval, Proportion, proportion, resampled
from robustnas.statistics.samples import Array, check_share, numbers, same_length

MIN_PAIRS = 5  # with fewer, too many resamples repeat a single pair
RESAMPLES = 1999


@dataclass(frozen=True)
class Correlation:
    """A rank correlation."""

    n: int  #: pairs
    value: float  #: the coefficient, from -1 to 1
    p: float  #: two-sided p-value of no correlation
    #: bootstrap interval; ``None`` for fewer than five pairs, and where all pairs are concordant, or all discordant, so
    #: that resamples have no spread
    interval: Interval | None

    def __str__(self) -> str:
        within = "" if self.interval is None else f", {self.interval:.2f}"
        return f"{self.value:.2f}{within}, n = {self.n}"


@dataclass(frozen=True)
class Separation:
    """How well an indicator separates bad runs from good ones."""

    n_bad: int  #: bad runs
    n_good: int  #: good runs
    value: float  #: area under the curve: probability that the indicator is higher in a bad run than in a good one
    p: float  #: two-sided p-value of the Mann-Whitney test that the area is one half
    interval: Interval  #: Newcombe's interval

    def __str__(self) -> str:
        return f"{self.value:.2f}, {self.interval:.2f}, n = {self.n_bad} bad and {self.n_good} good"


@dataclass(frozen=True)
class Lead:
    """How early an alarm is raised before an event."""

    hits: Proportion  #: bad runs with an alarm before or at the event
    late: int  #: bad runs with an alarm only after it
    false: Proportion | None  #: good runs with an alarm
    #: median of the epochs from the alarm to the event over all alarmed bad runs, late ones counting negatively;
    #: ``None`` without any
    median: float | None
    earliest: float | None  #: the largest lead, in epochs
    latest: float | None  #: the smallest lead, in epochs

    def __str__(self) -> str:
        lead = "" if self.median is None else f", lead {self.median:+g} epochs"
        false = "" if self.false is None else f", false {self.false}"
        return f"hit {self.hits}, late {self.late}{false}{lead}"


def kendall(x: Iterable[float], y: Iterable[float], level: float = 0.95) -> Correlation:
    r"""Return Kendall's :math:`\tau_b = (P - Q) / \sqrt{(P + Q + T)(P + Q + U)}`, for instance of supernet and table.

    Both hold a value of each case, ``[n]``. The interval is a bootstrap over cases.

    Raises:
        ValueError: If there are fewer than two cases, lists differ in length, or one is constant.
    """
    return _correlation(x, y, stats.kendalltau, _taus, level)


def spearman(x: Iterable[float], y: Iterable[float], level: float = 0.95) -> Correlation:
    r"""Spearman's :math:`\rho`, the correlation of ranks; arguments and errors as of :func:`kendall`."""
    return _correlation(x, y, stats.spearmanr, _rhos, level)


def separation(bad: Iterable[float], good: Iterable[float], level: float = 0.95) -> Separation:
    r"""Return the area under the ROC curve, :math:`\theta = P(X > Y) + \frac12 P(X = Y) = U / (n m)`.

    The interval holds all :math:`\theta` with :math:`|\hat\theta - \theta| \le z \sqrt{V(\theta)}`, where

    .. math:: V(\theta) = \frac{\theta (1 - \theta)}{n m} \left(1 + (N - 1) \left(\frac{1 - \theta}{2 - \theta} +
        \frac{\theta}{1 + \theta}\right)\right), \qquad N = \frac{n + m}{2}

    (Newcombe 2006, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic", method 5).
    DeLong's interval has no width where the separation is perfect, as happens with few runs: with 9 bad and 24 good
    ones and :math:`\theta = 0.97`, the coverage of nominal 95 % intervals was 97 % by this method, 73 % by DeLong's and
    78 % by DeLong's on the logit scale.

    Args:
        bad: Values of the indicator in bad runs, ``[n]``; negate an indicator whose low values warn.
        good: Values in good runs, ``[m]``.
        level: Level of the interval.

    Raises:
        ValueError: If a group is empty, or a value is not finite.
    """
    x, y = numbers(bad, "bad", minimum=1), numbers(good, "good", minimum=1)
    found = stats.mannwhitneyu(x, y)
    area = float(found.statistic) / (len(x) * len(y))
    interval = newcombe_interval(area, lambda theta: area_variance(theta, len(x), len(y)), level)
    return Separation(len(x), len(y), area, float(found.pvalue), interval)


def newcombe_interval(area: float, variance: Callable[[float], float], level: float = 0.95) -> Interval:
    """The interval of an area by its variance as a function of the true area, see :func:`separation`."""
    z = float(stats.norm.ppf((1 + check_share(level, "level")) / 2))

    def outside(theta: float) -> float:
        return (area - theta) ** 2 - z**2 * variance(theta)

    low = optimize.brentq(outside, 1e-12, area - 1e-9) if area > 1e-9 else 0.0
    high = optimize.brentq(outside, area + 1e-9, 1 - 1e-12) if area < 1 - 1e-9 else 1.0
    return Interval(float(low), float(high), level, "Newcombe")


def area_variance(theta: float, bad: int, good: int) -> float:
    r"""Variance :math:`V(\theta)` of an area, as :func:`separation` takes it."""
    spread = (1 - theta) / (2 - theta) + theta / (1 + theta)
    return theta * (1 - theta) * (1 + ((bad + good) / 2 - 1) * spread) / (bad * good)


def lead_time(
    alarms: Sequence[float | None], events: Sequence[float], false_alarms: Sequence[float | None] = ()
) -> Lead:
    """Return how often and how early an alarm precedes a bad event, and how often it is false.

    Args:
        alarms: First epoch of the alarm in each bad run; ``None`` for none.
        events: Epoch of the event in each bad run, such as the first at which skip connections dominate the genotype,
            or the end of the search.
        false_alarms: First epoch of the alarm in each good run; ``None`` for none.

    Raises:
        ValueError: If there is no bad run, lists differ in length or an epoch is not finite.
    """
    ends = numbers(events, "events", minimum=1)
    same_length(alarms=np.asarray(alarms, dtype=object), events=ends)
    raised = [(alarm, end) for alarm, end in zip(alarms, ends, strict=True) if alarm is not None]
    numbers([alarm for alarm, _ in raised], "alarms", minimum=0)
    leads = [float(end - alarm) for alarm, end in raised]
    hits = sum(lead >= 0 for lead in leads)
    wrong = sum(alarm is not None for alarm in false_alarms)
    return Lead(
        hits=proportion(hits, len(ends)),
        late=len(leads) - hits,
        false=proportion(wrong, len(false_alarms)) if len(false_alarms) else None,
        median=float(np.median(leads)) if leads else None,
        earliest=max(leads, default=None),
        latest=min(leads, default=None),
    )


def _correlation(
    x: Iterable[float],
    y: Iterable[float],
    measure: Callable[..., object],
    statistic: Callable[[Array, Array, Array], Array],
    level: float,
) -> Correlation:
    a, b = numbers(x, "x"), numbers(y, "y")
    n = same_length(x=a, y=b)
    check_share(level, "level")
    for name, values in (("x", a), ("y", b)):
        if np.ptp(values) == 0:
            raise ValueError(f"Expected `{name}` to hold at least two different values, but got only {values[0]:g}.")
    found = measure(a, b)
    value, interval = float(found.statistic), None  # type: ignore[attr-defined]
    if n >= MIN_PAIRS and abs(value) < 1 - 1e-12:

        def of_cases(cases: Array, axis: int = -1) -> Array:
            drawn = np.moveaxis(cases, axis, -1).astype(int)
            counts = np.zeros((*drawn.shape[:-1], n))
            np.add.at(counts, (*np.indices(drawn.shape)[:-1], drawn), 1)
            return statistic(counts, a, b)

        interval = resampled(of_cases, (np.arange(n, dtype=float),), level, RESAMPLES)
    return Correlation(n, value, float(found.pvalue), interval)  # type: ignore[attr-defined]


def _taus(counts: Array, a: Array, b: Array) -> Array:
    """Kendall's coefficient of samples that hold case i ``counts[..., i]`` times; 0 where a sample is constant."""
    first, second = (np.sign(values[:, None] - values) for values in (a, b))

    def total(pairs: Array) -> Array:
        found: Array = ((counts @ pairs) * counts).sum(-1)
        return found

    untied = np.sqrt(total(np.abs(first)) * total(np.abs(second)))
    return np.where(untied > 0, total(first * second) / np.where(untied > 0, untied, 1.0), 0.0)


def _rhos(counts: Array, a: Array, b: Array) -> Array:
    """Spearman's coefficient of samples as in :func:`_taus`."""

    def centred(values: Array) -> Array:
        below = (values[:, None] > values) + 0.5 * (values[:, None] == values)
        ranks: Array = counts @ below.T  # mid-ranks up to a constant, [..., n]
        mean: Array = (ranks * counts).sum(-1, keepdims=True) / counts.sum(-1, keepdims=True)
        return ranks - mean

    first, second = centred(a), centred(b)
    spread = np.sqrt((counts * first**2).sum(-1) * (counts * second**2).sum(-1))
    joint = (counts * first * second).sum(-1)
    return np.where(spread > 1e-12, joint / np.where(spread > 1e-12, spread, 1.0), 0.0)
