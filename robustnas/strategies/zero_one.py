"""What pushes the weight of each operation to zero or to one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from robustnas.strategies.penalty import ByKind, Penalty
from robustnas.strategies.step_context import StepContext


@dataclass(frozen=True)
class ZeroOne(Penalty):
    r"""The zero-one loss of FairDARTS: minus the mean distance of the shares from one half (arXiv:1911.12126).

    .. math:: -\frac{w}{N} \sum_{e, k} \Bigl(s_{ek} - \frac12\Bigr)^2, \qquad \text{or} \qquad
        -\frac{w}{N} \sum_{e, k} \Bigl|s_{ek} - \frac12\Bigr|

    over the :math:`N` operations that are left in all kinds of cell together, with shares :math:`s = \sigma(\alpha)`.
    It is from :math:`-w / 4` (or :math:`-w / 2`) to 0, and least where every share is 0 or 1. At one half its gradient
    is zero. The author's code adds it to the loss of the weights too, where it has no effect.

    Args:
        weight: :math:`w`, zero or more.
        form: ``l2``, the first, or ``l1``, the second.
    """

    wants = "independent"
    weight: float = 10.0
    form: Literal["l2", "l1"] = "l2"

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise ValueError(f"Expected `weight` to be zero or more, but got {self.weight}.")
        if self.form not in ("l2", "l1"):
            raise ValueError(f"Expected `form` to be 'l2' or 'l1', but got {self.form!r}.")

    def of(self, alphas: ByKind, shares: ByKind, context: StepContext) -> Tensor:
        left = torch.cat([share[alphas[kind].isfinite()] for kind, share in shares.items()]) - 0.5
        return -self.weight * (left.square() if self.form == "l2" else left.abs()).mean()
