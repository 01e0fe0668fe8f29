"""ProxylessNAS: search with one path in memory, through gates that are open or closed (arXiv:1812.00332)."""

from __future__ import annotations

from typing import Any, Literal

from robustnas.strategies import BinaryGates, Relaxation
from robustnas.training.search import SearchModule


class ProxylessNAS(SearchModule):
    r"""Train one sampled path at a time; every fifth step, learn which gates to open.

    A weight step draws an operation for each edge from :math:`p = \mathrm{softmax}(\alpha)` and computes nothing else;
    the weights of all others rest, without momentum or decay. After every ``arch_every`` of them, α moves along

    .. math:: \frac{\partial L}{\partial \alpha_i}
        = \sum_j \langle G, o_j \rangle\, r_j\, (\delta_{ij} - r_i)

    with :math:`G` the gradient of the edge's output and :math:`r` the softmax over the operations looked at: two in
    the paper's form, ``BinaryGates("two")``, all of them in the author's script, ``BinaryGates("full_v2")``. α rests in
    the first ``arch_start`` epochs.

    The author's images of the role arch are not augmented: ask the data for ``augment_arch: false``. Unlike there, one
    schedule covers the warm-up too (the author's has a cosine of its own, from 0.05), labels of the weight step are not
    smoothed, and BatchNorm of a supernet's cells has no scale.

    Args:
        relaxation: How α becomes weights of operations.
        step_order: Whether α or the weights step first.
        nesterov: Whether the momentum of the weights is Nesterov's.
        weight_decay: Weight decay of the weights.
        lr_min: Step size that a cosine schedule over the epochs approaches.
        clip: Largest norm of the weights' gradient; 0 for no limit.
        arch_lr: Step size of α.
        arch_betas: Decay rates of Adam's moments; with a first one of 0, what is not looked at does not move.
        arch_weight_decay: Weight decay of α.
        arch_start: First epoch in which α moves.
        arch_every: Steps of the weights for each step of α.
        batch_statistics: Whether evaluation normalises by the batch, as the author's does.
        **shared: Arguments of :class:`~robustnas.training.search.SearchModule`.

    Reference:
        Cai, Zhu and Han, "ProxylessNAS: Direct Neural Architecture Search on Target Task and Hardware", ICLR 2019.
    """

    def __init__(
        self,
        relaxation: Relaxation = BinaryGates(),
        step_order: Literal["arch_first", "weights_first"] = "weights_first",
        nesterov: bool = True,
        weight_decay: float = 4e-5,
        lr_min: float = 0.0,
        clip: float = 0.0,
        arch_lr: float = 1e-3,
        arch_betas: tuple[float, float] = (0.0, 0.999),
        arch_weight_decay: float = 0.0,
        arch_start: int = 40,
        arch_every: int = 5,
        batch_statistics: bool = True,
        **shared: Any,
    ) -> None:
        super().__init__(
            relaxation=relaxation, step_order=step_order, nesterov=nesterov, weight_decay=weight_decay, lr_min=lr_min,
            clip=clip, arch_lr=arch_lr, arch_betas=arch_betas, arch_weight_decay=arch_weight_decay,
            arch_start=arch_start, arch_every=arch_every, batch_statistics=batch_statistics, **shared,
        )  # fmt: skip
