"""Whether the cells of a supernet want the same architecture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from robustnas.diagnostics.diagnostic import BatchDiagnostic
from torch import Tensor, nn
from torch.autograd import grad

from robustnas.analysis.metrics import ALIGNMENT
from robustnas.data import Probe
from robustnas.data.batch import Batch
from robustnas.networks import Mixture
from robustnas.networks.batchnorm_statistics import frozen_batchnorm_statistics
from robustnas.networks.cell import Cell, MixtureWeights
from robustnas.strategies.gradient import slopes_in
from robustnas.strategies.layer_alignment import alignment
from robustnas.training.search import SearchModule


class LayerAlignment(BatchDiagnostic):
    r"""Mean cosine between the gradients that the cells of a kind send to the α they share (arXiv:2210.07998).

    With :math:`g_l` the part of :math:`\nabla_\alpha L_\text{arch}` that comes through cell :math:`l` of :math:`M`,

    .. math:: \Lambda = \frac{2}{M (M - 1)} \sum_{l < m} \frac{\langle g_l, g_m \rangle}{\|g_l\| \|g_m\|},

    logged as ``gradient/alignment_KIND``. It falls towards zero or below when the last cells decide for all, which is
    how skip connections win; Λ-DARTS keeps it up. A kind with one cell has none.

    Args:
        batches: Batches of the role arch, whose gradients are added.
        **shared: Arguments of :class:`~robustnas.diagnostics.Diagnostic`.
    """

    steps = 0.5
    on = "first batches of the role arch, not augmented, normalised by their own statistics"

    def measure(self, search: SearchModule, probe: Probe) -> dict[str, float]:
        totals: dict[str, list[Tensor]] = {}
        for batch in probe.batches("arch", self.batches):
            for kind, slopes in by_cell(search, batch).items():
                before = totals.get(kind, [torch.zeros_like(slope) for slope in slopes])
                totals[kind] = [t + slope for t, slope in zip(before, slopes, strict=True)]
        return {
            ALIGNMENT.of(kind): float(alignment(torch.stack([slope.flatten() for slope in slopes])))
            for kind, slopes in totals.items()
            if len(slopes) > 1
        }


def by_cell(search: SearchModule, batch: Batch) -> dict[str, list[Tensor]]:
    """Gradients of the loss in α through each cell alone, ``[edges, operations]``; their sum is the gradient in α."""
    mixtures = search.mixtures(search.context("arch"))
    own: dict[str, list[Tensor]] = {kind: [] for kind in mixtures}
    weights = {name: weight.detach() for name, weight in search.supernet.named_parameters()}
    with frozen_batchnorm_statistics(search.supernet), _own_mixtures(search, mixtures, own):
        loss, _ = search.loss(batch, mixtures, weights)
    leaves = [leaf for kind in mixtures for leaf in own[kind]]
    slopes = iter(slopes_in(loss, leaves) if leaves else ())
    return {kind: [_in_alpha(search, mixtures, kind, next(slopes)) for _ in own[kind]] for kind in mixtures}


@contextmanager
def _own_mixtures(
    search: SearchModule, mixtures: Mapping[str, Mixture], own: Mapping[str, list[Tensor]]
) -> Iterator[None]:
    """Give every cell weights of operations of its own, which are noted under the kind of the cell."""

    def give(cell: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        inputs, _, *rest = arguments
        kind = next(kind for kind, space in search.space.cells.items() if space == cell.space)
        leaf = mixtures[kind].operations.detach().requires_grad_()
        own[kind].append(leaf)
        return inputs, MixtureWeights(replace(mixtures[kind].detach(), operations=leaf)), *rest

    hooks = [m.register_forward_pre_hook(give) for m in search.supernet.modules() if isinstance(m, Cell)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _in_alpha(search: SearchModule, mixtures: Mapping[str, Mixture], kind: str, slope: Tensor) -> Tensor:
    """The gradient in α that follows from one in the weights of operations."""
    operations, alpha = mixtures[kind].operations, search.alphas[kind]
    if not operations.requires_grad:
        return torch.zeros_like(alpha)
    found: Tensor = grad(operations, alpha, slope, retain_graph=True, materialize_grads=True)[0]
    return found
