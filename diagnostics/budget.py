"""What diagnostics may cost, and what they have cost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Budget:
    r"""A share of the run's time, from 0 to 1, that measures may take together; ``None`` for no limit.

    Some measures are required: the headline measures at the epochs of their schedule, and all measures at the last
    epoch. They are taken whatever they cost. With :math:`R` seconds for them in the whole run, what is written at its
    end included, and the run being over to a part :math:`f` after :math:`t` seconds, any other measure, of :math:`c`
    seconds after such of :math:`s` seconds, is taken where

    .. math:: s + c \le \text{share} \cdot t - f R .

    What does not fit waits for a later epoch, which stretches its interval. A cost is that of the last time, and before
    the first time an estimate.
    """

    def __init__(self, share: float | None = 0.03) -> None:
        if share is not None and not 0 <= share <= 1:
            raise ValueError(f"Expected `budget` to be between 0 and 1 or null, but got {share}.")
        self.share = share
        self.costs: dict[str, list[float]] = {}
        self.ending = 0.0  # seconds that the end of the run costs
        self.left_out: dict[str, int] = {}
        self._optional = 0.0  # seconds of measures that were not required
        self._expected: dict[str, tuple[float, int]] = {}  # seconds before the first time, and how often it is required
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

    def expect(self, name: str, seconds: float, times: int = 1) -> None:
        """Note what a measure will cost before it was ever taken, and how often it is required in the run."""
        self._expected[name] = seconds, times

    def cost(self, name: str) -> float:
        """Seconds that a measure will take: as many as the last time, or as estimated."""
        return self.costs[name][-1] if name in self.costs else self._expected.get(name, (0.0, 0))[0]

    def affords(self, name: str, done: float | None) -> bool:
        """Return whether a measure that is not required may be taken now; if not, that is counted.

        ``done`` is the part of the run that is over, ``None`` where that is not known and counts as a half.
        """
        if self.share is None:
            return True
        required = self.ending + sum(times * self.cost(each) for each, (_, times) in self._expected.items())
        allowed = self.share * self.elapsed - (0.5 if done is None else done) * required
        if self._optional + self.cost(name) <= allowed:
            return True
        self.left_out[name] = self.left_out.get(name, 0) + 1
        return False

    @contextmanager
    def timed(self, name: str, required: bool = True) -> Iterator[None]:
        """Count the seconds of a measure."""
        begin = time.perf_counter()
        yield
        seconds = time.perf_counter() - begin
        self.costs.setdefault(name, []).append(seconds)
        self._optional += 0.0 if required else seconds

    def summary(self, verbose: bool = False) -> str:
        """What diagnostics took, in a line; with ``verbose`` a table of each, of at most 80 columns."""
        share = f", {self.spent / self.elapsed:.1%}" if self.elapsed else ""
        limit = "" if self.share is None else f" (budget: {self.share:.1%}"
        if self.share is not None:
            over = self.spent - self._optional > self.share * self.elapsed
            limit += ", exceeded by what is always measured)" if over else ")"
        lines = [f"Diagnostics took {self.spent:.1f} s of {self.elapsed:.1f} s{share}{limit}."]
        priced = {name: sum(costs) for name, costs in self.costs.items() if sum(costs) >= 0.05}
        names = sorted({**priced, **self.left_out}, key=lambda name: -priced.get(name, 0.0)) if verbose else []
        width = max(map(len, names), default=0)
        for name in names:
            taken, left = len(self.costs.get(name, ())), self.left_out.get(name, 0)
            measured = f"measured {times(taken)}" if taken else "not measured"
            skipped = f"  skipped {times(left)}: over budget" if left else ""
            lines.append(f"  {name:{width}}  {priced.get(name, 0.0):6.1f} s  {measured:<17}{skipped}".rstrip())
        return "\n".join(lines)

    def state_dict(self) -> dict[str, Any]:
        held = {"elapsed": self.elapsed, "costs": self.costs, "left_out": self.left_out}
        return {**held, "optional": self._optional}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._before, self._optional = state["elapsed"], state.get("optional", 0.0)
        self.costs = {name: list(costs) for name, costs in state["costs"].items()}
        self.left_out = dict(state["left_out"])


def times(count: int) -> str:
    """How often, in words, such as ``once`` or ``3 times``."""
    return {1: "once", 2: "twice"}.get(count, f"{count} times")
