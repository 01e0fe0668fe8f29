"""What the network of the present genotype would cost."""

from __future__ import annotations

from typing import Any, Literal

from robustnas.diagnostics.diagnostic import Diagnostic

from robustnas.analysis import Metric
from robustnas.analysis.metrics import FLOPS, PARAMETERS
from robustnas.cost import CostTable, Profiler
from robustnas.data import Probe
from robustnas.training.lightning.progress import say
from robustnas.training.search import SearchModule

MEASURES: dict[Literal["parameters", "flops"], Metric] = {"parameters": PARAMETERS, "flops": FLOPS}


class GenotypeCost(Diagnostic):
    r"""Parameters and multiply-adds of the network that the present genotype stands for.

    ``genotype/parameters`` and ``genotype/flops`` are :math:`c_0 + \sum_{e} c_{e, k_e}` over the operations
    :math:`k_e` on the edges of all cells, with :math:`c_0` the rest of the network, at the channels, depth and images
    of the search (:mod:`~robustnas.cost`); a network that is trained afterwards is usually larger. Both fall where
    skip connections and poolings take the place of convolutions, as in a collapse (arXiv:1909.09656). There is no
    threshold that holds for every space: compare the epochs of a run.

    The table of costs is computed once, in about a second; where it cannot be computed, that is said once.
    """

    _table: CostTable | None = None
    _refused = False

    def measure(self, search: SearchModule, probe: Probe) -> dict[str, float]:
        if self._table is None and not self._refused:
            try:
                self._table = table_of(search, probe)
            except (ValueError, TypeError, RuntimeError) as error:  # an operation of one's own may raise any of them
                self._refused = True
                say(search.trainer, f"The cost of genotypes cannot be computed: {' '.join(str(error).split())}")
            self.free = True
        if self._table is None:
            return {}
        genotype = search.genotype()
        return {MEASURES[measure].name: self._table.cost(genotype, measure, search.space) for measure in MEASURES}


def table_of(search: SearchModule, probe: Probe) -> CostTable:
    """Parameters and multiply-adds of the discrete networks of a search, at its own size."""
    given: dict[str, Any] = search.description["init_args"]
    height, width = probe.batches("arch", 1)[0].images.shape[-2:]
    sizes = {name: given[name] for name in ("channels", "layers", "cells", "num_classes", "stem")}
    return Profiler(search.space, (given["image_channels"], height, width), **sizes).table(tuple(MEASURES))
