"""How far α is from a stationary point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from robustnas.diagnostics.diagnostic import Diagnostic
from torch import Tensor

from robustnas.analysis.metrics import ALPHA_NORM
from robustnas.data import Probe
from robustnas.training.search import SearchModule


class ArchGradient(Diagnostic):
    r"""Norm of the mean gradient of α over the steps of an epoch.

    ``gradient/alpha_norm`` is :math:`\|\frac{1}{n} \sum_i g_i\|_2` with :math:`g_i` the gradients that the search
    itself computed, of first or second order, without weight decay. Curvature alone misleads where α is far from a
    stationary point; a norm of zero from the start means that α does not reach the loss. One batch is too noisy.
    """

    free = True
    _total: Sequence[Tensor] = ()
    _steps = 0

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        alphas = pl_module.alphas.values() if isinstance(pl_module, SearchModule) else ()
        if slopes := [alpha.grad for alpha in alphas if alpha.grad is not None]:
            before = self._total or [torch.zeros_like(slope) for slope in slopes]
            self._total = [t + slope for t, slope in zip(before, slopes, strict=True)]
            self._steps += 1

    def measure(self, search: SearchModule, probe: Probe) -> dict[str, float]:
        total, steps = self._total, self._steps
        self._total, self._steps = (), 0
        if not steps:
            return {}
        return {ALPHA_NORM.name: float(torch.cat([t.flatten() for t in total]).norm()) / steps}

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "total": list(self._total), "steps": self._steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._total, self._steps = list(state_dict["total"]), state_dict["steps"]
