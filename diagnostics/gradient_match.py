"""Whether operations still learn what carries over."""

from __future__ import annotations

import torch
from robustnas.diagnostics.diagnostic import BatchDiagnostic
from torch import Tensor
from torch.autograd import grad

from robustnas.analysis.metrics import MATCH
from robustnas.data import Probe
from robustnas.data.batch import Batch
from robustnas.networks.batchnorm_statistics import frozen_batchnorm_statistics
from robustnas.networks.cell import Cell
from robustnas.training.search import SearchModule


class GradientMatch(BatchDiagnostic):
    r"""Cosine between the gradients of training and validation loss in the weights of each operation.

    .. math:: \cos(\nabla_{w_o} L_\text{weights}, \nabla_{w_o} L_\text{arch})

    over all weights :math:`w_o` of the operation in all cells, logged as ``gradient/match_OP``, and over the weights of
    all candidates as ``gradient/match``. At zero or below an operation learns what does not carry over. OLES (Jiang et
    al., NeurIPS 2023) freezes an operation whose mean falls under 0.4; its code adds the gradient of the training step
    to that of validation, which raises the cosine, so that 0.4 is no threshold here.

    Args:
        batches: Batches of either role, without augmentation, whose gradients are added.
        **shared: Arguments of :class:`~robustnas.diagnostics.Diagnostic`.
    """

    steps = 1.2
    on = "first batches of weights and arch, not augmented, normalised by their own statistics"

    def measure(self, search: SearchModule, probe: Probe) -> dict[str, float]:
        groups = weights_by_operation(search)
        if not groups:
            return {}
        train, validation = (_slopes(search, probe.batches(role, self.batches), groups) for role in ("weights", "arch"))
        values = {MATCH.of(name): _cosine(train[name], validation[name]) for name in groups}
        values[MATCH.name] = _cosine(*(torch.cat([slopes[name] for name in groups]) for slopes in (train, validation)))
        return {name: value for name, value in values.items() if value is not None}


def weights_by_operation(search: SearchModule) -> dict[str, list[Tensor]]:
    """Candidate operation to its weights in all cells; operations without weights are left out."""
    groups: dict[str, list[Tensor]] = {}
    for cell in (module for module in search.supernet.modules() if isinstance(module, Cell)):
        for leaving in cell.bundles:
            groups.setdefault(leaving.name, []).extend(leaving.operation.parameters())
    return {name: weights for name, weights in groups.items() if weights}


def _slopes(search: SearchModule, batches: list[Batch], groups: dict[str, list[Tensor]]) -> dict[str, Tensor]:
    weights = dict(search.supernet.named_parameters())
    mixtures = {kind: mixture.detach() for kind, mixture in search.mixtures(search.context("weights")).items()}
    flat = [weight for own in groups.values() for weight in own]
    total = [torch.zeros_like(weight) for weight in flat]
    with frozen_batchnorm_statistics(search.supernet):
        for batch in batches:
            found = grad(search.loss(batch, mixtures, weights)[0], flat, materialize_grads=True)
            total = [t + slope for t, slope in zip(total, found, strict=True)]
    parts = iter(total)
    return {name: torch.cat([next(parts).flatten() for _ in own]) for name, own in groups.items()}


def _cosine(one: Tensor, other: Tensor) -> float | None:
    """Cosine of two vectors, or ``None`` where one is zero: an operation that a sampled search did not draw."""
    lengths = one.norm() * other.norm()
    return float(one @ other / lengths) if lengths > 0 else None
