"""How far α is from a stationary point."""

from __future__ import annotations

import torch
from robustnas.diagnostics.diagnostic import Diagnostic
from robustnas.diagnostics.probe import Probe

from robustnas.networks.statistics import still_statistics
from robustnas.training.search import SearchModule


class ArchGradient(Diagnostic):
    r"""Norm of the gradient of the validation loss in α, on the same samples at each epoch.

    ``gradient/alpha_norm`` is :math:`\|\nabla_\alpha L_\text{arch}(w, \alpha)\|_2`, of first order, without weight
    decay. Curvature alone misleads where α is far from a stationary point; a norm of zero from the start means that α
    does not reach the loss. One batch is too noisy to judge by, so that several fixed ones are taken together.

    Args:
        batches: Batches of the role arch.
        every: As for every diagnostic.
        budget: As for every diagnostic.
    """

    def __init__(self, batches: int = 4, every: int = 1, budget: float | None = 0.03) -> None:
        super().__init__(every, budget)
        if batches < 1:
            raise ValueError(f"Expected `batches` to be at least 1, but got {batches}.")
        self.batches = batches

    def measure(self, search: SearchModule, probe: Probe) -> dict[str, float]:
        weights = {name: weight.detach() for name, weight in search.supernet.named_parameters()}
        alphas = list(search.alphas.values())
        total = [torch.zeros_like(alpha) for alpha in alphas]
        batches = probe.batches("arch", self.batches)
        with still_statistics(search.supernet):
            for batch in batches:
                slopes = torch.autograd.grad(search.arch_loss(batch, weights), alphas, materialize_grads=True)
                total = [t + slope / len(batches) for t, slope in zip(total, slopes, strict=True)]
        return {"gradient/alpha_norm": float(torch.stack([t.norm() for t in total]).norm())}
