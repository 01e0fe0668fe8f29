"""A search as a selection sees it that measures the supernet: what it ended with, and scores of the supernet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from robustnas.data.batch import derived_seed
from robustnas.networks import Mixture
from robustnas.networks.mixture import one_hots
from robustnas.spaces import Genotype
from robustnas.strategies import StepContext
from robustnas.strategies.decisions import Score, Weights
from robustnas.training.lightning.progress import progress
from robustnas.training.scoring import Scoring
from robustnas.training.search_state import SearchState


class SupernetScores:
    """Measures the supernet of a search at weights of operations, with its edge weights, and at genotypes."""

    def __init__(self, search: SearchState, batch_statistics: bool, seed: int, advance: Callable[[], object]) -> None:
        self.search, self.advance = search, advance
        self.edges = {kind: search.architecture.edge_weights(kind) for kind in search.space.cells}
        self.auxiliary = search.architecture.auxiliary(search.context("evaluation"))
        self.scoring = Scoring(search.trainer, search.supernet, search.task, batch_statistics, seed)

    def at(self, weights: Weights) -> Score:
        return self._score({kind: self._mixture(kind, weight) for kind, weight in weights.items()})

    def _mixture(self, kind: str, weights: Tensor) -> Mixture:
        return Mixture(weights, self.edges[kind], active=(weights != 0).cpu(), auxiliary=self.auxiliary)

    def of(self, genotype: Genotype) -> Score:
        like = next(iter(self.search.alphas.values())).detach()
        return self._score(one_hots(self.search.space, genotype, like))

    def _score(self, mixtures: Mapping[str, Mixture]) -> Score:
        score = self.scoring(lambda images: self.search.supernet(images, mixtures))
        self.advance()
        return score


@contextmanager
def supernet_scores(
    search: SearchState, batch_statistics: bool, seed: int, says: str, total: int
) -> Iterator[SupernetScores]:
    """Scores of a supernet, ``total`` of them, with the words ``says`` beside the progress."""
    with torch.no_grad(), progress(search.trainer, says, total) as advance:
        yield SupernetScores(search, batch_statistics, seed, advance)


def expected_operations(search: SearchState, context: StepContext) -> dict[str, Tensor]:
    """Weights of the operations that are left, ``[edges, operations]``, at which the supernet is scored without one."""
    parameters = search.architecture
    mixtures = {kind: search.relaxation.expected(a, context) for kind, a in parameters.legal_alphas().items()}
    return {kind: m.restricted(parameters.active_mask[kind]).operations for kind, m in mixtures.items()}


class Ended:
    """What a selection may read of a search that has ended with an epoch; its data are those of its trainer."""

    @torch.no_grad()
    def __init__(self, search: SearchState, epoch: int) -> None:
        self.search, self.space, self.epoch = search, search.space, epoch
        self.architecture_weights: Weights = search.final_architecture_weights()
        context = replace(search.context("evaluation"), epoch=min(epoch, search.search_epochs))
        self.operations: Weights = expected_operations(search, context)
        self.active_mask: Weights = search.architecture.active_mask

    def scores(
        self, batch_statistics: bool, seed: int, says: str, total: int
    ) -> AbstractContextManager[SupernetScores]:
        return supernet_scores(self.search, batch_statistics, seed, says, total)

    def seed(self, *purpose: str | int) -> int:
        return derived_seed(self.search.seed, *purpose)
