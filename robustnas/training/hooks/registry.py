"""Which hook a part of a search brings, and the hook of pruning."""

from __future__ import annotations

from functools import singledispatch

from robustnas.analysis.metrics import OPERATIONS
from robustnas.data.batch import Batch
from robustnas.networks import Connection
from robustnas.strategies import (
    Annealed,
    ExpectedCost,
    GradientAgreement,
    LargestDrop,
    LayerAlignment,
    Never,
    NoPruning,
    Pruning,
    RaiseDecay,
    Selection,
    Stopping,
)
from robustnas.training.hooks.cost import CostHook
from robustnas.training.hooks.early_stopping import EarlyStopping
from robustnas.training.hooks.gradient_agreement import AgreementHook
from robustnas.training.hooks.layer_alignment import AlignmentHook
from robustnas.training.hooks.one_shot_selection import OneShotSelection
from robustnas.training.hooks.perturbation_selection import PerturbationSelection
from robustnas.training.hooks.rollback import Rollback
from robustnas.training.hooks.widening import WideningHook
from robustnas.training.search_hook import SearchHook
from robustnas.training.search_state import SearchState


class PruningHook(SearchHook):
    """Asks the rule at the end of each epoch from which α moves on, and logs how many operations are left."""

    name = "pruning"

    def __init__(self, rule: Pruning, search: SearchState) -> None:
        self.rule, self.search = rule, search

    def last_step(self, batch: Batch) -> None:
        search, parameters = self.search, self.search.architecture
        if search.current_epoch >= search.arch_start:
            shares = {kind: share.detach().cpu() for kind, share in parameters.shares().items()}
            context = search.context("arch")
            parameters.prune(self.rule.prune(search.space, shares, parameters.active_mask, context), context)
        search.log_numbers({OPERATIONS.name: float(sum(int(mask.sum()) for mask in parameters.active_mask.values()))})


@singledispatch
def hook_for(part: object, search: SearchState) -> SearchHook | None:
    """The hook that a part brings, by its class; ``hook_for.register(MyPart, MyHook)`` adds one."""
    return None


@hook_for.register(Never)
@hook_for.register(NoPruning)
def _none(part: object, search: SearchState) -> None:
    """Parts that never act need no hook."""


@hook_for.register
def _of_connection(part: Connection, search: SearchState) -> SearchHook | None:
    return WideningHook(part, search) if part.stages else None


@hook_for.register
def _of_annealed(part: Annealed, search: SearchState) -> SearchHook | None:
    return hook_for(part.relaxation, search)


@hook_for.register
def _of_selection(part: Selection, search: SearchState) -> SearchHook | None:
    return OneShotSelection(part, search) if part.evaluates else None


@hook_for.register
def _of_largest_drop(part: LargestDrop, search: SearchState) -> SearchHook:
    return OneShotSelection(part, search) if part.evaluates else PerturbationSelection(part, search)


hook_for.register(Stopping, EarlyStopping)
hook_for.register(RaiseDecay, Rollback)
hook_for.register(Pruning, PruningHook)
hook_for.register(GradientAgreement, AgreementHook)
hook_for.register(LayerAlignment, AlignmentHook)
hook_for.register(ExpectedCost, CostHook)
