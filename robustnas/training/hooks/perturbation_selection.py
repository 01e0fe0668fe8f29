"""The phase after a search in which a selection decides step by step, and the supernet is trained in between."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from robustnas.data.batch import derived_seed
from robustnas.runs.record import SCHEMA, write_json
from robustnas.spaces import Genotype
from robustnas.strategies import LargestDrop, Strongest
from robustnas.strategies.decisions import Decision, Decisions, Evaluate, count_scores
from robustnas.training.ended_search import expected_operations, supernet_scores
from robustnas.training.lightning.loops import set_max_epochs
from robustnas.training.lightning.progress import say
from robustnas.training.recorder import run_folder
from robustnas.training.scoring import image_data
from robustnas.training.search_hook import SearchHook
from robustnas.training.search_state import SearchState


class PerturbationSelection(SearchHook):
    """Extends a search by the epochs of its selection, and decides at the start of some of them."""

    name = "perturbation_selection"
    trains_on = True

    def __init__(self, selection: LargestDrop, search: SearchState) -> None:
        self.selection, self.search, self.space = selection, search, search.space
        self.began: int | None = None  # first epoch of the phase
        self.entries: list[dict[str, Any]] = []  # every decision in plain words and numbers
        self.weights: dict[str, Tensor] = {}  # architecture weights with which the search ended, by kind of cell
        self._asked: int | None = None

    @property
    def decisions(self) -> Decisions:
        """What was decided."""
        decisions = Decisions()
        for one in self.entries:
            kind, cell = one["cell"], self.space.cells[one["cell"]]
            rows = {edge.name: row for row, edge in enumerate(cell.edges)}
            if "node" in one:
                decisions = decisions.with_node(kind, one["node"], frozenset(rows[name] for name in one["drops"]))
            else:
                row = rows[one["edge"]]
                decisions = decisions.with_operation(kind, row, cell.edges[row].operations.index(one["keeps"]))
        return decisions

    @property
    def selecting(self) -> bool:
        return self.began is not None

    def architecture_weights(self) -> dict[str, Tensor] | None:
        return self.weights if self.selecting else None

    def genotype(self) -> Genotype | None:
        """The architecture decided on; of what is still open, the strongest when the search ended."""
        if not self.selecting:
            return None
        decisions = self.decisions
        if decisions.complete(self.space):
            return decisions.genotype(self.space)
        return Strongest().genotype(self.space, decisions.restrict(self.weights))

    def setup(self) -> None:
        trainer = self.search.trainer
        image_data(trainer)
        self._asked = trainer.max_epochs
        if not self.selecting:
            self.search_epochs = trainer.max_epochs
        self._set_epochs()

    def teardown(self) -> None:
        set_max_epochs(self.search.trainer, self._asked)

    @property
    def rate(self) -> float:
        """Step size of the weights in the phase."""
        return self.search.lr / 10 if self.selection.lr is None else self.selection.lr

    def begin_epoch(self) -> None:
        epoch = self.search.current_epoch
        assert self.search_epochs is not None
        if self.began is None and (epoch >= self.search_epochs or self.search.over):
            self._begin()
        if self.began is None or any(one["epoch"] == epoch for one in self.entries):
            return
        if self.selection.turn(self.space, epoch - self.began) is not None:
            self._decide()

    def end_epoch(self) -> None:
        if self.entries:
            folder = run_folder(self.search.trainer)  # processes wait for each other here
            if self.search.trainer.is_global_zero:
                write_json(folder / "decisions.json", {"schema": SCHEMA, "decisions": self.entries})

    def _begin(self) -> None:
        """Begin from the supernet as it is, since weights and α belong together, but without momentum."""
        self.weights = {kind: w.cpu().clone() for kind, w in self.search.final_architecture_weights().items()}
        self.began = self.search_epochs = self.search.current_epoch
        optimizer: Any = self.search.optimizers(use_pl_optimizer=False)[0]  # type: ignore[index]
        optimizer.state.clear()
        for group in optimizer.param_groups:
            group["lr"] = self.rate
        self._set_epochs()

    def _set_epochs(self) -> None:
        assert self.search_epochs is not None
        set_max_epochs(self.search.trainer, self.search_epochs + self.selection.epochs(self.space))

    @torch.no_grad()
    def _decide(self) -> None:
        search, selection, epoch = self.search, self.selection, self.search.current_epoch
        parameters, seed = search.architecture, derived_seed(search.seed, "selection", epoch)
        weights = expected_operations(search, search.context("evaluation"))

        def decide(evaluate: Evaluate) -> tuple[Decisions, list[Decision]]:
            generator, mask = torch.Generator().manual_seed(seed), parameters.active_mask
            return selection.decide(self.space, self.decisions, mask, weights, evaluate, generator)

        says, total = f"deciding in epoch {epoch}", count_scores(decide)
        with supernet_scores(search, selection.batch_statistics, seed, says, total) as scores:
            decisions, new = decide(scores.at)
        self.entries += [decision.to_json(self.space, epoch) for decision in new]
        parameters.active_mask = decisions.kept(parameters.active_mask)
        for one in self.entries[-len(new) :] if new else ():
            say(search.trainer, in_words(one, selection.criterion))

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("search_epochs", "began", "entries", "weights")}

    def load_state_dict(self, state: Any) -> None:
        """Go on from :meth:`state_dict`, or before the phase from the checkpoint of another selection."""
        if not state or state["began"] is None:
            return
        self.search_epochs, self.began = state["search_epochs"], state["began"]
        self.entries, self.weights = list(state["entries"]), dict(state["weights"])
        if self._asked is not None:  # the trainer has been extended
            self._set_epochs()

    def carry(self, checkpoint: Mapping[str, Any]) -> None:
        if self.selecting:
            for group in checkpoint["optimizer_states"][0]["param_groups"]:
                group["lr"] = self.rate


def in_words(one: Mapping[str, Any], criterion: str) -> str:
    """A decision as a sentence."""
    what = f"{one['edge']} keeps {one['keeps']}" if "edge" in one else f"{one['node']} drops {', '.join(one['drops'])}"
    numbers = {name: score[criterion] for name, score in one["without"][0].items()}
    scores = ", ".join(f"{name} {'not finite' if n is None else format(n, '.4f')}" for name, n in numbers.items())
    sentence = f"epoch {one['epoch']}: {one['cell']} {'' if 'edge' in one else 'node '}{what}"
    return f"{sentence}; {criterion} without: {scores}" if scores else f"{sentence}, the only one left"
