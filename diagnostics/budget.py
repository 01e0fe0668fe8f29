"""What diagnostics may cost, and what they have cost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Budget:
    r"""A share of the run's time that measures may take together.

    If :math:`s` seconds were spent on measures and :math:`t` have passed, one that cost :math:`c` the last time is
    taken where :math:`s + c \le` share :math:`\cdot t`; a third of the share is kept for the last epoch. Otherwise it
    waits for a later epoch, which stretches its interval. What was never measured counts as :math:`c = 0`.

    Args:
        share: The share, or ``None`` for no limit.

    Raises:
        ValueError: If the share is not between 0 and 1.
    """

    def __init__(self, share: float | None = 0.03) -> None:
        if share is not None and not 0 <= share <= 1:
            raise ValueError(f"Expected `budget` to be between 0 and 1 or null, but got {share}.")
        self.share = share
        self.costs: dict[str, list[float]] = {}
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

    def affords(self, name: str, last_epoch: bool = False) -> bool:
        """Whether a measure may be taken now; if not, that is counted.

        Args:
            name: The measure.
            last_epoch: Whether there is no later epoch to wait for.

        Returns:
            Whether it fits.
        """
        if self.share is None:
            return True
        limit = self.share * self.elapsed * (1 if last_epoch else 2 / 3)
        if self.spent + self.costs.get(name, [0.0])[-1] <= limit:
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
        """What was measured how often, at what price, and what was left out, in one paragraph."""
        taken = ", ".join(
            f"{name} {len(costs)} times ({sum(costs):.1f} s)" for name, costs in sorted(self.costs.items())
        )
        text = f"Diagnostics took {self.spent:.1f} s of {self.elapsed:.1f} s: {taken or 'none'}."
        if self.left_out:
            left = ", ".join(f"{name} {count} times" for name, count in sorted(self.left_out.items()))
            text += f" To stay within {self.share:.0%} of the time, left out: {left}."
        return text

    def state_dict(self) -> dict[str, Any]:
        """All of it, as what a checkpoint may hold."""
        return {"elapsed": self.elapsed, "costs": self.costs, "left_out": self.left_out}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self._before = state["elapsed"]
        self.costs = {name: list(costs) for name, costs in state["costs"].items()}
        self.left_out = dict(state["left_out"])
