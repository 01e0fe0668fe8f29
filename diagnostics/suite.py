"""All diagnostics at once, under one budget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_only
from robustnas.diagnostics.alignment import LayerAlignment
from robustnas.diagnostics.alpha import AlphaShares
from robustnas.diagnostics.arch_gradient import ArchGradient
from robustnas.diagnostics.budget import Budget
from robustnas.diagnostics.cost import GenotypeCost
from robustnas.diagnostics.curvature import Curvature
from robustnas.diagnostics.diagnostic import Diagnostic, log
from robustnas.diagnostics.gap import DiscretisationGap
from robustnas.diagnostics.generalisation import GeneralisationGap
from robustnas.diagnostics.genotype import GenotypeChurn
from robustnas.diagnostics.gradient_match import GradientMatch
from robustnas.diagnostics.implicit import ImplicitShare
from robustnas.diagnostics.ranking import SupernetRanking
from robustnas.diagnostics.schedule import POINTS
from robustnas.diagnostics.truth import TrueAccuracy
from robustnas.diagnostics.view import LoggerView, last_step

from robustnas.analysis import judge_run
from robustnas.analysis.metrics import DIAGNOSTICS_SHARE
from robustnas.training.lightning.displays import displays
from robustnas.training.recorder import run_folder
from robustnas.training.search import SearchModule

RANKED = 20  # architectures whose order is compared with that of a table


def default_diagnostics() -> list[Diagnostic]:
    """One of each diagnostic that every search gets: those that cost nothing, then the weightiest first."""
    return [
        AlphaShares(), GenotypeChurn(), GeneralisationGap(), ArchGradient(), GenotypeCost(), DiscretisationGap(),
        ImplicitShare(), Curvature(), LoggerView(), GradientMatch(), LayerAlignment(),
    ]  # fmt: skip


class Diagnostics(Callback):
    """Watch a search with many diagnostics that share a budget.

    At the end of the run it says what they took, in a line. The headline measures (shares and entropy of α, genotype,
    discretisation gap, curvature) are taken at eight epochs or as many as ``points`` says, and everything at the last
    one; the budget limits the rest.

    Args:
        measures: List of diagnostics (default: :func:`default_diagnostics`), whose own budgets are ignored.
        budget: Largest fraction of the run's time that all diagnostics together may take; ``None`` for no limit.
        table: Tabular benchmark of the space, CSV or Parquet, or ``digits``, the one that comes with the package for
            :class:`~robustnas.data.ClutteredDigits`; adds comparisons with its accuracies.
        accuracy: Column of the table that holds the accuracy; by default its only one, or ``cifar10_test_200``.
        points: At how many epochs, evenly apart, the headline measures are taken whatever they cost, at least 8.
        verbose: Whether the end of the run lists the price of each diagnostic, and how often it was skipped.

    Raises:
        ValueError: If the budget or ``points`` is out of range, two diagnostics are of one class, or the table is
            wrong.
    """

    def __init__(
        self,
        measures: Sequence[Diagnostic] | None = None,
        budget: float | None = 0.03,
        table: str | Path | None = None,
        accuracy: str | None = None,
        points: int = POINTS,
        verbose: bool = False,
    ) -> None:
        self.measures = default_diagnostics() if measures is None else list(measures)
        if table is not None:
            truth = TrueAccuracy(table, accuracy)
            ranks = len(truth.table) >= RANKED
            self.measures += [truth, SupernetRanking(table, truth.accuracy, architectures=RANKED)] if ranks else [truth]
        if points < POINTS:
            raise ValueError(f"Expected `points` to be at least {POINTS}, but got {points}.")
        self.budget, self.points, self.verbose = Budget(budget), points, verbose
        names = [measure.name for measure in self.measures]
        if len(set(names)) < len(names):
            raise ValueError(f"Expected `measures` to be of different classes, but got {names}.")
        for measure in self.measures:
            measure.budget, measure.points = self.budget, points

    def describe(self) -> dict[str, Any]:
        return {
            "budget": self.budget.share,
            "points": self.points,
            "measures": [measure.describe() for measure in self.measures],
        }

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Time runs from now. What is a callback of the trainer by itself too is left to that one."""
        alone = {type(callback) for callback in trainer.callbacks}  # type: ignore[attr-defined]
        self.measures = [measure for measure in self.measures if type(measure) not in alone]
        self.budget.start()
        for measure in self.measures:
            measure.on_fit_start(trainer, pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *step: Any, **named: Any) -> None:
        for measure in self.measures:
            measure.on_train_batch_end(trainer, pl_module, *step, **named)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(pl_module, SearchModule):
            return
        for measure in self.measures:
            measure.expect(trainer)
        for measure in sorted(self.measures, key=lambda measure: len(self.budget.costs.get(measure.name, ()))):
            measure.on_train_epoch_end(trainer, pl_module)  # the one measured least comes first
        if trainer.is_global_zero and self.measures:
            log(pl_module, DIAGNOSTICS_SHARE.name, self.budget.spent / max(self.budget.elapsed, 1e-9))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for measure in self.measures:
            measure.on_train_end(trainer, pl_module)
        if isinstance(pl_module, SearchModule) and self.measures:
            rank_zero_only(print)(self.budget.summary(self.verbose))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Judge the search by its record, which is complete now."""
        folder = run_folder(trainer)  # processes wait for each other here
        if isinstance(pl_module, SearchModule) and trainer.is_global_zero and self.measures:
            verdict = judge_run(folder, pl_module.space)
            for display in displays(trainer):
                display.text("verdict", verdict.markdown(), verdict.line, last_step(trainer))
            print(verdict.line)

    def state_dict(self) -> dict[str, Any]:
        own = {measure.name: measure.state_dict() for measure in self.measures}
        return {"budget": self.budget.state_dict(), "measures": own}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for measure in self.measures:
            if measure.name in state_dict["measures"]:
                measure.load_state_dict(state_dict["measures"][measure.name])
        self.budget.load_state_dict(state_dict["budget"])
