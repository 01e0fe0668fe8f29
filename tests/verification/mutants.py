"""Searches that are broken on purpose where only several processes show it; a configuration names them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from robustnas.variants import DARTS, GDAS
from torch import Tensor

from robustnas.strategies import Bilevel, StepContext
from robustnas.strategies.step_context import Phase
from robustnas.training import search as searching
from robustnas.training.processes import average


class Alone(DARTS):
    """Every process steps along its own gradients."""

    def training_step(self, batch: Any, batch_idx: int) -> None:
        searching.average = list
        try:
            super().training_step(batch, batch_idx)
        finally:
            searching.average = average


class Unchecked(Alone):
    """The processes do not compare their replicas either."""

    def training_step(self, batch: Any, batch_idx: int) -> None:
        check, searching.check_replicas = searching.check_replicas, lambda *_: None
        try:
            super().training_step(batch, batch_idx)
        finally:
            searching.check_replicas = check


class Summing(DARTS):
    """Gradients of α are added where they should be averaged."""

    def problem(self, batch: Any) -> Bilevel:
        def add(tensors: Sequence[Tensor]) -> list[Tensor]:
            return [tensor * self.trainer.world_size for tensor in average(tensors)]

        return replace(super().problem(batch), average=add)


class Straying(GDAS):
    """Every process draws noise of its own."""

    def context(self, phase: Phase) -> StepContext:
        context = super().context(phase)
        seed = context.generator.initial_seed() + self.global_rank
        return replace(context, generator=torch.Generator().manual_seed(seed))
