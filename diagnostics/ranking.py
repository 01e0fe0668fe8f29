"""Whether the supernet ranks architectures as training them does."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer
from robustnas.diagnostics.diagnostic import BatchDiagnostic
from robustnas.diagnostics.gap import scores

from robustnas.analysis.metrics import RANKING
from robustnas.data import Probe
from robustnas.networks.batchnorm_statistics import evaluating, recalibrate
from robustnas.networks.mixture import one_hots
from robustnas.spaces import Genotype, decode
from robustnas.tabular import Table
from robustnas.training.search import SearchModule


class Known(NamedTuple):
    """An architecture and how good it is when it is trained by itself; higher is better."""

    genotype: Genotype
    accuracy: float


class SupernetRanking(BatchDiagnostic):
    r"""Rank correlation between the supernet's opinion of architectures and what they reach when trained alone.

    For a random sample of architectures, the same in every epoch, ``ranking/tau`` is Kendall's

    .. math:: \tau_b = \frac{P - Q}{\sqrt{(P + Q + T)(P + Q + U)}}

    between the accuracy of the supernet's own weights at the one-hot mixture of each, BatchNorm measured anew, and the
    accuracy that a table knows: :math:`P` pairs agree, :math:`Q` disagree, :math:`T` and :math:`U` are tied in one of
    the two. Below 0.2 at the end, the supernet cannot tell good from bad, and neither can a selection that asks it
    (arXiv:1902.08142). Without classes, minus the loss takes the place of the supernet's accuracy. It is no part of the
    default diagnostics, since few spaces have a table.

    Args:
        table: The file, see :meth:`~robustnas.tabular.Table.read`.
        accuracy: Its column of accuracies, or of whatever else is better the higher it is.
        architecture: Its column of architectures.
        architectures: How many to sample, at least 2.
        batches: Batches of the role selection to measure on, and of the role weights to measure statistics on.
        seed: Seed of the sample.
        **shared: Arguments of :class:`~robustnas.diagnostics.Diagnostic`.

    Raises:
        ValueError: If a number is out of range, or the table does not hold what it should.
    """

    def __init__(
        self,
        table: str | Path,
        accuracy: str,
        architecture: str = "arch",
        architectures: int = 20,
        batches: int = 2,
        seed: int = 0,
        **shared: Any,
    ) -> None:
        super().__init__(batches, **shared)
        if architectures < 2:
            raise ValueError(f"Expected `architectures` to be at least 2, but got {architectures}.")
        self.table = Table.read_cached(table, architecture)
        self.accuracy, self.architectures, self.seed = accuracy, architectures, seed
        self.sample = self._drawn()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a table of another space before anything is trained."""
        super().on_fit_start(trainer, pl_module)
        if isinstance(pl_module, SearchModule) and pl_module.space != self.table.space:
            self.table = self.table.within(pl_module.space)
            self.sample = self._drawn()

    def _drawn(self) -> list[Known]:
        table, values = self.table, self.table.column(self.accuracy)
        known = np.flatnonzero(np.isfinite(values)).tolist()
        if len(known) < self.architectures:
            raise ValueError(
                f"Expected {table.source} to hold at least {self.architectures} architectures with a number in "
                f"{self.accuracy!r}, but got {len(known)}."
            )
        rows = random.Random(self.seed).sample(known, self.architectures)
        return [Known(decode(int(table.numbers[row]), table.space), float(values[row])) for row in rows]

    def measure(self, search: SearchModule, probe: Probe) -> dict[str, float]:
        from scipy.stats import kendalltau

        inherited = [quality(search, probe, one.genotype, self.batches) for one in self.sample]
        tau = float(kendalltau(inherited, [one.accuracy for one in self.sample]).statistic)
        return {} if math.isnan(tau) else {RANKING.name: tau}  # all the same on one side


@torch.no_grad()
def quality(search: SearchModule, probe: Probe, genotype: Genotype, batches: int) -> float:
    """Accuracy of an architecture with the supernet's weights, or minus the loss; leaves its BatchNorm statistics."""
    like = next(iter(search.alphas.values())).detach()
    mixtures = one_hots(search.space, genotype, like)
    with evaluating(search.supernet):
        weights = probe.batches("weights", batches)
        recalibrate(search.supernet, lambda batch: search.supernet(batch.images, mixtures), weights)
        found = scores(search, mixtures, probe.batches(probe.measured, batches))
    return float(found["accuracy"]) if "accuracy" in found else -float(found["loss"])
