"""When a part is asked: the step it serves, and how far the search has come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from robustnas.spaces import CellSpace

Phase = Literal["arch", "weights", "evaluation"]


@dataclass(frozen=True)
class StepContext:
    """The step of a search at which a part is asked.

    Args:
        phase: Whether the answer serves the architecture step, the weight step, or evaluation.
        epoch: Number of the epoch, from 0.
        epochs: Epochs of the whole search.
        generator: Source of random numbers, the same on every process and a function of seed and step alone.
        zero_mask: Which operations of the kind of cell that is asked about give nothing, those called ``none``; boolean
            ``[edges, operations]`` on the CPU, or ``None`` where that is not said.
        cell: The kind of cell that is asked about, or ``None`` where that is not said.
    """

    phase: Phase
    epoch: int
    epochs: int
    generator: torch.Generator
    zero_mask: Tensor | None = None
    cell: CellSpace | None = None
