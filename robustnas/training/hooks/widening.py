"""Widens the channels of a supernet when a stage begins, and builds the supernet of the stage of a checkpoint."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from robustnas.data.batch import derived_seed
from robustnas.networks import Connection
from robustnas.networks.widening import Growth, widen
from robustnas.training.compilation import compile_cells
from robustnas.training.lightning.progress import say
from robustnas.training.search_hook import SearchHook
from robustnas.training.search_state import SearchState


class WideningHook(SearchHook):
    """Counts the stages of a connection that have begun."""

    name = "widening"

    def __init__(self, connection: Connection, search: SearchState) -> None:
        self.connection, self.search = connection, search
        self.stage = 0

    def begin_epoch(self) -> None:
        search = self.search
        stage = sum(first <= search.current_epoch for first, _ in self.connection.stages)
        if stage <= self.stage:
            return
        self.stage = stage
        momentum = search.supernet.edgewise_state_dict(of=self._momentum())
        generator = torch.Generator().manual_seed(derived_seed(search.seed, "widening", stage))
        growth = widen(search.supernet, self.connection.at_stage(stage), generator, self.connection.divide)
        self._give(growth, momentum)
        self._compile()
        now = search.supernet.config.connection
        say(
            search.trainer, f"Channels widen at the start of epoch {search.current_epoch}: the connection is {now} now."
        )

    def _momentum(self) -> dict[str, Tensor]:
        """Momentum of the weights, by the names of the supernet."""
        optimizer = self.search.trainer.optimizers[0]
        held = {name: optimizer.state.get(weight, {}) for name, weight in self.search.supernet.named_parameters()}
        return {name: one["momentum_buffer"] for name, one in held.items() if one.get("momentum_buffer") is not None}

    @torch.no_grad()
    def _give(self, growth: Growth, momentum: dict[str, Tensor]) -> None:
        """Let the optimiser step the new weights, with momentum whose channels are copied as theirs are."""
        supernet, optimizer = self.search.supernet, self.search.trainer.optimizers[0]
        grown = {name: torch.zeros_like(weight) for name, weight in supernet.named_parameters()} if momentum else {}
        views = supernet.edgewise_state_dict(of=grown)
        for name, tensor in growth(momentum, divide=False).items():
            views[name].copy_(tensor)
        optimizer.param_groups[0]["params"] = list(supernet.parameters())
        optimizer.state.clear()
        for name, weight in supernet.named_parameters():
            if name in grown:
                optimizer.state[weight] = {"momentum_buffer": grown[name]}

    def _compile(self) -> None:
        if self.search.compile_cells:
            compile_cells(self.search.supernet, self.search.device)

    def state_dict(self) -> Any:
        return {"stage": self.stage} if self.stage else {}

    def load_state_dict(self, state: Any) -> None:
        """Build the supernet whose weights the checkpoint holds."""
        stage = state["stage"] if state else 0
        if stage != self.stage:
            self.search.supernet.rebuild(self.connection.at_stage(stage))
            self._compile()
        self.stage = stage
