"""The phase after a search in which a selection decides step by step, and the supernet is trained in between."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning import Trainer
from torch import Tensor

from robustnas.data.batch import derived_seed
from robustnas.networks import Mixture
from robustnas.spaces import Genotype, SearchSpace
from robustnas.strategies import LargestDrop, Strongest
from robustnas.strategies.decisions import Decision, Decisions, Evaluate, Score
from robustnas.training.progress import progress, say
from robustnas.training.scoring import Scoring, image_data, score_as_json

if TYPE_CHECKING:
    from robustnas.training.search import SearchModule


class PerturbationSelection:
    """Extends a search by the epochs of its selection, and decides at the start of some of them.

    The phase begins after the last epoch of the search, or after the epoch at which its stopping rule fired: then from
    the supernet as it is, since weights and α belong together; the epoch that the rule returns to counts only for what
    is not decided. Weights begin without momentum and at a constant step size; α goes on as it was. What decisions
    leave out is masked in ``SearchModule.active_mask``, and no longer computed.

    Args:
        selection: The selection.
        space: The search space.

    Attributes:
        searched: Epochs of the search itself: as asked for, and those that were, once the phase has begun.
        began: First epoch of the phase, or ``None`` before it.
        entries: Every decision in plain words and numbers, see :func:`entry`.
        strengths: Kind of cell to the strengths of operations with which the search ended.
    """

    def __init__(self, selection: LargestDrop, space: SearchSpace) -> None:
        self.selection, self.space = selection, space
        self.searched: int | None = None
        self.began: int | None = None
        self.entries: list[dict[str, Any]] = []
        self.strengths: dict[str, Tensor] = {}
        self._asked: int | None = None

    @property
    def decisions(self) -> Decisions:
        """What was decided."""
        decisions = Decisions()
        for one in self.entries:
            kind, cell = one["cell"], self.space.cells[one["cell"]]
            rows = {edge.name: row for row, edge in enumerate(cell.edges)}
            if "node" in one:
                dropped = frozenset(rows[name] for name in one["drops"])
                decisions = decisions.with_node(kind, one["node"], dropped)
            else:
                row = rows[one["edge"]]
                decisions = decisions.with_operation(kind, row, cell.edges[row].operations.index(one["keeps"]))
        return decisions

    def genotype(self) -> Genotype:
        """The architecture decided on; of what is still open, the strongest when the search ended."""
        decisions = self.decisions
        if decisions.complete(self.space):
            return decisions.genotype(self.space)
        return Strongest().genotype(self.space, decisions.restrict(self.strengths))

    def extend(self, trainer: Trainer) -> None:
        """Let the trainer run for the epochs of the phase, too.

        Args:
            trainer: A trainer that is about to fit, with the epochs of the search.

        Raises:
            ValueError: If its data do not say which samples scores are taken on.
        """
        image_data(trainer)
        self._asked = trainer.max_epochs
        if self.began is None:
            self.searched = trainer.max_epochs
        self._set_epochs(trainer)

    def release(self, trainer: Trainer) -> None:
        """Leave the trainer as it was."""
        trainer.fit_loop.max_epochs = self._asked

    def rate(self, lr: float) -> float:
        """Step size of the weights in the phase, for that at the start of the search."""
        return lr / 10 if self.selection.lr is None else self.selection.lr

    def step(self, module: SearchModule) -> None:
        """Begin, and decide, if it is time to.

        Args:
            module: The search, at the start of an epoch.
        """
        epoch = module.current_epoch
        assert self.searched is not None
        if self.began is None and (epoch >= self.searched or module.early_stopping.over):
            self._begin(module)
        if self.began is None or any(one["epoch"] == epoch for one in self.entries):
            return
        if self.selection.turn(self.space, epoch - self.began) is not None:
            self._decide(module)

    def _begin(self, module: SearchModule) -> None:
        self.strengths = {kind: strength.cpu().clone() for kind, strength in module.final_strengths().items()}
        self.began = self.searched = module.current_epoch
        optimizer: Any = module.optimizers(use_pl_optimizer=False)[0]  # type: ignore[index]
        optimizer.state.clear()
        for group in optimizer.param_groups:
            group["lr"] = self.rate(module.lr)
        self._set_epochs(module.trainer)

    def _set_epochs(self, trainer: Trainer) -> None:
        assert self.searched is not None
        trainer.fit_loop.max_epochs = self.searched + self.selection.epochs(self.space)

    @torch.no_grad()
    def _decide(self, module: SearchModule) -> None:
        epoch, trainer = module.current_epoch, module.trainer
        seed = derived_seed(module.seed, "selection", epoch)
        context, alphas = module.context("evaluation"), module.legal_alphas()
        expected = {kind: module.relaxation.expected(alphas[kind], context) for kind in self.space.cells}
        weights = {kind: mixture.restricted(module.active_mask[kind]).operations for kind, mixture in expected.items()}
        edges = {kind: module.edge_weights(kind) for kind in weights}
        scoring = Scoring(trainer, module.supernet, module.task, self.selection.batch_statistics, seed)

        def decide(evaluate: Evaluate) -> tuple[Decisions, list[Decision]]:
            generator = torch.Generator().manual_seed(seed)
            return self.selection.decide(self.space, self.decisions, module.active_mask, weights, evaluate, generator)

        with progress(trainer, f"deciding in epoch {epoch}", _evaluations(decide)) as advance:

            def evaluate(weights: Mapping[str, Tensor]) -> Score:
                mixtures = {k: Mixture(w, edges[k], active=(w != 0).cpu()) for k, w in weights.items()}
                score = scoring(lambda images: module.supernet(images, mixtures))
                advance()
                return score

            decisions, new = decide(evaluate)
        self.entries += [entry(self.space, epoch, decision) for decision in new]
        module.active_mask = decisions.kept(module.active_mask)
        for one in self.entries[-len(new) :] if new else ():
            say(trainer, in_words(one, self.selection.criterion))

    def state_dict(self) -> dict[str, Any]:
        """All of it, as what a checkpoint may hold."""
        return {"searched": self.searched, "began": self.began, "entries": self.entries, "strengths": self.strengths}

    def load_state_dict(self, state: Mapping[str, Any] | None, trainer: Trainer | None) -> None:
        """Go on from :meth:`state_dict`, or before the phase from the checkpoint of another selection.

        Args:
            state: What a checkpoint holds, or ``None``.
            trainer: The trainer, if it has been extended.
        """
        if state is None or state["began"] is None:
            return
        self.searched, self.began = state["searched"], state["began"]
        self.entries, self.strengths = list(state["entries"]), dict(state["strengths"])
        if trainer is not None and self._asked is not None:
            self._set_epochs(trainer)


def _evaluations(decide: Callable[[Evaluate], object]) -> int:
    """How often a decision asks for a score, which does not depend on the scores."""
    asked: list[Mapping[str, Tensor]] = []

    def evaluate(weights: Mapping[str, Tensor]) -> Score:
        asked.append(weights)
        return Score(0.0, 0.0)

    decide(evaluate)
    return len(asked)


def entry(space: SearchSpace, epoch: int, decision: Decision) -> dict[str, Any]:
    """A decision in plain words and numbers, as a checkpoint and ``decisions.json`` hold it.

    Args:
        space: The search space.
        epoch: Epoch at whose start it was taken.
        decision: The decision.

    Returns:
        ``epoch``, ``cell``, and ``edge`` with the operation that it ``keeps``, or ``node`` with the edges that it
        ``drops``; ``without`` has the score without each operation, or, in one round for each dropped edge, without
        each edge.
    """
    cell = space.cells[decision.kind]
    names = [edge.name for edge in cell.edges]
    common = {"epoch": epoch, "cell": decision.kind}
    if decision.row is None:
        rounds = [{names[row]: dict(score_as_json(score)) for row, score in one.items()} for one in decision.rounds]
        dropped = [names[row] for row in sorted(decision.dropped)]
        return {**common, "node": decision.node, "drops": dropped, "without": rounds}
    assert decision.column is not None
    operations = cell.edges[decision.row].operations
    scores = {operations[k]: dict(score_as_json(score)) for k, score in decision.rounds[0].items()}
    return {**common, "edge": names[decision.row], "keeps": operations[decision.column], "without": [scores]}


def in_words(one: Mapping[str, Any], criterion: str) -> str:
    """A decision as a sentence.

    Args:
        one: What :func:`entry` made.
        criterion: What was compared.

    Returns:
        For instance ``epoch 55: normal 0-2 keeps sep_conv_3x3; accuracy without: skip_connect 0.7120, ...``.
    """
    what = f"{one['edge']} keeps {one['keeps']}" if "edge" in one else f"{one['node']} drops {', '.join(one['drops'])}"
    numbers = {name: score[criterion] for name, score in one["without"][0].items()}
    scores = ", ".join(f"{name} {'not finite' if n is None else format(n, '.4f')}" for name, n in numbers.items())
    sentence = f"epoch {one['epoch']}: {one['cell']} {'' if 'edge' in one else 'node '}{what}"
    return f"{sentence}; {criterion} without: {scores}" if scores else f"{sentence}, the only one left"
