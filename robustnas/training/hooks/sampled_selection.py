"""The end of a search whose selection measures random architectures with the weights of the supernet."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch

from robustnas.data.batch import derived_seed
from robustnas.networks.mixture import one_hots
from robustnas.runs.record import SCHEMA, write_json
from robustnas.spaces import Genotype
from robustnas.strategies import BestOfSampled
from robustnas.strategies.decisions import Score
from robustnas.training.lightning.loops import training_ends
from robustnas.training.lightning.progress import progress
from robustnas.training.recorder import run_folder
from robustnas.training.scoring import Scoring, image_data, score_as_json
from robustnas.training.search_hook import SearchHook
from robustnas.training.search_state import SearchState


class Drawn(NamedTuple):
    """A random architecture, and how the supernet does at it."""

    genotype: Genotype
    score: Score


class SampledSelection(SearchHook):
    """Draws and measures architectures when the last epoch of a search has ended."""

    name = "sampled_selection"

    def __init__(self, selection: BestOfSampled, search: SearchState) -> None:
        self.selection, self.search = selection, search
        self.drawn: list[Drawn] = []

    def genotype(self) -> Genotype | None:
        """The best of them, the first of equals; ``None`` before anything is drawn."""
        best = max(self.drawn, key=lambda one: one.score.goodness(self.selection.criterion), default=None)
        return None if best is None else best.genotype

    def setup(self) -> None:
        image_data(self.search.trainer, "BestOfSampled measures architectures")

    def end_epoch(self) -> None:
        trainer = self.search.trainer
        self.drawn = self._measured() if training_ends(trainer) else []
        if self.drawn:
            entries = [{"genotype": str(one.genotype), **score_as_json(one.score)} for one in self.drawn]
            folder = run_folder(trainer)  # processes wait for each other here
            held = {"schema": SCHEMA, "best": str(self.genotype()), "sampled": entries}
            if trainer.is_global_zero:
                write_json(folder / "sampled.json", held)

    @torch.no_grad()
    def _measured(self) -> list[Drawn]:
        search, selection = self.search, self.selection
        seed = derived_seed(search.seed, "sampled")
        scoring = Scoring(search.trainer, search.supernet, search.task, selection.batch_statistics, seed)
        like = next(iter(search.alphas.values())).detach()
        genotypes, found = selection.drawn(search.space, seed), list[Drawn]()
        with progress(search.trainer, "measuring random architectures", len(genotypes)) as advance:
            for genotype in genotypes:
                outputs = partial(search.supernet, mixtures=one_hots(search.space, genotype, like))
                found.append(Drawn(genotype, scoring(outputs)))
                advance()
        return found

    def state_dict(self) -> list[list[Any]]:
        return [[one.genotype.to_json(), *one.score] for one in self.drawn]

    def load_state_dict(self, state: Any) -> None:
        self.drawn = [Drawn(Genotype.from_json(text), Score(*score)) for text, *score in state or ()]
