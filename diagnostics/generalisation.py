"""Whether the supernet overfits its training samples."""

from __future__ import annotations

from robustnas.diagnostics.diagnostic import Diagnostic

from robustnas.analysis.metrics import OVERFITTING, OVERFITTING_LOSS, TRAIN_LOSS, TRAIN_TOP1, VAL_LOSS, VAL_TOP1
from robustnas.data import Probe
from robustnas.training.search import SearchModule


class GeneralisationGap(Diagnostic):
    r"""Validation minus training loss of the supernet, and training minus validation accuracy.

    ``generalisation/loss`` is :math:`L_\text{selection} - L_\text{weights}` as the epoch logged them. DARTS+
    (arXiv:1909.06035) sees collapse begin with overfitting: skip connections win once the weights of the other
    operations fit the training samples. The training figures are those of augmented samples during the epoch.
    """

    free = True

    def measure(self, search: SearchModule, probe: Probe) -> dict[str, float]:
        found = {name: float(value) for name, value in search.trainer.callback_metrics.items()}
        pairs = {OVERFITTING_LOSS: (VAL_LOSS, TRAIN_LOSS), OVERFITTING: (TRAIN_TOP1, VAL_TOP1)}
        return {
            metric.name: found[high.name] - found[low.name]
            for metric, (high, low) in pairs.items()
            if high.name in found and low.name in found
        }
