"""What diagnostics may cost, and what they have cost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Budget:
    r"""A share of the run's time, from 0 to 1, that measures may take together; ``None`` for no limit.

    Of :math:`t` seconds so far, the part :math:`f` of the run, measures have taken :math:`s`. One that costs :math:`c`
    is taken where

    .. math:: s + c \le \text{share} \cdot t - f K \;\; (f < 1), \qquad s + c \le \text{share} \cdot t - e \;\; (f = 1),

    with :math:`e` for what is written at the end in any case, and :math:`K` for the last epoch, at which nothing can
    wait any more: :math:`e` and the cost of all measures once, but at most nine tenths of the share of the whole run,
    and without those that would not fit into it alone. What does not fit waits for a later epoch, which stretches its
    interval. A cost is that of the last time, and before the first time an estimate.
    """

    def __init__(self, share: float | None = 0.03) -> None:
        if share is not None and not 0 <= share <= 1:
            raise ValueError(f"Expected `budget` to be between 0 and 1 or null, but got {share}.")
        self.share = share
        self.costs: dict[str, list[float]] = {}
        self.estimates: dict[str, float] = {}  # seconds by name, for measures that were never taken
        self.ending = 0.0  # seconds that the end of the run costs
        self.left_out: dict[str, int] = {}
        self._before = 0.0
        self._started: float | None = None

    def start(self) -> None:
        """Time runs from now on."""
        self._started = time.perf_counter()

    @property
    def elapsed(self) -> float:
        """Seconds of the run, those before it was resumed included."""
        return self._before + (0.0 if self._started is None else time.perf_counter() - self._started)

    @property
    def spent(self) -> float:
        """Seconds that measures have taken."""
        return sum(sum(costs) for costs in self.costs.values())

    def cost(self, name: str) -> float:
        """Seconds that a measure will take: as many as the last time, or as estimated."""
        return self.costs[name][-1] if name in self.costs else self.estimates.get(name, 0.0)

    def affords(self, name: str, done: float | None) -> bool:
        """Return whether a measure may be taken now; if not, that is counted.

        ``done`` is the part of the run that is over: 1 at its last epoch, ``None`` where that is not known.
        """
        if self.share is None:
            return True
        allowed, done = self.share * self.elapsed, 0.5 if done is None else done
        costs = (self.cost(each) for each in {*self.costs, *self.estimates})
        once = self.ending + sum(cost for cost in costs if self.ending + cost <= allowed / done)
        kept = self.ending if done >= 1 else min(done * once, 0.9 * allowed)
        if self.spent + self.cost(name) <= allowed - kept:
            return True
        self.left_out[name] = self.left_out.get(name, 0) + 1
        return False

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Count the seconds of a measure."""
        begin = time.perf_counter()
        yield
        self.costs.setdefault(name, []).append(time.perf_counter() - begin)

    def summary(self) -> str:
        """How often each diagnostic was measured and skipped, and its seconds: a table of at most 80 columns."""
        share = f", {self.spent / self.elapsed:.1%}" if self.elapsed else ""
        limit = "" if self.share is None else f" (budget: {self.share:.1%})"
        lines = [f"Diagnostics took {self.spent:.1f} s of {self.elapsed:.1f} s{share}{limit}."]
        priced = {name: sum(costs) for name, costs in self.costs.items() if sum(costs) >= 0.05}
        names = sorted({**priced, **self.left_out}, key=lambda name: -priced.get(name, 0.0))
        width = max(map(len, names), default=0)
        for name in names:
            taken, left = len(self.costs.get(name, ())), self.left_out.get(name, 0)
            measured = f"measured {times(taken)}" if taken else "not measured"
            skipped = f"  skipped {times(left)}: over budget" if left else ""
            lines.append(f"  {name:{width}}  {priced.get(name, 0.0):6.1f} s  {measured:<17}{skipped}".rstrip())
        return "\n".join(lines)

    def state_dict(self) -> dict[str, Any]:
        return {"elapsed": self.elapsed, "costs": self.costs, "left_out": self.left_out}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._before = state["elapsed"]
        self.costs = {name: list(costs) for name, costs in state["costs"].items()}
        self.left_out = dict(state["left_out"])


def times(count: int) -> str:
    """How often, in words, such as ``once`` or ``3 times``."""
    return {1: "once", 2: "twice"}.get(count, f"{count} times")
