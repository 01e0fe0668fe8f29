"""What keeps α from growing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustnas.strategies.penalty import ByKind, Penalty
from robustnas.strategies.step_context import StepContext


@dataclass(frozen=True)
class BetaDecay(Penalty):
    r"""The regulariser of β-DARTS, the mean over edges of all kinds of cell of a soft maximum of α (arXiv:2203.01665).

    .. math:: w(e)\, \frac{1}{|E|} \sum_{i \in E} \log \sum_k \exp \alpha_{ik}, \qquad
        w(e) = w_1\, \frac{e}{E_\text{epochs}}, \qquad
        \frac{\partial}{\partial \alpha_{ik}} = \frac{w(e)}{|E|}\, \mathrm{softmax}(\alpha_i)_k,

    in epoch :math:`e` from 0. All α of an edge are pulled down, the largest most, so that the shares stay close to each
    other. It is a function of α and not of the shares, which a constant added to an edge does not change. Operations
    that an edge does not have, or that have left, do not count.

    The weight grows by the length of the search: half way it is :math:`w_1 / 2` whatever the number of epochs. In the
    author's code it is 0.5 times the epoch, which is this in the paper's 100 epochs; in a search of :math:`E` epochs,
    ``weight_end`` :math:`= E / 2` gives the same. There the term is missing in second order; here it is not.

    Args:
        weight_end: :math:`w_1`, which the weight approaches at the end, zero or more.
    """

    weight_end: float = 50.0

    def __post_init__(self) -> None:
        if not self.weight_end >= 0:
            raise ValueError(f"Expected `weight_end` to be zero or more, but got {self.weight_end}.")

    def of(self, alphas: ByKind, shares: ByKind, context: StepContext) -> Tensor:
        edges = torch.cat([alpha.logsumexp(dim=-1) for alpha in alphas.values()])
        return self.weight_end * context.epoch / context.epochs * edges.mean()
