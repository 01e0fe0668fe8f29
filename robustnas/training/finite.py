"""What stops a run in the middle: numbers that are not finite."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class NotFiniteError(ValueError):
    """A loss became infinite or undefined."""


class Finite:
    """Stops a run at a loss that is not finite, naming the step.

    Reading a number from a GPU makes it wait, so there the first bad step is remembered on the device and read every
    50 steps and at the last batch of an epoch, before a checkpoint is written.
    """

    def __init__(self) -> None:
        self._bad: Tensor | None = None

    def check(self, name: str, loss: Tensor, step: int, epoch: int, last: bool) -> None:
        """Look at a loss.

        Args:
            name: Which loss, for the error.
            loss: A scalar.
            step: Number of the step.
            epoch: Number of the epoch.
            last: Whether the epoch ends with this step.

        Raises:
            NotFiniteError: If a loss was not finite at this step, or at one not looked at before.
        """
        if self._bad is None:
            self._bad = torch.full((), math.inf, device=loss.device)
        now = torch.where(loss.isfinite(), math.inf, torch.full_like(self._bad, float(step)))
        self._bad = torch.minimum(self._bad, now)
        if (last or loss.is_cpu or step % 50 == 0) and math.isfinite(first := self._bad.item()):
            raise NotFiniteError(
                f"Expected a finite {name} loss, but got one that is not at step {int(first)} (epoch {epoch}). "
                f"The checkpoint of the epoch before, if there is one, is still good; lower learning rates may help."
            )
