"""How sharply the validation loss bends in α."""

from __future__ import annotations

import torch
from robustnas.diagnostics.diagnostic import Diagnostic

from robustnas.curvature import Hessian, extremes
from robustnas.data import Batch, Probe
from robustnas.networks.statistics import still_statistics
from robustnas.spectrum import eigenvalues, part_blocks
from robustnas.training.search import SearchModule


class Curvature(Diagnostic):
    r"""Eigenvalues of the Hessian :math:`\nabla^2_\alpha L_\text{arch}(w, \alpha)` (arXiv:1909.09656).

    - ``curvature/max``: the largest one. A search whose smoothed value grows by more than 1.3 within eight epochs is
      about to lose by rounding what it found; RobustDARTS stops there;
    - ``curvature/min``: with ``smallest``, the smallest one, negative where α is no minimum;
    - ``curvature/max_KIND``: the largest one of the block of a kind of cell, which says which cell sharpens;
    - with ``spectrum``, ``curvature/trace``, ``curvature/negative`` (share of negative eigenvalues; a softmax has a
      zero for each edge, whose rounding does not count) and ``curvature/quantile_25``, ``_50``, ``_75`` of all
      eigenvalues, from the dense matrix: one product for each α.

    The Hessian is that of the loss of α with its penalty and without weight decay (``arch/curvature``, which a stopping
    rule watches, has it), in float32 or better, on the first samples of the role arch without augmentation, normalised
    by their own statistics. For a sampled relaxation it is that of the surrogate at one sample, see
    :class:`~robustnas.curvature.Hessian`.

    Args:
        samples: How many samples the loss is taken on.
        tolerance: Residual, relative to the eigenvalue, at which the search for it ends. Its error is usually about the
            square of it.
        smallest: Whether the smallest one is searched for too, which takes about as many products again.
        kinds: Whether blocks of kinds of cell are measured too, where there are several.
        spectrum: Whether all eigenvalues are computed.
        every: As for every diagnostic.
        budget: As for every diagnostic.
    """

    steps = 2.0
    on = "the loss of α with its penalty and without its weight decay; first samples of the role arch, not augmented"

    def __init__(
        self,
        samples: int = 16,
        tolerance: float = 0.2,
        smallest: bool = False,
        kinds: bool = False,
        spectrum: bool = False,
        every: int = 1,
        budget: float | None = 0.03,
    ) -> None:
        super().__init__(every, budget)
        if samples < 2:
            raise ValueError(f"Expected `samples` to be at least 2, but got {samples}.")
        if not 0 < tolerance < 1:
            raise ValueError(f"Expected `tolerance` to be between 0 and 1, but got {tolerance}.")
        self.samples, self.tolerance = samples, tolerance
        self.smallest, self.kinds, self.spectrum = smallest, kinds, spectrum

    def measure(self, search: SearchModule, probe: Probe) -> dict[str, float]:
        weights = {name: weight.detach() for name, weight in search.supernet.named_parameters()}
        with still_statistics(search.supernet):
            loss = search.arch_loss(self._batch(probe), weights)
        hessian = Hessian(loss, list(search.alphas.values()))
        if self.spectrum:
            return self._whole(hessian, list(search.alphas))
        largest, smallest = extremes(hessian, 1, int(self.smallest), self.tolerance, block=1)
        values = {"curvature/max": float(largest.values[0])}
        if self.smallest:
            values["curvature/min"] = float(smallest.values[0])
        if self.kinds and len(search.alphas) > 1:
            for place, kind in enumerate(search.alphas):
                largest, _ = extremes(hessian.part(place), 1, 0, self.tolerance, block=1)
                values[f"curvature/max_{kind}"] = float(largest.values[0])
        return values

    def _batch(self, probe: Probe) -> Batch:
        batch = probe.batches("arch", 1)[0]
        return batch._replace(images=batch.images[: self.samples], targets=batch.targets[: self.samples])

    def _whole(self, hessian: Hessian, kinds: list[str]) -> dict[str, float]:
        matrix = hessian.dense().double()
        found = eigenvalues(matrix)
        values = {
            "curvature/max": float(found.max()),
            "curvature/min": float(found.min()),
            "curvature/trace": float(found.sum()),
            "curvature/negative": float((found < -1e-5 * found.abs().max()).double().mean()),
        }
        for share in (25, 50, 75):
            values[f"curvature/quantile_{share}"] = float(torch.quantile(found, share / 100))
        if len(kinds) > 1:
            for kind, block in zip(kinds, part_blocks(matrix, hessian.shapes), strict=True):
                values[f"curvature/max_{kind}"] = float(eigenvalues(block).max())
        return values
