"""When a part is asked: the step it serves, and how far the search has come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from robustnas.spaces import CellSpace, SearchSpace

Phase = Literal["arch", "weights", "evaluation"]


@dataclass(frozen=True)
class StepContext:
    """The step of a search at which a part is asked, and what it is asked about, where that is said."""

    phase: Phase  # whether the answer serves the architecture step, the weight step, or evaluation
    epoch: int  # from 0
    epochs: int  # of the whole search
    generator: torch.Generator  # the same on every process: a function of seed and step alone
    zero_mask: Tensor | None = None  # operations called ``none``, boolean [edges, operations] on the CPU
    cell: CellSpace | None = None
    space: SearchSpace | None = None  # for penalties, with β by kind of cell, [edges], where there is one
    betas: Mapping[str, Tensor] = field(default_factory=dict)
    multiplier: float = 0.0  # for penalties that hold a constraint: its Lagrange multiplier, zero or more

    @property
    def progress(self) -> float:
        """How far the search has come: 0 in its first epoch, 1 in its last and in the validation after it."""
        return min(self.epoch / max(self.epochs - 1, 1), 1.0)
