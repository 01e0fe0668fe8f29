"""The best of some drawn architectures, by the weights of the supernet."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Literal

from robustnas.spaces import Genotype, SearchSpace, num_architectures, random_genotype, weighted_genotype
from robustnas.strategies.decisions import Criterion, Weights
from robustnas.strategies.selection import EndedSearch, Selected, Selection, Strongest

ATTEMPTS = 100  # draws for each architecture that is asked for


@dataclass(frozen=True)
class BestOfSampled(Selection):
    """Draw architectures, measure each with the weights of the supernet, and keep the best (arXiv:1902.07638).

    It does so once, when the last epoch has ended, on all samples of the role selection. Before that a search has no
    better answer than the strongest operations.

    With the source ``alpha`` architectures are drawn by the architecture weights with which the search ended: an
    operation by its share among those of its edge that may be selected, and, where a node keeps some of its edges,
    edges by their strengths (:func:`~robustnas.spaces.weighted_genotype`). Where α has nearly decided there may be
    fewer distinct ones than asked for: drawing ends after 100 draws for each.

    Args:
        samples: Architectures, at least 1, none of them twice; 100 as in NAS-Bench-201's RSPS.
        criterion: What is compared.
        batch_statistics: Whether architectures are measured with the statistics of each batch, or with running
            statistics, which are those of all paths together.
        source: ``uniform`` asks α for nothing, ``alpha`` draws by it.
    """

    samples: int = 100
    criterion: Criterion = "accuracy"
    batch_statistics: bool = True
    source: Literal["uniform", "alpha"] = "uniform"

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"Expected `samples` to be at least 1, but got {self.samples}.")
        if self.criterion not in ("accuracy", "loss"):
            raise ValueError(f"Expected `criterion` to be 'accuracy' or 'loss', but got {self.criterion!r}.")
        if self.source not in ("uniform", "alpha"):
            raise ValueError(f"Expected `source` to be 'uniform' or 'alpha', but got {self.source!r}.")

    def genotype(self, space: SearchSpace, architecture_weights: Weights) -> Genotype:
        return Strongest().genotype(space, architecture_weights)

    @property
    def evaluates(self) -> bool:
        return True

    def select(self, search: EndedSearch) -> Selected:
        """Draw, measure and compare; of equals the first."""
        seed = search.seed("sampled")
        drawn = self.drawn(search.space, seed, search.architecture_weights)
        with search.scores(self.batch_statistics, seed, "measuring drawn architectures", len(drawn)) as scores:
            found = [(genotype, scores.of(genotype)) for genotype in drawn]
        best, _ = max(found, key=lambda one: one[1].goodness(self.criterion))
        entries = [{"genotype": str(genotype), **score.to_json()} for genotype, score in found]
        wanted = min(self.samples, num_architectures(search.space))
        few = f"Compared {len(drawn)} architectures, not {wanted}: α has nearly decided, and its draws repeat."
        record = {"sampled.json": {"best": str(best), "sampled": entries}}
        return Selected(best, record, few if len(drawn) < wanted else "")

    def drawn(self, space: SearchSpace, seed: int, architecture_weights: Weights) -> list[Genotype]:
        """The architectures that are measured, distinct; all there are, where the space has fewer."""
        wanted, generator, found = min(self.samples, num_architectures(space)), Random(seed), dict[Genotype, None]()
        if self.source == "uniform":
            draws = (random_genotype(space, generator) for _ in count())
        else:
            rows = {kind: weights.tolist() for kind, weights in architecture_weights.items()}
            draws = (weighted_genotype(space, rows, generator) for _ in range(ATTEMPTS * wanted))
        for genotype in draws:
            found[genotype] = None
            if len(found) == wanted:
                break
        return list(found)
