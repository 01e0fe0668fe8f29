"""Going back to the state of an earlier epoch, to go on from there with more weight decay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.utilities import CombinedLoader
from torch import Tensor

from robustnas.analysis.metrics import WEIGHT_DECAY
from robustnas.strategies import RaiseDecay, Stopping
from robustnas.training.hooks.early_stopping import EarlyStopping
from robustnas.training.progress import say

if TYPE_CHECKING:
    from robustnas.training.search import SearchModule


def early_stopping_for(stopping: Stopping, weight_decay: float) -> EarlyStopping:
    """What watches a search for a stopping rule.

    Args:
        stopping: The rule.
        weight_decay: Weight decay of the weights at the start.

    Returns:
        The watch.

    Raises:
        ValueError: If the rule raises the weight decay, and this one cannot be raised.
    """
    return Rollback(stopping, weight_decay) if isinstance(stopping, RaiseDecay) else EarlyStopping(stopping)


class Rollback(EarlyStopping):
    """A watch that sends the search back instead of ending it.

    It keeps the whole state of the search at each measured epoch that can still be returned to, on the CPU. The states
    travel in the checkpoint, not in files of their own: so a checkpoint alone is enough to resume, wherever it is
    moved, and it and the states cannot disagree after a crash. There are at most ``returnable`` many, 11 with the
    published settings, of some megabytes in S1 to S4.

    Args:
        stopping: The rule.
        weight_decay: Weight decay at the start.

    Attributes:
        decays: Weight decays in their order, the first that of the start.
        raised: How many increases there were.
        states: Epoch to the state at its end.
        early: Strengths at which the search would have ended at the first decision, by kind of cell.
    """

    def __init__(self, stopping: RaiseDecay, weight_decay: float) -> None:
        super().__init__(stopping)
        self.rule, self.decays = stopping, stopping.decays(weight_decay)
        self.raised = 0
        self.states: dict[int, dict[str, Any]] = {}
        self.early: dict[str, Tensor] | None = None

    @property
    def left(self) -> int:
        """How many increases are left."""
        return len(self.decays) - 1 - self.raised

    @property
    def acts(self) -> bool:
        return self.left > 0

    @property
    def over(self) -> bool:
        return False

    @property
    def returned(self) -> None:
        """Nothing: the result is always the present architecture."""
        return None

    @property
    def logged(self) -> dict[str, float]:
        return {**super().logged, WEIGHT_DECAY.name: self.decays[self.raised]}

    def keep(self, search: SearchModule) -> None:
        if self.stop is not None:
            return  # whatever it returns to must still be there
        epochs = self.rule.returnable(self.epochs, self.left)
        self.states = {epoch: state for epoch, state in self.states.items() if epoch in epochs}
        if search.current_epoch in epochs:
            self.states[search.current_epoch] = state_of(search)

    def go_back(self, search: SearchModule) -> None:
        """Return, if that is decided and the epoch of the decision is over."""
        progress: Any = search.trainer.fit_loop.epoch_progress.current
        stop = self.stop
        if stop is None or progress.processed <= stop.detected:
            return
        if self.early is None:
            self.early = self.kept[stop.returned]
            genotype = search.selection.genotype(search.space, self.early)
            say(search.trainer, f"Early stopping would have ended after epoch {stop.detected} with {genotype}.")
        restore(search, self.states[stop.returned])
        self.stop, self.raised = None, self.raised + 1
        for group in search.trainer.optimizers[0].param_groups:
            group["weight_decay"] = self.decays[self.raised]
        self._forget(stop.returned)
        rewind(search.trainer, stop.detected - stop.returned)
        say(
            search.trainer,
            f"Back from the end of epoch {stop.detected} to that of epoch {stop.returned}, "
            f"with weight decay {self.decays[self.raised]:g}.",
        )

    def _forget(self, epoch: int) -> None:
        """Drop all that was noted after an epoch."""
        count = sum(measured <= epoch for measured in self.epochs)
        self.epochs, self.values = self.epochs[:count], self.values[:count]
        self.kept = {measured: held for measured, held in self.kept.items() if measured <= epoch}
        left = self.rule.returnable(self.epochs, self.left)
        self.states = {measured: state for measured, state in self.states.items() if measured in left}

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "raised": self.raised, "states": self.states, "early": self.early}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.raised, self.states, self.early = state["raised"], dict(state["states"]), state["early"]


def state_of(search: SearchModule) -> dict[str, Any]:
    """All that a search consists of between two epochs, copied to the CPU: plain values and tensors."""
    state: dict[str, Any] = {
        "tensors": {**dict(search.named_parameters()), **dict(search.named_buffers())},
        "kept": search.active_mask,
        "optimizers": [optimizer.state_dict() for optimizer in search.trainer.optimizers],
        "schedulers": [config.scheduler.state_dict() for config in search.trainer.lr_scheduler_configs],
    }
    return {name: _copied(held) for name, held in state.items()}


@torch.no_grad()
def restore(search: SearchModule, state: Mapping[str, Any]) -> None:
    """Put a search in the state that :func:`state_of` returned, bit for bit."""
    state = {name: _copied(held) for name, held in state.items()}  # optimisers adopt tensors and change them in place
    for name, tensor in [*search.named_parameters(), *search.named_buffers()]:
        tensor.copy_(state["tensors"][name])
    search.active_mask = state["kept"]
    for optimizer, held in zip(search.trainer.optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(held)
    for config, held in zip(search.trainer.lr_scheduler_configs, state["schedulers"], strict=True):
        config.scheduler.load_state_dict(held)


def rewind(trainer: Trainer, epochs: int) -> None:
    """Set the number of the epoch back; that of the steps, from which random numbers follow, goes on.

    Everything that depends on the epoch (schedules, the order of batches, when the training ends) then does so as it
    did before. The trainer's own counter is what checkpoints hold, so that resuming needs nothing else. The record
    has one row for every epoch that was run, in the order they were; files named by an epoch are those of its last run.

    Args:
        trainer: The trainer, between two epochs.
        epochs: By how many epochs.
    """
    progress: Any = trainer.fit_loop.epoch_progress.current
    for count in ("ready", "started", "processed", "completed"):
        setattr(progress, count, getattr(progress, count) - epochs)
    for loader in CombinedLoader(trainer.train_dataloader).flattened:
        set_epoch = getattr(getattr(loader, "sampler", None), "set_epoch", None)
        if callable(set_epoch):  # told another number than the next, they start that one anew
            set_epoch(progress.processed - 1)


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: _copied(held) for key, held in value.items()}
    return type(value)(map(_copied, value)) if isinstance(value, (list, tuple)) else value
