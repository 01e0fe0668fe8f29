"""The end of a search whose selection measures random architectures with the weights of the supernet."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from pytorch_lightning import Trainer
from torch import Tensor

from robustnas.data.batch import derived_seed
from robustnas.networks import Mixture
from robustnas.networks.mixture import one_hots
from robustnas.runs.record import SCHEMA, write_json
from robustnas.spaces import Genotype, SearchSpace
from robustnas.strategies import BestOfSampled, Selection
from robustnas.strategies.decisions import Score
from robustnas.training.progress import progress
from robustnas.training.recorder import run_folder
from robustnas.training.scoring import Scoring, image_data, score_as_json

if TYPE_CHECKING:
    from robustnas.training.search import SearchModule


class Drawn(NamedTuple):
    """A random architecture, and how the supernet does at it."""

    genotype: Genotype
    score: Score


class SampledSelection:
    """Draws and measures when the last epoch of a search has ended; does nothing for selections that do not ask for it.

    Args:
        selection: The selection of the search.
        space: The search space.

    Attributes:
        drawn: What was measured, in the order of the draw; empty before.
    """

    def __init__(self, selection: Selection, space: SearchSpace) -> None:
        self.selection = selection if isinstance(selection, BestOfSampled) else None
        self.space = space
        self.drawn: list[Drawn] = []

    @property
    def best(self) -> Genotype | None:
        """The best of them, the first of equals; ``None`` before anything is drawn."""
        if self.selection is None or not self.drawn:
            return None
        goodness = self.selection.goodness
        return max(self.drawn, key=lambda one: goodness(one.score)).genotype

    def check(self, trainer: Trainer) -> None:
        """Refuse data that do not say which samples architectures are measured on.

        Args:
            trainer: The trainer, about to fit.

        Raises:
            ValueError: If they do not.
        """
        if self.selection is not None:
            image_data(trainer, "BestOfSampled measures architectures")

    def end(self, search: SearchModule) -> None:
        """Draw, if the epoch that ends is the last one.

        Args:
            search: The search, at the end of an epoch.
        """
        trainer = search.trainer
        steps_over = 0 < trainer.max_steps <= trainer.global_step
        last = trainer.should_stop or steps_over or trainer.current_epoch + 1 == trainer.max_epochs
        self.drawn = self._measured(self.selection, search) if self.selection is not None and last else []
        if self.drawn:
            entries = [{"genotype": str(one.genotype), **score_as_json(one.score)} for one in self.drawn]
            folder = run_folder(trainer)  # processes wait for each other here
            if trainer.is_global_zero:
                write_json(folder / "sampled.json", {"schema": SCHEMA, "best": str(self.best), "sampled": entries})

    @torch.no_grad()
    def _measured(self, selection: BestOfSampled, search: SearchModule) -> list[Drawn]:
        seed = derived_seed(search.seed, "sampled")
        scoring = Scoring(search.trainer, search.supernet, search.task, selection.batch_statistics, seed)
        like = next(iter(search.alphas.values())).detach()
        genotypes, found = selection.drawn(self.space, seed), list[Drawn]()
        with progress(search.trainer, "measuring random architectures", len(genotypes)) as advance:
            for genotype in genotypes:
                mixtures = one_hots(self.space, genotype, like)
                found.append(Drawn(genotype, scoring(partial(_outputs, search, mixtures))))
                advance()
        return found

    def state_dict(self) -> list[list[Any]]:
        """All of it, as what a checkpoint may hold."""
        return [[one.genotype.to_json(), *one.score] for one in self.drawn]

    def load_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Go on from what a search has put into a checkpoint under the name ``lots``, if anything."""
        entries = checkpoint.get("lots", ())
        self.drawn = [Drawn(Genotype.from_json(text), Score(*score)) for text, *score in entries]


def _outputs(search: SearchModule, mixtures: Mapping[str, Mixture], images: Tensor) -> Tensor:
    outputs: Tensor = search.supernet(images, mixtures)
    return outputs
