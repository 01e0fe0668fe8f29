"""What discretisation costs: the supernet compared with the same weights at its genotype."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from robustnas.diagnostics.diagnostic import BatchDiagnostic

from robustnas.analysis.metrics import DISCRETE_ACCURACY, GAP, GAP_LOSS, GAP_LOSS_STALE, GAP_STALE, SUPERNET_ACCURACY
from robustnas.data import Probe
from robustnas.data.batch import Batch
from robustnas.networks import Mixture
from robustnas.networks.batchnorm_statistics import evaluating, recalibrate
from robustnas.networks.mixture import one_hots
from robustnas.training.search import SearchModule

Mixtures = Mapping[str, Mixture]


class DiscretisationGap(BatchDiagnostic):
    r"""Accuracy and loss of the supernet, and of the same weights at the genotype that the search would return.

    With the mixture :math:`m(\alpha)` of evaluation and the one-hot mixture :math:`m(g)` of the genotype,

    .. math:: \text{gap/accuracy} = A(w, m(\alpha)) - A(w, m(g)), \qquad
        \text{gap/loss} = L(w, m(g)) - L(w, m(\alpha)),

    so that a positive gap is a loss by discretisation. BatchNorm remembers the activations of the mixture: the gap is
    given with statistics measured anew on batches of the role weights, and, as ``..._stale``, with the supernet's. A
    search whose discrete accuracy falls to that of guessing has collapsed (arXiv:1909.09656, arXiv:2108.04392); a large
    gap says that α does not tell what matters.

    Args:
        batches: Batches of the role selection to measure on, and of the role weights to measure statistics on.
        **shared: Arguments of :class:`~robustnas.diagnostics.Diagnostic`.
    """

    headline = True
    steps = 0.8
    on = "first batches of the role selection; BatchNorm stale, and measured anew on batches of weights"

    def __init__(self, batches: int = 2, **shared: Any) -> None:
        super().__init__(batches, **shared)

    def measure(self, search: SearchModule, probe: Probe) -> dict[str, float]:
        batches = probe.batches(probe.measured, self.batches)
        with torch.no_grad(), evaluating(search.supernet):
            mixtures = search.mixtures(search.context("evaluation"))
            like = next(iter(search.alphas.values())).detach()
            discrete = one_hots(search.space, search.genotype(), like)
            supernet, stale = (scores(search, each, batches) for each in (mixtures, discrete))
            weights = probe.batches("weights", self.batches)
            recalibrate(search.supernet, lambda batch: search.supernet(batch.images, discrete), weights)
            fresh = scores(search, discrete, batches)
        values = {
            GAP_LOSS.name: fresh["loss"] - supernet["loss"],
            GAP_LOSS_STALE.name: stale["loss"] - supernet["loss"],
        }
        if "accuracy" in supernet:
            values |= {
                GAP.name: supernet["accuracy"] - fresh["accuracy"],
                GAP_STALE.name: supernet["accuracy"] - stale["accuracy"],
                SUPERNET_ACCURACY.name: supernet["accuracy"],
                DISCRETE_ACCURACY.name: fresh["accuracy"],
            }
        return values


def scores(search: SearchModule, mixtures: Mixtures, batches: list[Batch]) -> dict[str, float]:
    """``loss`` on some batches and, in classification, ``accuracy``, at given mixtures."""
    outputs = [search.supernet(batch.images, mixtures) for batch in batches]
    sizes = [len(batch.targets) for batch in batches]
    losses = [float(search.loss_of(o, batch.targets)) for o, batch in zip(outputs, batches, strict=True)]
    values = {"loss": sum(n * loss for n, loss in zip(sizes, losses, strict=True)) / sum(sizes)}
    if search.task == "classification":
        right = [int((o.argmax(1) == batch.targets).sum()) for o, batch in zip(outputs, batches, strict=True)]
        values["accuracy"] = sum(right) / sum(sizes)
    return values
