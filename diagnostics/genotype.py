"""What the genotype of each epoch is like, and how much of it changes."""

from __future__ import annotations

from typing import Any

from robustnas.diagnostics.diagnostic import Diagnostic

from robustnas.analysis.architecture_statistics import of_genotype
from robustnas.data import Probe
from robustnas.spaces import Genotype
from robustnas.training.search import SearchModule


class GenotypeChurn(Diagnostic):
    """The genotype that the search would return now.

    - ``genotype/skips_KIND``: skip connections in a cell. DARTS+ stops at more than two in a normal cell
      (arXiv:1909.06035);
    - ``genotype/parameter_free_KIND``: share of its edges without parameters;
    - ``genotype/changed``: share of choices that the epoch before did not have. Zero from the first epoch on means
      that α does not move; never settling means that the result is an accident of the last epoch;
    - ``genotype/depth_KIND``, ``genotype/width_KIND``: longest path, and share of nodes that an input feeds. DARTS
      prefers wide, shallow cells (arXiv:1909.09569).
    """

    headline = True
    free = True
    _before: Genotype | None = None

    def measure(self, search: SearchModule, probe: Probe) -> dict[str, float]:
        genotype = search.genotype()
        values = of_genotype(search.space, genotype, self._before)
        self._before = genotype
        return values

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "before": None if self._before is None else self._before.to_json()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        before = state_dict["before"]
        self._before = None if before is None else Genotype.from_json(before)
