"""Summary of the scores of a method: mean with interval, and best and worst score with their n."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from robustnas.statistics.intervals import Interval, mean_interval
from robustnas.statistics.samples import numbers


@dataclass(frozen=True)
class Best:
    """The best or worst of ``n`` scores, printed with its n: the best improves with n alone (arXiv:1912.12522)."""

    value: float
    n: int
    kind: Literal["best", "worst"] = "best"

    def __format__(self, spec: str) -> str:
        return f"{self.value:{spec or '.4g'}} ({self.kind} of {self.n})"

    def __str__(self) -> str:
        return format(self, "")


@dataclass(frozen=True)
class Summary:
    """Summary of the runs of a method."""

    n: int  #: number of scores
    mean: float  #: their mean
    deviation: float | None  #: their standard deviation, with n - 1; ``None`` for a single score
    interval: Interval | None  #: interval of the mean; ``None`` for a single score
    best: Best  #: the best score
    worst: Best  #: the worst score
    missing: int = 0  #: runs without a score

    @property
    def count(self) -> str:
        """How many scores, in words: ``n = 3`` or ``n = 3 of 4``."""
        return f"n = {self.n} of {self.n + self.missing}" if self.missing else f"n = {self.n}"

    def __format__(self, spec: str) -> str:
        spec = spec or ".4g"
        spread = "" if self.deviation is None else f" ± {self.deviation:{spec}}"
        within = "" if self.interval is None else f", {self.interval:{spec}}"
        return f"{self.mean:{spec}}{spread}{within}, {self.count}"

    def __str__(self) -> str:
        return format(self, "")


def summarise(scores: Iterable[float], missing: int = 0, level: float = 0.95, higher_is_better: bool = True) -> Summary:
    """Return mean, standard deviation, interval of the mean, best and worst.

    Args:
        scores: One score for each run that has one, ``[n]``.
        missing: Runs without a score, such as failed ones, which are rarely the best and must be reported.
        level: Level of the interval; see :mod:`robustnas.statistics.intervals` for its coverage.
        higher_is_better: Whether the best is the highest.

    Raises:
        ValueError: If there is no score, or one is not finite.
    """
    x = numbers(scores, minimum=1)
    if missing < 0:
        raise ValueError(f"Expected `missing` to be at least 0, but got {missing}.")
    n, ends = len(x), sorted((float(x.min()), float(x.max())), reverse=higher_is_better)
    return Summary(
        n=n,
        mean=float(x.mean()),
        deviation=float(x.std(ddof=1)) if n > 1 else None,
        interval=mean_interval(x, level) if n > 1 else None,
        best=Best(ends[0], n),
        worst=Best(ends[1], n, "worst"),
        missing=missing,
    )
