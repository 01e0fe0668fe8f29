"""Measures what a stopping rule reads, and keeps what it takes to return to an earlier epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from robustnas.analysis.metrics import ARCH
from robustnas.data.batch import Batch
from robustnas.strategies import Stop, Stopping
from robustnas.training.curvature import Measured, last_batch_eigenvalue, measure
from robustnas.training.lightning.progress import say
from robustnas.training.search_hook import SearchHook
from robustnas.training.search_state import SearchState


class EarlyStopping(SearchHook):
    """Measurements at the ends of epochs, with the architecture weights as they were at each."""

    name = "early_stopping"

    def __init__(self, stopping: Stopping, search: SearchState) -> None:
        self.stopping, self.search = stopping, search
        self.epochs: list[int] = []
        self.values: list[float] = []
        self.kept: dict[int, dict[str, Tensor]] = {}
        self.stop: Stop | None = None
        self._measured: tuple[int, dict[str, Any]] | None = None

    def measured(self, step: int) -> Measured | None:
        """The measurement on the probe after so many steps, if there was one, so that nobody takes it again."""
        found = self._measured if self.measures_probe else None
        return None if found is None or found[0] != step else Measured(**found[1])

    @property
    def measures_probe(self) -> bool:
        """Whether the rule measures the curvature on the probe, as the diagnostic does."""
        return self.stopping.monitor == "curvature" and self.stopping.measured_on == "probe"

    def due(self, epoch: int, epochs: int) -> bool:
        """Whether something is measured at the end of an epoch."""
        return self.stopping.monitor != "nothing" and (epoch % self.stopping.interval == 0 or epoch == epochs - 1)

    def last_step(self, batch: Batch) -> None:
        search, epoch = self.search, self.search.current_epoch
        if not self.due(epoch, search.search_epochs):
            return
        if self.stopping.monitor == "curvature":
            found = self.measure_curvature(batch)
            value = found.value
            if not math.isfinite(value):
                say(search.trainer, f"The curvature after epoch {epoch} is {value}; the stopping rule ignores it.")
                return
            self._measured = search.global_step, found._asdict()
        else:
            value = float(next(iter(search.genotype().count("skip_connect").values())))
        stop = self.add(epoch, value, search.architecture_weights(), search.search_epochs)
        if stop is not None and stop.detected == epoch and (said := self.stopping.reason(self.epochs, self.values)):
            say(search.trainer, f"Decision after epoch {epoch}: {said}")
        if stop is not None and self.over:
            search.trainer.should_stop = not search.trains_on
            follows = "selection begins" if search.trains_on else f"the result is that of epoch {stop.returned}"
            say(search.trainer, f"Stopped after epoch {stop.detected}; {follows}.")
        search.log_numbers({ARCH.of(self.stopping.monitor): value, **self.logged})

    def measure_curvature(self, batch: Batch) -> Measured:
        """The curvature that the rule reads, on the probe or on the last batch, as the rule asks for."""
        if self.stopping.measured_on == "probe":
            return measure(self.search, self.stopping.samples)
        return Measured(*last_batch_eigenvalue(self.search, batch))

    def add(self, epoch: int, value: float, weights: Mapping[str, Tensor], epochs: int | None = None) -> Stop | None:
        """Note a measurement at the end of an epoch with the architecture weights, and ask the rule."""
        self.epochs.append(epoch)
        self.values.append(value)
        self.kept[epoch] = {kind: weight.detach().clone() for kind, weight in weights.items()}
        if self.stop is None and self.acts and (self.stopping.at_last or epoch + 1 != epochs):
            self.stop = self.stopping.decide(self.epochs, self.values)
        return self.stop

    @property
    def acts(self) -> bool:
        """Whether the rule is still asked."""
        return True

    @property
    def over(self) -> bool:
        return self.stop is not None

    @property
    def logged(self) -> dict[str, float]:
        """What is logged beside a measurement: its uncertainty, and what that means for the rule."""
        found = {} if self._measured is None else Measured(**self._measured[1]).beside(ARCH.of(self.stopping.monitor))
        return {**found, **self.stopping.noise(self.epochs, self.values)}

    def architecture_weights(self) -> dict[str, Tensor] | None:
        return self.kept[self.stop.returned] if self.stop is not None and self.over else None

    def state_dict(self) -> dict[str, Any]:
        stop = None if self.stop is None else list(self.stop)
        held = {"epochs": self.epochs, "values": self.values, "kept": self.kept, "stop": stop}
        return {**held, "measured": self._measured}

    def load_state_dict(self, state: Any) -> None:
        self.epochs, self.values, self.kept = list(state["epochs"]), list(state["values"]), dict(state["kept"])
        self.stop = None if state["stop"] is None else Stop(*state["stop"])
        self._measured = state["measured"]
