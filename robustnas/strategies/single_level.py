"""One level: α and the weights descend one loss together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from robustnas.data import Role
from robustnas.strategies.gradient import Bilevel, Gradient, at_current_weights


@dataclass(frozen=True)
class SingleLevel(Gradient):
    r"""α and the weights step together along the gradient of one loss, as SNAS does (arXiv:1812.09926).

    .. math:: \min_{w, \alpha}\; L(w, \alpha) + P(\alpha)

    on batches of the roles ``weights`` and ``arch`` taken together, with the penalty :math:`P`. One forward pass, at
    one sample of operations, and one backward pass give both gradients, so that a step takes about half of the time of
    a DARTS step. The gradient of the weights is clipped as usual, α's is not. ``step_order`` has no meaning here. In
    epochs before ``arch_start``, and between the steps of α with ``arch_every``, the weights step alone.

    No data is kept from the weights that could show α an overfitted operation.
    """

    looks_ahead = False
    single_level = True
    streams: ClassVar[Mapping[str, tuple[Role, ...]]] = {"train": ("weights", "arch")}

    def of(self, problem: Bilevel) -> tuple[list[Tensor], Tensor]:
        return at_current_weights(problem)
