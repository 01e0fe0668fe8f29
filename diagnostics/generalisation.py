"""Whether the supernet overfits its training samples."""

from __future__ import annotations

from robustnas.diagnostics.diagnostic import Diagnostic

from robustnas.data import Probe
from robustnas.training.search import SearchModule


class GeneralisationGap(Diagnostic):
    r"""Validation minus training loss of the supernet, and training minus validation accuracy.

    ``generalisation/loss`` is :math:`L_\text{selection} - L_\text{weights}` as the epoch logged them. DARTS+
    (arXiv:1909.06035) sees collapse begin with overfitting: skip connections win once the weights of the other
    operations fit the training samples. The training figures are those of augmented samples during the epoch.

    It reads what is logged and costs nothing worth counting.
    """

    free = True

    def measure(self, search: SearchModule, probe: Probe) -> dict[str, float]:
        found = {name: float(value) for name, value in search.trainer.callback_metrics.items()}
        pairs = {"loss": ("val/loss", "train/loss"), "accuracy": ("train/top1", "val/top1")}
        return {
            f"generalisation/{name}": found[high] - found[low]
            for name, (high, low) in pairs.items()
            if high in found and low in found
        }
