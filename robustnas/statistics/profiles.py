"""Performance profiles over tasks, and score distributions over runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from robustnas.statistics.intervals import Interval
from robustnas.statistics.samples import Array, check_share, numbers, table


@dataclass(frozen=True)
class Profile:
    r"""Method to its share of ``n`` tasks on which it is within each :math:`\tau`, ascending, of the best."""

    n: int
    taus: tuple[float, ...]
    shares: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Distribution:
    """Share of runs above each threshold, over tasks of equal weight."""

    n: int  #: runs, of all tasks together
    tasks: int  #: tasks
    thresholds: tuple[float, ...]  #: the thresholds
    shares: tuple[float, ...]  #: share of runs above each
    #: interquartile mean: mean of the middle half of all scores, less sensitive to a collapsed run than the mean
    iqm: float
    #: its interval, from a bootstrap within tasks; ``None`` where every task has a single run
    interval: Interval | None


def profile(scores: Mapping[str, Iterable[float]], taus: Iterable[float] | None = None) -> Profile:
    r"""Return performance profiles, :math:`\rho_m(\tau) = |\{t : \max_{m'} s_{m't} - s_{mt} \le \tau\}| / N`.

    Dolan and Moré ("Benchmarking optimization software with performance profiles", 2002) use ratios of running times;
    here accuracies are compared by differences.

    Args:
        scores: Method to its scores, one for each task, in the same order; higher is better.
        taus: Distances :math:`\tau`, at least 0; ``None`` for 0 and all at which a share changes.

    Raises:
        ValueError: If there are fewer than two methods, no task, a missing score, or a negative distance.
    """
    names, values = table(scores, tasks=1)
    behind = values.max(axis=1, keepdims=True) - values
    behind = np.where(behind <= 1e-12 * np.abs(values), 0.0, behind)
    steps = np.unique(np.append(behind, 0.0)) if taus is None else np.sort(numbers(taus, "taus", minimum=1))
    if steps[0] < 0:
        raise ValueError(f"Expected `taus` to be at least 0, but got {steps[0]}.")
    slack = steps + 1e-9 * np.maximum(1.0, steps)  # 94.3 - 94.2 is slightly more than 0.1
    shares = (behind[:, :, None] <= slack).mean(axis=0)
    return Profile(
        len(values), tuple(steps.tolist()), {name: tuple(row.tolist()) for name, row in zip(names, shares, strict=True)}
    )


def distribution(
    runs: Sequence[Iterable[float]],
    thresholds: Iterable[float],
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Distribution:
    r"""Return shares above thresholds, :math:`\frac1T \sum_t \frac{1}{n_t} |\{i : s_{ti} > \tau\}|`, and their IQM.

    See Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (arXiv:2108.13264).

    Args:
        runs: Scores of the runs of each task, normalised so that tasks are comparable.
        thresholds: The thresholds :math:`\tau`.
        level: Level of the interval.
        resamples: Bootstrap samples, drawn within each task.
        seed: Their seed.

    Raises:
        ValueError: If there is no task or one without runs, or a score is not finite.
    """
    if not runs:
        raise ValueError("Expected `runs` to hold at least one task, but got none.")
    tasks = [numbers(values, f"runs[{place}]", minimum=1) for place, values in enumerate(runs)]
    at = numbers(thresholds, "thresholds", minimum=1)
    check_share(level, "level")
    shares = np.mean([(values[:, None] > at).mean(axis=0) for values in tasks], axis=0)
    interval = None
    if max(map(len, tasks)) > 1:
        generator = np.random.default_rng(seed)
        drawn = np.concatenate([generator.choice(values, (resamples, len(values))) for values in tasks], axis=1)
        low, high = np.quantile(_iqm(drawn), [(1 - level) / 2, (1 + level) / 2])
        interval = Interval(float(low), float(high), level, "percentile bootstrap within tasks")
    pooled = np.concatenate(tasks)
    return Distribution(
        len(pooled), len(tasks), tuple(at.tolist()), tuple(shares.tolist()), float(_iqm(pooled[None])[0]), interval
    )


def _iqm(values: Array) -> Array:
    trimmed: Array = stats.trim_mean(values, 0.25, axis=1)
    return trimmed
