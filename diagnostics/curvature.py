"""How sharply the validation loss bends in α."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from robustnas.diagnostics.diagnostic import Diagnostic
from robustnas.diagnostics.schedule import planned_epochs

from robustnas.analysis.metrics import CURVATURE, CURVATURE_QUANTILE, NEGATIVE, SMALLEST_CURVATURE, TRACE
from robustnas.curvature import Block
from robustnas.curvature.eigenvalue import bounded_ends
from robustnas.curvature.hessian import part_indices
from robustnas.curvature.spectrum import eigenvalues, part_blocks
from robustnas.data import Probe
from robustnas.networks.batchnorm_statistics import frozen_batchnorm_statistics
from robustnas.training.curvature import PRODUCTS, TOLERANCE, ProbeHessian, measured, probe_batches, probe_hessian
from robustnas.training.hooks.early_stopping import EarlyStopping
from robustnas.training.scoring import image_data
from robustnas.training.search import SearchModule

FEWEST, MOST = 32, 256  # samples that are chosen by default
IMAGES = 1500  # for each of which there is a sample


class Curvature(Diagnostic):
    r"""Eigenvalues of the Hessian :math:`\nabla^2_\alpha L_\text{arch}(w, \alpha)` (arXiv:1909.09656).

    - ``curvature/max``: the largest one. A search whose smoothed value grows by more than 1.3 within eight epochs is
      about to lose accuracy by discretisation; RobustDARTS stops there;
    - ``curvature/max_upper``: what it is at most. The iteration ends where the two are within ``tolerance``, else it
      has taken as many products as there are rows, and they differ by rounding errors alone;
    - ``curvature/max_deviation``: its standard error as an estimate for all samples, by the jackknife over chunks;
    - ``curvature/min`` and ``curvature/min_lower``: with ``smallest``, the smallest one, below zero off a minimum;
    - ``curvature/max_KIND`` and ``curvature/max_upper_KIND``: with ``kinds``, the largest one of the block of a kind of
      cell, which says which cell sharpens;
    - with ``spectrum``, ``curvature/trace``, ``curvature/negative`` (share of negative eigenvalues; a softmax has a
      zero for each edge, whose rounding error does not count) and ``curvature/quantile_25``, ``_50``, ``_75`` of all
      eigenvalues, from the dense matrix: one product for each α and β.

    The conventions are those of :mod:`robustnas.training.curvature`. Where a stopping rule measures on the probe,
    ``curvature/max`` is its very measurement, on its samples and for nothing, and is measured beside its epochs only
    where the schedule requires it; elsewhere it costs 12 products or so with 256 samples: 65 steps of a search at
    batches of 64. For a sampled relaxation it is the Hessian of the surrogate at one sample, see
    :class:`~robustnas.curvature.Hessian`.

    Args:
        samples: How many samples of the role arch the loss is taken on; all, where it has fewer. By default one for
            each 1,500 images on which the search will train its weights, but from 32 to 256: the eight scheduled
            measurements then take about a tenth of the search at most, and more if it has less than 300 steps. From
            epoch to epoch the value scatters by 27 % with 32 samples, which have no standard error, by 23 % with 64,
            and by 10 % with 256.
        tolerance: Bound on the error, relative to the eigenvalue, at which the search for it ends.
        smallest: Whether the smallest one is searched for too, which takes about as many products again.
        kinds: Whether blocks of kinds of cell are measured too, where there are several.
        spectrum: Whether all eigenvalues are computed.
        **shared: Arguments of :class:`~robustnas.diagnostics.Diagnostic`.
    """

    headline = True
    on = "the loss of α with its penalty and without its weight decay, in α and β; fixed samples of arch, not augmented"

    def __init__(
        self,
        samples: int | None = None,
        tolerance: float = TOLERANCE,
        smallest: bool = False,
        kinds: bool = False,
        spectrum: bool = False,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        if samples is not None and samples < 2:
            raise ValueError(f"Expected `samples` to be at least 2, but got {samples}.")
        if not 0 < tolerance < 1:
            raise ValueError(f"Expected `tolerance` to be between 0 and 1, but got {tolerance}.")
        self.samples, self.tolerance, self._chosen = samples, tolerance, samples
        self.smallest, self.kinds, self.spectrum = smallest, kinds, spectrum

    def describe(self) -> dict[str, Any]:
        held = super().describe()
        return held if self.samples is not None else {**held, "samples": f"{FEWEST} to {MOST}, by length of the search"}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the number of samples once, so that a search that is continued for longer keeps it."""
        super().on_fit_start(trainer, pl_module)
        if isinstance(pl_module, SearchModule) and self.samples is None and self._chosen is None:
            data, epochs = image_data(trainer, "Curvature measures", "arch"), planned_epochs(trainer, pl_module)
            images = len(data.split.indices["weights"]) * (epochs or 0)
            self._chosen = min(max(images // IMAGES, FEWEST), MOST)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "samples": self._chosen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._chosen = self.samples or state_dict.get("samples") or MOST

    def take(self, trainer: Trainer, search: SearchModule) -> dict[str, float]:
        rule = _rule(search)
        measured = rule is None or rule.measured(search.global_step) is not None
        if not (measured or self._more or self.required(trainer, search)):
            return {}
        found: dict[str, float] = super().take(trainer, search)
        return found

    def costs_nothing(self, search: SearchModule) -> bool:
        rule = _rule(search)
        return rule is not None and rule.measured(search.global_step) is not None and not self._more

    def cost_in_steps(self, trainer: Trainer) -> float:
        search, data = trainer.lightning_module, image_data(trainer, "Curvature measures", "arch")
        samples = min(self._chosen or MOST, len(data.split.indices["arch"]))
        products = PRODUCTS * (1 + self.smallest + 2 * self.kinds)
        if self.spectrum and isinstance(search, SearchModule):
            products = sum(parameter.numel() for parameter in search.arch_parameters)
        return 1.4 * products * samples / data.batch_size  # 2.7 passes for each product, of the two that a step has

    @property
    def _more(self) -> bool:
        """Whether more is asked for than a stopping rule measures."""
        return self.smallest or self.kinds or self.spectrum

    def measure(self, search: SearchModule, probe: Probe) -> dict[str, float]:
        rule = _rule(search)
        held = None if rule is None else rule.measured(search.global_step)
        known = {} if held is None else {CURVATURE.name: held.value, **held.beside(CURVATURE.name)}
        if held is not None and not self._more:
            return known
        samples = (self._chosen or MOST) if rule is None else rule.stopping.samples
        with frozen_batchnorm_statistics(search.supernet):
            hessian = probe_hessian(search, probe_batches(search, probe, samples), shared=False)
            found = self._whole(hessian, search) if self.spectrum else self._ends(hessian, search)
        return {**found, **known}

    def _ends(self, hessian: ProbeHessian, search: SearchModule) -> dict[str, float]:
        largest, smallest = bounded_ends(hessian, self.tolerance, self.smallest)
        found = measured(largest, hessian)
        values = {CURVATURE.name: found.value, **found.beside(CURVATURE.name)}
        if self.smallest:
            values[SMALLEST_CURVATURE.name] = smallest.value
            values[SMALLEST_CURVATURE.of("lower")] = smallest.value - smallest.bound
        if self.kinds and len(search.alphas) > 1:
            for place, kind in enumerate(search.alphas):
                block, _ = bounded_ends(Block(hessian, part_indices(hessian.parameters, place)), self.tolerance)
                values[CURVATURE.of(kind)] = block.value
                values[CURVATURE.of(f"upper_{kind}")] = block.value + block.bound
        return values

    def _whole(self, hessian: ProbeHessian, search: SearchModule) -> dict[str, float]:
        matrix, kinds = hessian.dense().double(), list(search.alphas)
        found = eigenvalues(matrix)
        values = {
            CURVATURE.name: float(found.max()),
            SMALLEST_CURVATURE.name: float(found.min()),
            TRACE.name: float(found.sum()),
            NEGATIVE.name: float((found < -1e-5 * found.abs().max()).double().mean()),
        }
        for share in (25, 50, 75):
            values[CURVATURE_QUANTILE.of(f"{share}")] = float(torch.quantile(found, share / 100))
        if len(kinds) > 1:
            shapes = [parameter.shape for parameter in hessian.parameters]
            for kind, block in zip(kinds, part_blocks(matrix, shapes), strict=False):  # β comes after α
                values[CURVATURE.of(kind)] = float(eigenvalues(block).max())
        return values


def _rule(search: SearchModule) -> EarlyStopping | None:
    """The stopping rule of a search, if it measures the curvature on the same samples."""
    hook = search.hooks.get(EarlyStopping.name)
    return hook if isinstance(hook, EarlyStopping) and hook.measures_probe else None
