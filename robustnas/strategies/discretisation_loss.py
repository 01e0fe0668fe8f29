"""What pushes the mixture, and the edges that enter a node, to what a discrete cell keeps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from robustnas.strategies.penalty import ByKind, Penalty, check_weight, entropies
from robustnas.strategies.ramp import Ramp, check_ramp, ramped
from robustnas.strategies.step_context import StepContext


@dataclass(frozen=True)
class DiscretisationLoss(Penalty):
    r"""Entropies of operations and of edges, which grow over the epochs, as in DA²S (arXiv:2007.03154).

    With the shares :math:`s` of all edges of all kinds of cell, and ramps :math:`r, r_O` from 0 to 1,

    .. math:: \lambda\, r(t) \Bigl[ r_O(t) \sum_e H(s_e) + \kappa \sum_n \bigl( H(\mathrm{softmax}(c_n))
        + \eta\, \bigl(\textstyle\sum_j \max(c_{jn}, 0) - k_n \bigr)^2 \bigr) \Bigr], \qquad
        c_{jn} = \min(\beta_{jn} + k_n / m_n, 1),

    over the nodes :math:`n` that :math:`m_n` edges enter and that keep :math:`k_n < m_n` of them. The second term is
    least where :math:`k_n` edges have :math:`c = 1` and the others are far below. Without β it is left out.

    In the author's code β starts at :math:`k_n / m_n` and not at 0, which is the same softmax; edge weights are clamped
    at 1 in the network too, and multiplied by :math:`m_n`; cubes of α take the place of α below -1/2; and cells take
    the β of the other kind. The ramps start at 0 in the first epoch there, not the first step above it.

    Args:
        weight: λ, zero or more.
        edge_weight: κ, zero or more.
        kept_weight: η, zero or more.
        ramp: :math:`r`, one of those of :func:`~robustnas.strategies.ramp.ramped`.
        operation_ramp: :math:`r_O`.
        start: First epoch in which the entropy of operations counts; the author's code counts it as the eighth.
    """

    weight: float = 0.1
    edge_weight: float = 4.0
    kept_weight: float = 0.2
    ramp: Ramp = "linear"
    operation_ramp: Ramp = "log"
    start: int = 7

    def __post_init__(self) -> None:
        check_weight(weight=self.weight, edge_weight=self.edge_weight, kept_weight=self.kept_weight, start=self.start)
        check_ramp(ramp=self.ramp, operation_ramp=self.operation_ramp)

    def of(self, alphas: ByKind, shares: ByKind, context: StepContext) -> Tensor:
        total = ramped(1.0, self.operation_ramp, context, self.start) * entropies(shares).sum()
        for capped, kept in _edges(context):
            entropy = entropies({"node": capped.softmax(dim=0)[None]}).sum()
            excess = capped.clamp(min=0).sum() - kept
            total = total + self.edge_weight * (entropy + self.kept_weight * excess.square())
        return ramped(self.weight, self.ramp, context) * total


def _edges(context: StepContext) -> Iterator[tuple[Tensor, int]]:
    """Shifted and capped β of the edges that enter a node, ``[edges]``, and how many of them stay, where some leave."""
    for kind, beta in context.betas.items() if context.space is not None else ():
        cell = context.space.cells[kind]  # type: ignore[union-attr]
        for node in cell.nodes:
            rows = [row for row, _ in cell.edges_into(node)]
            if (kept := cell.kept(node)) < len(rows):
                yield (beta[rows] + kept / len(rows)).clamp(max=1), kept
