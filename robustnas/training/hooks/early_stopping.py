"""What a stopping rule watches during a search, and what it keeps to return to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from robustnas.analysis.metrics import ARCH
from robustnas.strategies import Stop, Stopping
from robustnas.training.curvature import Measured

if TYPE_CHECKING:
    from robustnas.training.search import SearchModule


class EarlyStopping:
    """Measurements at the ends of epochs, with the strengths of operations as they were at each.

    Args:
        stopping: The rule that is asked after each measurement.
    """

    def __init__(self, stopping: Stopping) -> None:
        self.stopping = stopping
        self.epochs: list[int] = []
        self.values: list[float] = []
        self.kept: dict[int, dict[str, Tensor]] = {}
        self.stop: Stop | None = None
        self._measured: tuple[int, dict[str, Any]] | None = None

    def note(self, step: int, measured: Measured) -> None:
        """Note a measurement of the curvature, so that nobody takes it again.

        Args:
            step: Steps of the search before it.
            measured: The measurement.
        """
        self._measured = step, measured._asdict()

    def measured(self, step: int) -> Measured | None:
        """The measurement on the probe after so many steps, if there was one."""
        found = self._measured if self.measures_probe else None
        return None if found is None or found[0] != step else Measured(**found[1])

    @property
    def measures_probe(self) -> bool:
        """Whether the rule measures the curvature on the probe, as the diagnostic does."""
        return self.stopping.monitor == "curvature" and self.stopping.measured_on == "probe"

    def due(self, epoch: int, epochs: int) -> bool:
        """Whether something is measured at the end of an epoch."""
        return self.stopping.monitor != "nothing" and (epoch % self.stopping.every == 0 or epoch == epochs - 1)

    def add(self, epoch: int, value: float, strengths: Mapping[str, Tensor], epochs: int | None = None) -> Stop | None:
        """Note a measurement and ask the rule.

        Args:
            epoch: The epoch that ends.
            value: What was measured.
            strengths: Kind of cell to the strengths of operations, kept to return to.
            epochs: Epochs of the whole search, for rules that do not judge the last one.

        Returns:
            The decision of the rule, if it is to stop.
        """
        self.epochs.append(epoch)
        self.values.append(value)
        self.kept[epoch] = {kind: strength.detach().clone() for kind, strength in strengths.items()}
        if self.stop is None and self.acts and (self.stopping.at_last or epoch + 1 != epochs):
            self.stop = self.stopping.decide(self.epochs, self.values)
        return self.stop

    @property
    def acts(self) -> bool:
        """Whether the rule is still asked."""
        return True

    @property
    def over(self) -> bool:
        """Whether the search ends by the decision of the rule."""
        return self.stop is not None

    @property
    def logged(self) -> dict[str, float]:
        """What is logged beside a measurement: what it is uncertain by, and what that means for the rule."""
        found = {} if self._measured is None else Measured(**self._measured[1]).beside(ARCH.of(self.stopping.monitor))
        return {**found, **self.stopping.noise(self.epochs, self.values)}

    def keep(self, search: SearchModule) -> None:
        """Keep, at the end of an epoch's last step, what it takes to return to it; here the strengths are enough."""

    def go_back(self, search: SearchModule) -> None:
        """Return to an earlier epoch to go on from there; here the search ends instead."""

    @property
    def returned(self) -> dict[str, Tensor] | None:
        """Strengths at the epoch that the rule returned to, or ``None`` where it did not stop."""
        return None if self.stop is None else self.kept[self.stop.returned]

    def state_dict(self) -> dict[str, Any]:
        """All of it, as what a checkpoint may hold."""
        stop = None if self.stop is None else list(self.stop)
        held = {"epochs": self.epochs, "values": self.values, "kept": self.kept, "stop": stop}
        return {**held, "measured": self._measured}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.epochs, self.values, self.kept = list(state["epochs"]), list(state["values"]), dict(state["kept"])
        self.stop = None if state["stop"] is None else Stop(*state["stop"])
        self._measured = state.get("measured")  # checkpoints of before have none
