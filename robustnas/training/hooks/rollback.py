"""Returns to the state of an earlier epoch and continues from there with more weight decay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from robustnas.analysis.metrics import WEIGHT_DECAY
from robustnas.strategies import RaiseDecay
from robustnas.training.hooks.early_stopping import EarlyStopping
from robustnas.training.lightning.loops import epochs_over, rewind
from robustnas.training.lightning.progress import say
from robustnas.training.search_state import SearchState


class Rollback(EarlyStopping):
    """Early stopping that sends the search back instead of ending it."""

    def __init__(self, stopping: RaiseDecay, search: SearchState) -> None:
        super().__init__(stopping, search)
        self.rule, self.decays = stopping, stopping.decays(search.weight_decay)
        self.raised = 0
        self.states: dict[int, dict[str, Any]] = {}  # by epoch, in the checkpoint too: no crash can part them from it
        self.early: dict[str, Tensor] | None = None  # architecture weights of the first decision

    @property
    def left(self) -> int:
        """How many increases are left."""
        return len(self.decays) - 1 - self.raised

    @property
    def acts(self) -> bool:
        return self.left > 0

    @property
    def over(self) -> bool:
        return False  # the result is always the present architecture

    @property
    def logged(self) -> dict[str, float]:
        return {**super().logged, WEIGHT_DECAY.name: self.decays[self.raised]}

    def steps_done(self) -> None:
        if self.stop is not None:
            return  # whatever it returns to must still be there
        if self.search.current_epoch in self._drop_states():
            self.states[self.search.current_epoch] = state_of(self.search)

    def _drop_states(self) -> list[int]:
        """Drop states that no decision can return to any more, and return the epochs of the others."""
        epochs = self.rule.returnable(self.epochs, self.left)
        self.states = {epoch: state for epoch, state in self.states.items() if epoch in epochs}
        return epochs

    def begin_training(self) -> None:
        self.end_epoch()

    def end_epoch(self) -> None:
        """Return, if that is decided and the epoch of the decision is over."""
        search, stop = self.search, self.stop
        if stop is None or epochs_over(search.trainer) <= stop.detected:
            return
        if self.early is None:
            self.early = self.kept[stop.returned]
            genotype = search.selection.genotype(search.space, self.early)
            said = f"Early stopping alone would have ended the search after epoch {stop.detected} with {genotype}."
            say(search.trainer, said)
        restore(search, self.states[stop.returned])
        self.stop, self.raised = None, self.raised + 1
        for group in search.trainer.optimizers[0].param_groups:
            group["weight_decay"] = self.decays[self.raised]
        count = sum(epoch <= stop.returned for epoch in self.epochs)
        self.epochs, self.values = self.epochs[:count], self.values[:count]
        self.kept = {epoch: held for epoch, held in self.kept.items() if epoch <= stop.returned}
        self._drop_states()
        rewind(search.trainer, stop.detected - stop.returned)
        way = f"from the end of epoch {stop.detected} to the end of epoch {stop.returned}"
        say(search.trainer, f"Returned {way}, with weight decay {self.decays[self.raised]:g}.")

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "raised": self.raised, "states": self.states, "early": self.early}

    def load_state_dict(self, state: Any) -> None:
        super().load_state_dict(state)
        self.raised, self.states, self.early = state["raised"], dict(state["states"]), state["early"]


def state_of(search: SearchState) -> dict[str, Any]:
    """All that a search consists of between two epochs, copied to the CPU: plain values and tensors."""
    state: dict[str, Any] = {
        "tensors": dict([*search.named_parameters(), *search.named_buffers()]),
        "active_mask": search.architecture.active_mask,
        "optimizers": [optimizer.state_dict() for optimizer in search.trainer.optimizers],
        "schedulers": [config.scheduler.state_dict() for config in search.trainer.lr_scheduler_configs],
        "hooks": {name: hook.state_dict() for name, hook in search.hooks.items() if hook.goes_back},
    }
    return {name: _copied(held) for name, held in state.items()}


@torch.no_grad()
def restore(search: SearchState, state: Mapping[str, Any]) -> None:
    """Put a search in the state that :func:`state_of` returned, bit for bit."""
    state = {name: _copied(held) for name, held in state.items()}  # optimisers adopt tensors and change them in place
    for name, tensor in [*search.named_parameters(), *search.named_buffers()]:
        tensor.copy_(state["tensors"][name])
    search.architecture.active_mask = state["active_mask"]
    for optimizer, held in zip(search.trainer.optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(held)
    for config, held in zip(search.trainer.lr_scheduler_configs, state["schedulers"], strict=True):
        config.scheduler.load_state_dict(held)
    for name, held in state.get("hooks", {}).items():  # checkpoints of earlier versions have none
        search.hooks[name].load_state_dict(held)


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: _copied(held) for key, held in value.items()}
    return type(value)(map(_copied, value)) if isinstance(value, (list, tuple)) else value
