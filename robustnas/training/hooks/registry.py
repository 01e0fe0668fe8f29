"""Which hook a part of a search brings."""

from __future__ import annotations

from functools import singledispatch

from robustnas.strategies import BestOfSampled, LargestDrop, Never, NoPruning, Pruning, RaiseDecay, Stopping
from robustnas.training.hooks.early_stopping import EarlyStopping
from robustnas.training.hooks.perturbation_selection import PerturbationSelection
from robustnas.training.hooks.pruning import PruningHook
from robustnas.training.hooks.rollback import Rollback
from robustnas.training.hooks.sampled_selection import SampledSelection
from robustnas.training.search_hook import SearchHook
from robustnas.training.search_state import SearchState


@singledispatch
def hook_for(part: object, search: SearchState) -> SearchHook | None:
    """The hook that a part brings, by its class; ``hook_for.register(MyPart, MyHook)`` adds one."""
    return None


@hook_for.register(Never)
@hook_for.register(NoPruning)
def _none(part: object, search: SearchState) -> None:
    """Parts that never act need no hook."""


hook_for.register(Stopping, EarlyStopping)
hook_for.register(RaiseDecay, Rollback)
hook_for.register(Pruning, PruningHook)
hook_for.register(LargestDrop, PerturbationSelection)
hook_for.register(BestOfSampled, SampledSelection)
