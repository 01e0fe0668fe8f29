"""The best of some random architectures, by the weights of the supernet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from torch import Tensor

from robustnas.spaces import Genotype, SearchSpace, num_architectures, random_genotype
from robustnas.strategies.decisions import Criterion
from robustnas.strategies.selection import Selection, Strongest


@dataclass(frozen=True)
class BestOfSampled(Selection):
    """Draw architectures, measure each with the weights of the supernet, and keep the best (arXiv:1902.07638).

    It does so once, when the last epoch has ended, on all samples of the role selection, and asks α for nothing.
    Before that a search has no better answer than the strongest operations.

    Args:
        samples: Architectures, at least 1, drawn uniformly, none of them twice; 100 as in NAS-Bench-201's RSPS.
        criterion: What is compared.
        batch_statistics: Whether architectures are measured with the statistics of each batch, or with running
            statistics, which are those of all paths together.
    """

    evaluates = True

    samples: int = 100
    criterion: Criterion = "accuracy"
    batch_statistics: bool = True

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"Expected `samples` to be at least 1, but got {self.samples}.")
        if self.criterion not in ("accuracy", "loss"):
            raise ValueError(f"Expected `criterion` to be 'accuracy' or 'loss', but got {self.criterion!r}.")

    def genotype(self, space: SearchSpace, architecture_weights: Mapping[str, Tensor]) -> Genotype:
        return Strongest().genotype(space, architecture_weights)

    def drawn(self, space: SearchSpace, seed: int) -> list[Genotype]:
        """The architectures that are measured, distinct; all there are, where the space has fewer."""
        generator, found = Random(seed), dict[Genotype, None]()
        while len(found) < min(self.samples, num_architectures(space)):
            found[random_genotype(space, generator)] = None
        return list(found)
